"""What a task that runs a crew gives to Airflow when all goes well."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.execution_time.comms import DeferTask
from crew_tasks import brief
from in_memory import Airflow
from scripted_crew import INPUTS, LOST, TOKEN, Answer, ScriptedCrew, error, success

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
COMPLETED = {"status": "completed", "result": {"output": "A brief on tides.", "tasks": []}}
SCALARS = (str, int, float, bool, type(None))


@BOTH_WAYS
@pytest.mark.parametrize(
    ("ended", "answer"),
    [
        (success("A text."), "A text."),
        (success('{"a": 1}'), '{"a": 1}'),
        (success("A text.", {"title": "Tides", "pages": 3}), {"title": "Tides", "pages": 3}),
        (success("A text.", [1, "two", None]), [1, "two", None]),
        (success("A text.", {}), {}),
    ],
    ids=["text", "text that looks like JSON", "result_json", "list", "empty result_json"],
)
def test_the_answer_is_result_json_else_the_text(
    airflow: Airflow, crew: ScriptedCrew, ended: dict[str, Any], answer: Any, deferrable: bool
) -> None:
    crew.story("PENDING", "STARTED", "RUNNING", ended)
    ti = airflow.task(brief(deferrable=deferrable))
    assert ti.finish().state == "success"
    assert ti.answer == answer
    assert ti.xcom("kickoff_id") == "run-1"
    assert len(crew.kickoffs) == 1


@BOTH_WAYS
def test_the_kickoff_id_is_in_xcom_before_the_wait_begins(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    ti = airflow.task(brief(deferrable=deferrable))
    at_first_look = []
    crew.once("/status", lambda _: at_first_look.append(ti.xcom("kickoff_id")))
    ti.finish()
    assert at_first_look == ["run-1"]


def test_sync_and_deferrable_leave_the_same_behind(crew: ScriptedCrew) -> None:
    left = []
    for deferrable in (False, True):
        crew.story("PENDING", "RUNNING", "CONTEMPLATING", "RUNNING", success("A text.", {"title": "Tides"}))
        airflow = Airflow({"crewai_default": crew.connection})
        outcome = airflow.task(brief(deferrable=deferrable)).finish()
        xcoms = {name: value for (_, name), value in airflow.xcoms.items()}
        own = ("kickoff_id", "started_at", "ended_at", "deadline", "duration", "said")
        crew_run = xcoms["crew_run"] | dict.fromkeys(own)
        left.append((outcome.state, xcoms | {"kickoff_id": "some run", "crew_run": crew_run}))
    assert left[0] == left[1]


def test_a_run_that_has_ended_at_the_first_look_needs_no_trigger(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief(deferrable=True))
    assert ti.run().state == "success"
    assert crew.looks == ["run-1"]
    assert airflow.count(DeferTask) == 0


def test_a_deferral_carries_ids_and_numbers_and_nothing_else(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", "RUNNING", success("The secret result."))
    ti = airflow.task(brief(deferrable=True, meta={"owner": "me"}, inputs={"topic": "A secret topic"}))
    deferral = ti.run().message
    event = ti.fire()
    for carried in (deferral.trigger_kwargs, deferral.next_kwargs, event):
        assert all(isinstance(value, SCALARS) for value in carried.values()), carried
    words = json.dumps([deferral.trigger_kwargs, deferral.next_kwargs, event]) + repr(ti.trigger())
    assert "run-1" in words
    for secret in (TOKEN, crew.url, "secret", "owner"):
        assert secret not in words


def test_a_deferred_task_holds_no_worker_and_comes_back_for_the_answer(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", "RUNNING", "RUNNING", success())
    ti = airflow.task(brief(deferrable=True))
    assert ti.run().state == "deferred"
    assert ti.answer is None
    looks = len(crew.looks)
    event = ti.fire()
    assert event["ending"] == "succeeded"
    assert len(crew.looks) > looks
    assert ti.resume(event).state == "success"
    assert ti.answer == "A brief on tides."


def test_airflow_gives_up_on_a_deferral_only_after_we_did(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, timeout=600))
    deferral = ti.run().message
    left = deferral.trigger_kwargs["deadline"] - ti.start_date.timestamp()
    assert left == pytest.approx(600)
    assert deferral.trigger_timeout.total_seconds() > 600


def test_without_a_limit_neither_we_nor_airflow_give_up(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    deferral = airflow.task(brief(deferrable=True, timeout=None)).run().message
    assert deferral.trigger_kwargs["deadline"] is None
    assert deferral.trigger_timeout is None


def test_what_another_task_executes_waits_in_its_worker(airflow: Airflow, crew: ScriptedCrew) -> None:
    @task
    def outer(**context: Any) -> Any:
        return brief(deferrable=True).execute(context)  # type: ignore[arg-type]  # as authors write it

    crew.story("RUNNING", "RUNNING", success("A brief."))
    with DAG("d", schedule=None):
        ti = airflow.task(outer().operator)
    outcome = ti.finish()
    assert outcome.state == "success"
    assert ti.answer == "A brief."
    assert airflow.count(DeferTask) == 0
    assert "Task 'outer' calls execute() of this task, so we wait for run run-1 in the worker" in outcome.text


def test_without_waiting_the_kickoff_id_is_the_answer(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(wait_for_completion=False, deferrable=True))
    assert ti.run().state == "success"
    assert ti.answer == "run-1"
    assert crew.looks == []


def test_whether_it_defers_is_airflows_default_unless_the_author_says(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not brief().deferrable
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", "True")
    assert brief().deferrable
    assert not brief(deferrable=False).deferrable


def test_the_log_says_each_change_once_and_never_the_token(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("PENDING", "RUNNING", "RUNNING", "RUNNING", "CONTEMPLATING", "CONTEMPLATING", success("Echo: " + TOKEN))
    ti = airflow.task(brief())
    outcome = ti.finish()
    said = [line for line in outcome.log if line.startswith("Run run-1: ")]
    assert said == [
        "Run run-1: pending",
        "Run run-1: running",
        "Run run-1: in the unknown state 'CONTEMPLATING', which counts as running",
        "Run run-1: succeeded",
    ]
    assert TOKEN not in outcome.text
    assert ti.answer == "Echo: " + TOKEN
    assert any("holds a secret of the connection" in line for line in outcome.log)


def test_the_log_says_once_that_the_api_has_fallen_silent(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", "RUNNING", success())
    down = error(502, "Bad Gateway")
    crew.once(
        "/status", Answer(body={"state": "RUNNING"}), down, down, down, Answer(body={"state": "RUNNING"}), LOST, LOST
    )
    outcome = airflow.task(brief()).finish()
    assert [line.partition(" (")[0] for line in outcome.log if line.startswith("Run run-1: ")] == [
        "Run run-1: running",
        "Run run-1: no usable answer",
        "Run run-1: running",
        "Run run-1: no usable answer",
        "Run run-1: running",
        "Run run-1: succeeded",
    ]
    assert "Run run-1: no usable answer (HTTP 502: Bad Gateway)" in outcome.log


def test_only_a_question_a_kickoff_and_looks_are_sent(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    airflow.task(brief()).finish()
    assert [(asked.method, asked.path) for asked in crew.asked] == [
        ("GET", "/inputs"),
        ("POST", "/kickoff"),
        ("GET", "/status/run-1"),
        ("GET", "/status/run-1"),
    ]
    assert all(asked.headers["authorization"] == f"Bearer {TOKEN}" for asked in crew.asked)


def test_a_deployment_that_speaks_the_older_path_is_understood(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", error(404, "Not Found"))
    crew.once("/run-1", *(Answer(body=state) for state in ({"status": "running"}, {"status": "running"}, COMPLETED)))
    crew.always("/run-1", Answer(body=COMPLETED))
    ti = airflow.task(brief(deferrable=True))
    assert ti.finish().state == "success"
    assert ti.answer == "A brief on tides."


def test_inputs_are_unchanged_on_their_way(airflow: Airflow, crew: ScriptedCrew) -> None:
    airflow.task(brief()).finish()
    assert crew.kickoffs[0]["inputs"] == INPUTS
