"""A few whole ways through: Airflow's own supervisor and database, and a real crew behind the real local server."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aop_server import INPUTS, Server
from crew_tasks import brief
from in_memory import Airflow
from scripted_crew import Asked, ScriptedCrew, failure, success

from airflow_provider_crewai.wire import errors

EXAMPLE_DAGS = sorted((Path(__file__).parents[2] / "example_dags").glob("[!_]*.py"))
DEFERRING = """
from airflow.sdk import DAG
from airflow_provider_crewai.operators import CrewKickoffOperator

with DAG("deferring", schedule=None):
    CrewKickoffOperator(task_id="brief", deferrable=True, poll_interval=0.01, max_poll_interval=0.01)
"""
ANSWERS: dict[str, tuple[Any, ...]] = {
    "crewai_structured_answer": ("A text.", {"title": "Tides", "headings": ["Ebb"], "words": 300}),
    "crewai_yesterdays_flow": ("1",),
}
"""What the crew of an example Dag answers, where its next task needs more than some text."""
CONF = {"crewai_batch": {"rows": 6}}
"""With fewer runs than in real life, where an example Dag starts many."""
Connect = Callable[[dict[str, Any]], None]


@pytest.fixture
def real(example_crew: Server) -> Airflow:
    """An Airflow whose connection leads to a real crew."""
    return Airflow(
        {"crewai_default": {"conn_type": "crewai", "host": example_crew.url, "password": example_crew.token}}
    )


# ---- a real crew -----------------------------------------------------------------------------------


def test_a_real_crew_is_run_and_its_answer_returned(real: Airflow) -> None:
    ti = real.task(
        brief(inputs=dict(INPUTS), deferrable=True, validate_inputs=True, poll_interval=0.1, max_poll_interval=1)
    )
    assert ti.run().state == "deferred"
    assert ti.resume(ti.fire()).state == "success"
    assert INPUTS["topic"] in str(ti.answer)


def test_a_real_crew_refuses_missing_inputs_before_it_costs_anything(real: Airflow) -> None:
    outcome = real.task(brief(inputs={"topic": "Tides"}, retries=2)).finish()
    assert outcome.state == "failed"
    assert "Missing inputs: audience" in outcome.told


def test_a_killed_task_stops_a_real_crew(real: Airflow, example_crew: Server) -> None:
    ti = real.task(brief(inputs=dict(INPUTS), poll_interval=0.05, max_poll_interval=0.1))

    def kill_when_it_runs() -> None:
        while not (kickoff_id := ti.xcom("kickoff_id")) or example_crew.status(kickoff_id)["state"] == "PENDING":
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=kill_when_it_runs, daemon=True).start()
    outcome = ti.run()
    assert isinstance(outcome.error, errors.CrewTaskKilled), outcome
    assert example_crew.has_let_go(ti.xcom("kickoff_id"))


# ---- dag.test() ------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", EXAMPLE_DAGS, ids=lambda file: file.stem)
def test_every_example_dag_succeeds(
    file: Path,
    crew: ScriptedCrew,
    default_connection: Connect,
    deploy: Callable[[str, str], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    default_connection(crew.connection)
    monkeypatch.setenv("AIRFLOW_VAR_CREWAI_ANSWERS", f"file://{tmp_path}")
    crew.story(success(*ANSWERS.get(file.stem, ("A brief.",))))
    dag = deploy(file.name, file.read_text())
    assert str(dag.test(run_conf=CONF.get(file.stem)).state) == "success"
    assert crew.kickoffs


def test_the_example_of_a_batch_joins_each_answer_to_its_row(
    crew: ScriptedCrew, default_connection: Connect, deploy: Callable[[str, str], Any]
) -> None:
    default_connection(crew.connection)

    def script(asked: Asked) -> None:
        crew.story(failure("no tides") if asked.body["inputs"]["topic"].endswith(" 7") else success("A brief."))

    crew.always("/kickoff", script)
    (file,) = [file for file in EXAMPLE_DAGS if file.stem == "crewai_batch"]
    run = deploy(
        "batch.py", file.read_text().replace("def crewai_batch", "def batch").replace("crewai_batch()", "batch()")
    )
    run = run.test(run_conf={"rows": 20})
    (ti,) = [ti for ti in run.get_task_instances() if ti.task_id == "write_back"]
    assert ti.xcom_pull(task_ids="write_back") == 19
    assert len(crew.kickoffs) == 20


def test_yesterdays_flow_is_gone_on_with_and_a_lost_state_is_told(
    crew: ScriptedCrew, default_connection: Connect, deploy: Callable[[str, str], Any]
) -> None:
    default_connection(crew.connection)
    (file,) = [file for file in EXAMPLE_DAGS if file.stem == "crewai_yesterdays_flow"]
    dag = deploy("yesterday.py", file.read_text().replace("crewai_yesterdays_flow", "yesterday"))
    states = []
    for times in ("1", "2", "1"):
        crew.story(success(times))
        states.append(str(dag.test().state))
    assert states == ["success", "success", "failed"]
    assert [kickoff.get("restoreFromStateId") for kickoff in crew.kickoffs] == [None, "run-1", "run-2"]


def test_an_example_dag_with_a_schedule_starts_nothing_by_itself_when_examples_are_loaded(
    deploy: Callable[[str, str], Any],
) -> None:
    dags = [deploy(file.name, file.read_text()) for file in EXAMPLE_DAGS]
    scheduled = [dag for dag in dags if dag.timetable.can_be_scheduled]
    assert scheduled
    assert all(dag.is_paused_upon_creation for dag in scheduled)


def test_a_deferred_task_of_a_dag_comes_back_for_its_answer_and_a_failed_crew_fails_the_dag(
    crew: ScriptedCrew, default_connection: Connect, deploy: Callable[[str, str], Any]
) -> None:
    default_connection(crew.connection)
    dag = deploy("deferring.py", DEFERRING)
    crew.story("RUNNING", "RUNNING", success("A brief."))
    assert str(dag.test().state) == "success"
    crew.story("RUNNING", "RUNNING", failure("out of tokens"))
    assert str(dag.test().state) == "failed"
    assert len(crew.kickoffs) == 2
