"""The trigger that waits for the runs of a batch, in an event loop and over a real socket."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from contextlib import suppress
from typing import Any

import pytest
import structlog
from airflow.sdk.execution_time.comms import GetConnection
from crew_tasks import brief
from in_memory import Airflow, TaskInstance, only_event
from scripted_crew import LOST, TOKEN, Answer, Asked, ScriptedCrew, error, failure, success

from airflow_provider_crewai.in_airflow.compat import CANCELS_MOVED_TRIGGERS
from airflow_provider_crewai.triggers import CrewBatchTrigger

FAST: dict[str, Any] = {"poll_interval": 0.001, "max_poll_interval": 0.002}
BATCH = "batch-4f1c0a"
RUNNING = Answer(body={"state": "RUNNING"})
ON_3_3 = pytest.mark.skipif(
    not CANCELS_MOVED_TRIGGERS, reason="from Airflow 3.4 on only a user's act cancels a trigger"
)


def named(count: int) -> list[str]:
    return [f"run-{number}" for number in range(count)]


def batch(count: int, **arguments: Any) -> CrewBatchTrigger:
    """Make a trigger for so many runs."""
    runs = [[kickoff_id, time.time()] for kickoff_id in named(count)]
    return CrewBatchTrigger(**{"batch_id": BATCH, "runs": runs, "slots": max(count, 1), **FAST, **arguments})


def fired(airflow: Airflow, trigger: CrewBatchTrigger) -> dict[str, Any]:
    """Run a trigger to its only event."""
    with airflow.connected():
        event: dict[str, Any] = asyncio.run(only_event(trigger))
    return event


def written(airflow: Airflow, trigger: CrewBatchTrigger) -> list[str]:
    """Run a trigger to its event, and return what it logged."""
    with structlog.testing.capture_logs() as lines:
        fired(airflow, trigger)
    return [str(line["event"]) for line in lines]


# ---- when it fires ----------------------------------------------------------------------------------


def test_it_fires_one_event_when_all_runs_have_ended_and_nothing_waits(airflow: Airflow, crew: ScriptedCrew) -> None:
    endings = {"run-0": success(), "run-1": failure("out of tokens"), "run-2": {"state": "REVOKED"}}
    for kickoff_id, ended in endings.items():
        crew.now(kickoff_id, "PENDING", "RUNNING", ended)
    event = fired(airflow, batch(3))
    assert abs(time.time() - event.pop("at")) < 60
    assert sorted(event.pop("ended")) == [
        ["run-0", "succeeded", None],
        ["run-1", "failed", None],
        ["run-2", "stopped", None],
    ]
    assert event == {"batch_id": BATCH}


def test_its_event_holds_no_result_no_error_and_no_token(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-0", {**success("A result."), "result_json": {"title": "Tides"}})
    crew.now("run-1", failure("The secret reason."))
    said = json.dumps(fired(airflow, batch(2)))
    assert not any(word in said for word in ("A result.", "Tides", "reason", TOKEN, crew.url))


def test_it_fires_as_soon_as_a_quarter_of_the_slots_is_free_where_items_wait(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    for number in range(8):
        crew.now(f"run-{number}", "RUNNING", success() if number < 2 else "RUNNING")
    assert sorted(fired(airflow, batch(8, left=100))["ended"]) == [
        ["run-0", "succeeded", None],
        ["run-1", "succeeded", None],
    ]


def test_it_lets_a_share_of_a_runs_usual_length_pass_between_two_waves(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-0", success())
    crew.now("run-1", "RUNNING")
    began = time.time()
    event = fired(airflow, batch(2, left=100, since=began, usual=1.6))
    assert event["ended"] == [["run-0", "succeeded", None]]
    assert event["at"] >= began + 0.2


def test_it_fires_at_once_when_more_runs_failed_than_the_batch_bears(airflow: Airflow, crew: ScriptedCrew) -> None:
    for number in range(5):
        crew.now(f"run-{number}", "RUNNING", failure("no") if number < 2 else "RUNNING")
    assert sorted(fired(airflow, batch(5, bearable=1))["ended"]) == [
        ["run-0", "failed", None],
        ["run-1", "failed", None],
    ]


def test_it_fires_when_kickoffs_may_be_sent_again_though_nothing_has_ended(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.now("run-0", "RUNNING")
    at = time.time() + 0.2
    event = fired(airflow, batch(1, left=3, wake_at=at))
    assert event["ended"] == []
    assert event["at"] >= at


def test_it_waits_without_any_run_until_kickoffs_may_be_sent_again(airflow: Airflow, crew: ScriptedCrew) -> None:
    at = time.time() + 0.2
    event = fired(airflow, batch(0, left=3, wake_at=at))
    assert (event["ended"], crew.asked) == ([], [])
    assert event["at"] >= at


def test_it_fires_at_the_deadline(airflow: Airflow, crew: ScriptedCrew) -> None:
    for kickoff_id in named(3):
        crew.now(kickoff_id, "RUNNING")
    ended = fired(airflow, batch(3, deadline=time.time() + 0.1))["ended"]
    assert {verdict for _, verdict, _ in ended} == {"timed_out"}


@pytest.mark.parametrize(
    ("answer", "verdict", "arguments"),
    [
        (LOST, "unreachable", {"unreachable_timeout": 0.01}),
        (error(502, "Bad Gateway"), "unreachable", {"unreachable_timeout": 0.01}),
    ],
    ids=["no answer", "502"],
)
def test_an_api_that_falls_silent_is_told_at_once_and_not_for_each_run(
    airflow: Airflow, crew: ScriptedCrew, answer: Answer, verdict: str, arguments: dict[str, Any]
) -> None:
    crew.always("/status", answer)
    ended = fired(airflow, batch(20, **arguments))["ended"]
    assert {verdict for _, verdict, _ in ended} == {verdict}
    assert all(since for _, _, since in ended)


def test_a_connection_that_is_wrong_is_told_at_once(airflow: Airflow) -> None:
    airflow.connections["crewai_default"]["password"] = ""
    assert {verdict for _, verdict, _ in fired(airflow, batch(3))["ended"]} == {"unwatchable"}


def test_an_outage_that_ends_in_time_ends_nothing(airflow: Airflow, crew: ScriptedCrew) -> None:
    for kickoff_id in named(10):
        crew.now(kickoff_id, "RUNNING", success())
    crew.once("/status", *[error(502, "Bad Gateway")] * 30)
    ended = fired(airflow, batch(10))["ended"]
    assert sorted(run for run, _, _ in ended) == sorted(named(10))
    assert {verdict for _, verdict, _ in ended} == {"succeeded"}


# ---- what it costs ----------------------------------------------------------------------------------


def test_all_its_runs_share_one_look_up_of_the_connection_and_few_connections_to_the_crew(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    for kickoff_id in named(100):
        crew.now(kickoff_id, *["RUNNING"] * 3, success())
    assert len(fired(airflow, batch(100))["ended"]) == 100
    assert len(crew.looks) == 400
    assert airflow.count(GetConnection) == 1
    assert crew.connections <= 100


def test_a_token_that_was_changed_is_looked_up_once_for_all_runs(airflow: Airflow, crew: ScriptedCrew) -> None:
    def rotate(_: object) -> None:
        crew.token = "a-new-token"
        airflow.connections["crewai_default"] = crew.connection

    for kickoff_id in named(20):
        crew.now(kickoff_id, *["RUNNING"] * 5, success())
    crew.once("/status", *[RUNNING] * 40, rotate)
    assert {verdict for _, verdict, _ in fired(airflow, batch(20))["ended"]} == {"succeeded"}
    assert airflow.count(GetConnection) <= 3


# ---- what it logs -----------------------------------------------------------------------------------


def test_its_log_has_a_line_for_each_run_that_ended_and_none_for_a_look(airflow: Airflow, crew: ScriptedCrew) -> None:
    for kickoff_id in named(10):
        crew.now(kickoff_id, *["RUNNING"] * 10, success())
    assert sorted(written(airflow, batch(10))) == [f"Run {kickoff_id}: succeeded" for kickoff_id in named(10)]


def test_an_outage_is_one_line_for_all_runs(airflow: Airflow, crew: ScriptedCrew) -> None:
    for kickoff_id in named(10):
        crew.now(kickoff_id, success())
    crew.once("/status", *[error(502, "Bad Gateway")] * 20)
    lines = [line for line in written(airflow, batch(10)) if "no usable answer" in line]
    assert len(lines) == 1


# ---- what Airflow keeps of it -----------------------------------------------------------------------


def test_its_arguments_survive_the_database() -> None:
    trigger = CrewBatchTrigger(
        BATCH, [["run-1", 1.5]], "another", 2.5, 3.0, 4.0, 5.0, True, 8, 9, 10.5, 11.0, 12, 13.5, "stop", "reattach"
    )
    path, arguments = trigger.serialize()
    stored = json.loads(json.dumps(arguments, allow_nan=False))
    assert CrewBatchTrigger(**stored).serialize() == (path, arguments) == (path, stored)
    assert {*stored, "unknown"} == set(inspect.signature(CrewBatchTrigger).parameters)
    assert stored["runs"] == [["run-1", 1.5]]


def test_its_class_path_never_changes() -> None:
    assert CrewBatchTrigger(BATCH, []).serialize()[0] == "airflow_provider_crewai.triggers.CrewBatchTrigger"


def test_what_a_newer_version_stored_makes_a_trigger_too_and_is_said(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-0", success())
    trigger = batch(1, colour="red", shape=None)
    assert "this version ignores its arguments colour, shape" in "\n".join(written(airflow, trigger))
    assert not {"colour", "shape"} & trigger.serialize()[1].keys()


# ---- when Airflow cancels it ------------------------------------------------------------------------


@pytest.fixture
def deferred(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
    """A task that waits for a batch of three runs, all of which go on."""
    ti = airflow.task(brief())
    airflow.instances[ti._id] = ti  # noqa: SLF001 - a task that is deferred already
    ti.state = "deferred"
    airflow.xcoms[ti.key, "crew_batch_id"] = BATCH
    for kickoff_id in named(3):
        crew.now(kickoff_id, "RUNNING")
    return ti


def killed(airflow: Airflow, ti: TaskInstance, count: int = 3, **arguments: Any) -> str:
    """Do what a triggerer does when the trigger's row is gone, and return what the trigger wrote."""
    trigger = batch(count, **{"on_kill": "stop", "durable": True, **arguments})
    trigger.task_instance = ti._runtime()  # noqa: SLF001 - what Airflow gives a trigger
    with airflow.connected(), structlog.testing.capture_logs() as lines:
        asyncio.run(trigger.on_kill())
    return "\n".join(str(line["event"]) for line in lines)


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", None])
def test_a_batch_whose_task_a_user_ends_or_clears_stops_all_its_runs(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, state: str | None
) -> None:
    deferred.state = state
    said = killed(airflow, deferred)
    assert sorted(crew.stops) == named(3)
    assert "They GO ON unless a line below says otherwise: run-0, run-1, run-2" in said
    assert said.endswith("3 runs are stopped: run-0, run-1, run-2")


@ON_3_3
@pytest.mark.parametrize("state", ["deferred", "up_for_retry"])
def test_a_trigger_that_moves_to_another_triggerer_stops_nothing(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, state: str
) -> None:
    deferred.state = state
    assert f"No run of batch {BATCH} is stopped: the task is {state} and still wants it." in killed(airflow, deferred)
    assert crew.stops == []


def test_a_cleared_task_that_reattaches_keeps_its_runs(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    deferred.state = None
    said = killed(airflow, deferred, on_clear="reattach", survives_clear=True)
    assert "the task was cleared, and its next try takes this batch up" in said
    assert crew.stops == []


@ON_3_3
def test_a_batch_that_the_task_has_moved_on_from_is_stopped(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    deferred.state = "running"
    airflow.xcoms[deferred.key, "crew_batch_id"] = "batch-another"
    assert "the task has moved on to batch batch-another" in killed(airflow, deferred, durable=False)
    assert sorted(crew.stops) == named(3)


@ON_3_3
def test_a_batch_that_still_stands_in_xcom_is_wanted(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    assert "is deferred and still wants it" in killed(airflow, deferred, durable=False)
    assert crew.stops == []


def test_runs_are_left_where_the_author_says_so_and_each_is_named(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    deferred.state = "failed"
    said = killed(airflow, deferred, on_kill="leave")
    runs = ", ".join(named(3))
    assert said.splitlines() == [f"The 3 runs of batch {BATCH} GO ON, because on_kill is 'leave': {runs}."]
    assert crew.stops == []


def test_a_run_that_cannot_be_stopped_gets_a_line_of_its_own(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    def some(asked: Asked) -> Answer | None:
        return error(404, "Not Found") if asked.path.endswith("run-1") else None

    crew.always("/stop", some)
    crew.now("run-2", success())
    deferred.state = "failed"
    said = killed(airflow, deferred).splitlines()
    assert {"Run run-0 is stopped.", "Run run-2 had already ended."} <= set(said)
    assert any(line.startswith("Run run-1 GOES ON: this deployment has no way to stop a run") for line in said)


def test_a_run_that_has_ended_is_not_stopped(airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance) -> None:
    crew.now("run-0", success())
    trigger = batch(3, on_kill="stop", durable=True)
    trigger.task_instance = deferred._runtime()  # noqa: SLF001 - what Airflow gives a trigger

    async def cancelled() -> None:
        life = asyncio.create_task(only_event(trigger))
        while len(trigger.held.runs) == 3:  # noqa: ASYNC110 - a trigger tells nobody that a run has ended
            await asyncio.sleep(0.001)
        deferred.state = "failed"
        life.cancel()
        with suppress(asyncio.CancelledError):
            await life
        await trigger.on_kill()

    with airflow.connected():
        asyncio.run(cancelled())
    assert sorted(crew.stops) == ["run-1", "run-2"]


@pytest.mark.usefixtures("impatient")
def test_runs_that_a_slow_deployment_leaves_over_are_named(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    def slow(asked: Asked) -> None:
        time.sleep(0 if asked.path.endswith("run-0") else 2)

    crew.always("/stop", slow)
    deferred.state = "failed"
    said = killed(airflow, deferred)
    assert "Run run-0 is stopped." in said
    for run in ("run-1", "run-2"):
        assert f"Run {run} is not stopped and may go on: the deployment did not answer in time." in said


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow whose patience with `on_kill` leaves us one second."""
    monkeypatch.setenv("AIRFLOW__TRIGGERER__ON_KILL_TIMEOUT", "3")


def test_cancelling_it_touches_nothing_on_the_deployment(airflow: Airflow, crew: ScriptedCrew) -> None:
    for kickoff_id in named(5):
        crew.now(kickoff_id, "RUNNING")

    async def cancel() -> None:
        loop, looked = asyncio.get_running_loop(), asyncio.Event()
        crew.once("/status", lambda _: loop.call_soon_threadsafe(looked.set) and None)
        task = asyncio.create_task(only_event(batch(5, on_kill="stop")))
        await looked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1, "no wait is left behind"

    with airflow.connected():
        asyncio.run(cancel())
    assert crew.stops == []
