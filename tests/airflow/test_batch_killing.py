"""When the task of a batch is ended from outside: are its runs stopped, and what is said of them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest
from crew_tasks import FAST, sends
from in_memory import Airflow, TaskInstance
from scripted_crew import LOST, Answer, Asked, ScriptedCrew, error, success

from airflow_provider_crewai.operators import CrewBatchOperator
from airflow_provider_crewai.wire import errors

TERMINATED = sends(signal.SIGTERM)
THREE = [{"topic": topic} for topic in ("tides", "winds", "stars")]
RUNS = ["run-1", "run-2", "run-3"]


def batch(**options: Any) -> CrewBatchOperator:
    return CrewBatchOperator(**{"task_id": "briefs", "inputs": THREE, "max_concurrency": 3, **FAST, **options})


def record(ti: TaskInstance) -> Any:
    return ti.airflow.records.get((ti.key, "crewai_batch"))


def ended(ti: TaskInstance, state: str | None) -> Callable[[Asked], None]:
    """Let a user end or clear the task, upon which Airflow ends its process."""

    def script(asked: Asked) -> None:
        ti.state = state
        TERMINATED(asked)

    return script


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "restarting", None])
def test_a_batch_whose_task_a_user_ends_or_clears_stops_all_its_runs(
    airflow: Airflow, crew: ScriptedCrew, state: str | None
) -> None:
    crew.story("RUNNING")
    ti = airflow.task(batch(retries=1))
    crew.once("/status", ended(ti, state))
    outcome = ti.run()
    assert sorted(crew.stops) == RUNS
    assert "3 runs are stopped: run-1, run-2, run-3" in outcome.log
    assert isinstance(outcome.error, errors.CrewTaskKilled)


@pytest.mark.parametrize("options", [{"on_clear": "reattach", "retries": 1}, {"retries": 1}], ids=["cleared", "lost"])
def test_a_batch_that_is_taken_up_again_keeps_its_runs(
    airflow: Airflow, crew: ScriptedCrew, options: dict[str, Any]
) -> None:
    crew.story("RUNNING", success())
    ti = airflow.task(batch(**options))
    crew.once("/status", ended(ti, "restarting" if "on_clear" in options else "running"))
    outcome = ti.run()
    assert crew.stops == []
    assert "takes this batch up" in outcome.text
    assert any(line.endswith("GO ON: run-1, run-2, run-3.") for line in outcome.log)
    assert ti.run().state == "success"
    assert len(crew.kickoffs) == 3


def test_a_batch_without_a_retry_stops_its_runs_when_the_machine_goes_down(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING")
    crew.once("/status", TERMINATED)
    assert "nobody has ended the task, and no retry takes this batch up" in airflow.task(batch()).run().text
    assert sorted(crew.stops) == RUNS


def test_a_batch_that_is_killed_leaves_its_runs_where_the_author_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    crew.once("/status", TERMINATED)
    outcome = airflow.task(batch(on_kill="leave")).run()
    assert crew.stops == []
    assert "GO ON, because on_kill is 'leave': run-1, run-2, run-3." in outcome.text


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_batch_that_is_killed_while_it_kicks_off_starts_no_other_and_stops_the_run_that_it_hears_of(
    airflow: Airflow, crew: ScriptedCrew, nth: int
) -> None:
    crew.story("RUNNING")
    ti = airflow.task(batch(retries=1))

    def nothing(_: Asked) -> None:
        """Let the crew answer as usual."""

    crew.once("/kickoff", *[nothing] * (nth - 1), ended(ti, "failed"))
    outcome = ti.run()
    assert isinstance(outcome.error, errors.CrewTaskKilled)
    assert len(crew.kickoffs) == nth
    assert sorted(crew.stops) == RUNS[:nth]
    assert sorted(run["kickoff_id"] for run in record(ti)["open"].values()) == RUNS[:nth]


def test_airflow_is_asked_again_where_it_could_not_say_what_became_of_the_task_in_a_wave(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    """As when the signal comes while the wave writes its record: until that is done, nobody else can ask."""
    crew.story("RUNNING")
    ti = airflow.task(batch(retries=1))

    def silent(asked: Asked) -> None:
        airflow.broken = {"GetTaskStates"}
        ended(ti, "failed")(asked)

    def speaks_again(message: Any) -> None:
        if type(message).__name__ == "SetTaskStateStore":
            airflow.broken = set()

    crew.once("/kickoff", lambda _: None, silent)
    airflow.before = speaks_again
    outcome = ti.run()
    assert sorted(crew.stops) == RUNS[:2]
    assert "Airflow was asked again: the task is failed." in outcome.text


@pytest.mark.parametrize("answer", [LOST, error(503, "asleep", Retry_After="0")], ids=["lost", "turned away"])
def test_a_batch_that_is_killed_sends_no_kickoff_again(airflow: Airflow, crew: ScriptedCrew, answer: Answer) -> None:
    ti = airflow.task(batch(retries=1))

    def killed(asked: Asked) -> Answer:
        ended(ti, "failed")(asked)
        return answer

    crew.once("/kickoff", killed)
    ti.run()
    assert len(crew.kickoffs) == 1
    assert crew.stops == []


@pytest.mark.parametrize("message", ["GetConnection", "SetTaskStateStore"])
def test_a_batch_that_is_killed_before_its_first_kickoff_starts_nothing(
    airflow: Airflow, crew: ScriptedCrew, message: str
) -> None:
    ti = airflow.task(batch(retries=1))

    def kill(asked: Any) -> None:
        if type(asked).__name__ == message and ti.state == "running":
            ti.state = "failed"
            signal.raise_signal(signal.SIGTERM)

    airflow.before = kill
    outcome = ti.run()
    assert isinstance(outcome.error, errors.CrewTaskKilled)
    assert crew.kickoffs == []


def test_stops_that_are_not_answered_are_given_up_within_the_five_seconds_that_airflow_gives_and_named(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    def slow(asked: Asked) -> None:
        time.sleep(0 if asked.path.endswith("run-2") else 6)

    crew.story("RUNNING")
    crew.always("/stop", slow)
    crew.once("/status", TERMINATED)
    began = time.monotonic()
    outcome = airflow.task(batch()).run()
    assert time.monotonic() - began < 5
    assert "Run run-2 is stopped." in outcome.log
    for run in ("run-1", "run-3"):
        assert f"Run {run} could not be stopped" in outcome.text


def test_a_hundred_runs_are_stopped_within_the_five_seconds_that_airflow_gives(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING")
    crew.always("/stop", lambda _: time.sleep(0.5))
    crew.once("/status", TERMINATED)
    inputs = [{"topic": str(number)} for number in range(100)]
    began = []
    crew.once("/stop", lambda _: began.append(time.monotonic()))
    outcome = airflow.task(batch(inputs=inputs, max_concurrency=100)).run()
    assert time.monotonic() - began[0] < 5
    assert len(crew.stops) == 100
    assert any(line.startswith("100 runs are stopped: run-1, ") for line in outcome.log)


def test_a_clear_of_a_running_batch_stands_on_record_where_its_runs_cannot_be_stopped(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING", "RUNNING", success())
    crew.always("/stop", error(404, "Not Found"))
    ti = airflow.task(batch(retries=1))
    crew.once("/status", ended(ti, "restarting"))
    ti.run()
    assert record(ti)["task"]["cleared"]
    assert ti.run().state == "success"
    assert len(crew.kickoffs) == 6


def test_a_kill_after_the_batch_has_given_its_runs_up_stops_nothing(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    task = batch(timeout=0.3)
    ti = airflow.task(task)
    assert ti.run().state == "failed"
    ti.ran.on_kill()
    assert crew.stops == []


def test_a_batch_that_is_told_to_end_in_its_last_kickoff_does_not_defer_but_leaves_all_runs_to_the_retry(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING", success())
    ti = airflow.task(batch(retries=1, deferrable=True))

    def last(asked: Asked) -> None:
        if len(crew.kickoffs) == 3:
            TERMINATED(asked)

    crew.always("/kickoff", last)
    outcome = ti.run()
    assert outcome.state == "up_for_retry"
    assert crew.stops == []
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 3
