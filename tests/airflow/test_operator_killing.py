"""When a task is ended from outside: is its run stopped, and what is said of it."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import structlog
from airflow.sdk.execution_time.comms import GetTaskStates
from conftest import Clock
from crew_tasks import brief, sends, starts_slowly
from in_memory import Airflow, TaskInstance
from scripted_crew import Answer, Asked, ScriptedCrew, error, success

from airflow_provider_crewai.client.killing import Bond
from airflow_provider_crewai.hooks import AsyncCrewHook
from airflow_provider_crewai.in_airflow.compat import CANCELS_MOVED_TRIGGERS
from airflow_provider_crewai.in_airflow.killed_in_triggerer import Cancellation
from airflow_provider_crewai.triggers import CrewStatusTrigger
from airflow_provider_crewai.wire import errors

RUNNING = Answer(body={"state": "RUNNING"})
TERMINATED = sends(signal.SIGTERM)
ON_3_3 = pytest.mark.skipif(
    not CANCELS_MOVED_TRIGGERS, reason="from Airflow 3.4 on only a user's act cancels a trigger"
)


def ended(ti: TaskInstance, state: str | None) -> Callable[[Asked], None]:
    """Let a user end or clear the task, upon which Airflow ends its process."""

    def script(asked: Asked) -> None:
        ti.state = state
        TERMINATED(asked)

    return script


# ---- in a worker: SIGTERM --------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed"])
def test_a_task_that_a_user_ends_stops_its_run(airflow: Airflow, crew: ScriptedCrew, state: str) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(retries=1))
    crew.once("/status", RUNNING, ended(ti, state))
    outcome = ti.run()
    assert crew.stops == ["run-1"]
    assert f"The task's process is told to end: the task is {state}.\nRun run-1 is stopped." in outcome.text
    assert isinstance(outcome.error, errors.CrewTaskKilled)


def test_a_task_that_is_killed_waits_no_longer_for_a_run_that_goes_on(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")  # for ever
    crew.always("/stop", error(404, "Not Found"))
    crew.once("/status", TERMINATED)
    began = time.monotonic()
    outcome = airflow.task(brief(poll_interval=600, max_poll_interval=600)).run()
    assert isinstance(outcome.error, errors.CrewTaskKilled)
    assert "Run run-1 GOES ON" in outcome.text
    assert time.monotonic() - began < 60, "Airflow 3.4 would wait for a minute, and then kill it"


@pytest.mark.parametrize("state", ["restarting", None])
def test_a_task_that_a_user_clears_stops_its_run(airflow: Airflow, crew: ScriptedCrew, state: str | None) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(retries=1))
    crew.once("/status", RUNNING, ended(ti, state))
    assert "the task was cleared, and its next try starts a new run" in ti.run().text
    assert crew.stops == ["run-1"]


@pytest.mark.parametrize("state", ["scheduled", "queued"])
def test_a_task_that_airflow_lost_sight_of_leaves_its_run_to_the_retry(
    airflow: Airflow, crew: ScriptedCrew, state: str
) -> None:
    crew.story("RUNNING", success())
    ti = airflow.task(brief(retries=1))
    crew.once("/status", RUNNING, ended(ti, state))
    assert "and a retry takes this run up.\nRun run-1 GOES ON." in ti.run().text
    assert crew.stops == []


def test_a_task_that_a_user_clears_to_reattach_keeps_its_run(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    ti = airflow.task(brief(on_clear="reattach"))
    crew.once("/status", RUNNING, ended(ti, "restarting"))
    assert "Run run-1 GOES ON." in ti.run().text
    assert crew.stops == []


def test_a_worker_whose_machine_goes_down_leaves_the_run_to_the_retry(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    crew.once("/status", RUNNING, TERMINATED)
    said = airflow.task(brief(retries=1)).run().text
    assert "nobody has ended the task, and a retry takes this run up.\nRun run-1 GOES ON." in said
    assert crew.stops == []


@pytest.mark.parametrize("options", [{}, {"retries": 1, "durable": False}], ids=["no retry", "not durable"])
def test_a_worker_whose_machine_goes_down_stops_the_run_that_no_retry_takes_up(
    airflow: Airflow, crew: ScriptedCrew, options: dict[str, Any]
) -> None:
    crew.story("RUNNING")
    crew.once("/status", RUNNING, TERMINATED)
    assert "nobody has ended the task, and no retry takes this run up" in airflow.task(brief(**options)).run().text
    assert crew.stops == ["run-1"]


def test_a_task_that_cannot_ask_airflow_what_became_of_it_leaves_the_run_to_the_retry(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    """As when the api-server is away, after which Airflow ends the task's process."""
    crew.story("RUNNING", success())
    airflow.broken = {"GetTaskStates"}
    crew.once("/status", RUNNING, TERMINATED)
    outcome = airflow.task(brief(retries=1)).run()
    assert "Airflow does not say what happened to the task, and a retry takes this run up.\nRun run-1 GOES ON." in (
        outcome.text
    )
    assert crew.stops == []


def test_airflow_is_asked_again_where_it_could_not_say_what_became_of_the_task(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    """As when the signal comes while the task talks to Airflow: until that is done, nobody else can ask."""
    crew.story("RUNNING")
    ti = airflow.task(brief(retries=1))

    def silent_once(message: Any) -> None:
        if type(message).__name__ == "GetTaskStates" and airflow.broken:
            airflow.broken = set()
            raise RuntimeError("the socket is taken")

    def ended(asked: Asked) -> None:
        ti.state, airflow.broken = "failed", {"nothing"}
        airflow.before = silent_once
        sends(signal.SIGTERM)(asked)

    crew.once("/status", RUNNING, ended)
    outcome = ti.run()
    assert crew.stops == ["run-1"]
    assert "Airflow was asked again: the task is failed." in outcome.text


def test_a_task_that_is_killed_leaves_its_run_where_the_author_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    crew.once("/status", RUNNING, TERMINATED)
    outcome = airflow.task(brief(on_kill="leave")).run()
    assert crew.stops == []
    assert "Run run-1 GOES ON: on_kill is 'leave'." in outcome.text


@pytest.mark.parametrize("status", [404, 405])
def test_where_a_deployment_cannot_stop_runs_the_log_shouts_it(
    airflow: Airflow, crew: ScriptedCrew, status: int
) -> None:
    crew.story("RUNNING", success())
    crew.always("/stop", error(status, "Not Found"))
    crew.once("/status", RUNNING, TERMINATED)
    outcome = airflow.task(brief()).run()
    assert f"Run run-1 GOES ON: this deployment has no way to stop a run (HTTP {status}: Not Found)." in outcome.text


def test_a_stop_that_is_refused_is_told(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    crew.always("/stop", error(401, "Not authenticated"))
    crew.once("/status", RUNNING, TERMINATED)
    outcome = airflow.task(brief()).run()
    assert "Run run-1 could not be stopped and may go on: HTTP 401" in outcome.text


def test_stopping_a_run_that_has_just_ended_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    crew.once("/status", TERMINATED)
    assert "Run run-1 had already ended." in airflow.task(brief()).run().text


def test_a_task_that_is_killed_while_it_kicks_off_stops_the_run_as_soon_as_it_knows_it(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief())
    crew.once("/kickoff", ended(ti, "failed"))
    outcome = ti.run()
    assert "ends the task's process before it knows its run (connection 'crewai_default')" in outcome.text
    assert crew.stops == ["run-1"]
    assert ti.record["kickoff_id"] == "run-1"


@pytest.mark.parametrize("at", ["/inputs", "/kickoff"])
def test_a_task_that_is_killed_before_it_kicks_off_starts_nothing(
    airflow: Airflow, crew: ScriptedCrew, at: str
) -> None:
    def turned_away(asked: Asked) -> Answer:
        ended(ti, "failed")(asked)
        return error(503, "asleep", Retry_After="0")

    ti = airflow.task(brief(validate_inputs=True))
    crew.once(at, turned_away)
    outcome = ti.run()
    assert isinstance(outcome.error, errors.CrewTaskKilled)
    assert outcome.told.startswith("The task")
    assert "nothing was sent." in outcome.told.lower()
    assert "ends the task's process before it knows its run" in outcome.text
    assert len(crew.kickoffs) == (at == "/kickoff"), "what was turned away is not sent again"
    assert ti.record is None


def test_a_retry_that_is_killed_while_it_looks_at_its_run_stops_it(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING")
    starts_slowly(crew, clock, 60)
    ti = airflow.task(brief(retries=1, timeout=60))
    ti.run()
    crew.once("/status", ended(ti, "failed"))
    ti.run()
    assert crew.stops == ["run-1"]


def test_a_task_that_is_killed_while_it_pushes_its_runs_id_stops_it(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief())

    def end() -> None:
        ti.state = "failed"
        signal.raise_signal(signal.SIGTERM)

    airflow.before = at_the_nth("SetXCom", 2, end)  # the first is the link's
    ti.run()
    assert crew.stops == ["run-1"]


@pytest.mark.parametrize(
    "options", [{"wait_for_completion": False}, {"timeout": 0.02}], ids=["not waited for", "timed out"]
)
def test_a_kill_after_the_task_has_finished_with_its_run_stops_nothing(
    airflow: Airflow, crew: ScriptedCrew, options: dict[str, Any]
) -> None:
    """Airflow 3.3.2 ends a process whose listeners and callbacks take longer than `task_success_overtime`."""
    crew.story("RUNNING")
    task = brief(**options)
    airflow.task(task).run()
    task.on_kill()
    assert crew.stops == []


def test_a_stop_that_is_not_answered_is_given_up_within_the_five_seconds_that_airflow_gives(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING", "RUNNING", success())
    crew.always("/stop", lambda _: time.sleep(6))
    crew.once("/status", RUNNING, TERMINATED)
    started = time.monotonic()
    outcome = airflow.task(brief()).run()
    assert time.monotonic() - started < 5
    assert crew.stops == ["run-1"]
    assert "Run run-1 could not be stopped and may go on" in outcome.text


def test_a_task_that_is_killed_while_it_reads_its_connection_asks_airflow_for_nothing(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING", success())
    ti = airflow.task(brief(deferrable=True))
    ti.run()
    asked = []

    def kill(message: Any) -> None:
        asked.append(type(message).__name__)
        if asked[-1] == "GetConnection" and asked.count("GetConnection") == 1:
            signal.raise_signal(signal.SIGTERM)
            assert asked[-1] == "GetConnection"
            assert asked.count("GetConnection") == 1

    airflow.before = kill
    outcome = ti.resume({"ending": "succeeded"})
    assert "Run run-1 could not be stopped and may go on: the task had not read its connection yet" in outcome.text


def test_a_run_that_was_taken_up_is_stopped_too(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    crew.story("RUNNING")
    starts_slowly(crew, clock, 60)
    ti = airflow.task(brief(retries=1, timeout=60))
    ti.run()
    ti.edit(brief(retries=1))
    crew.once("/status", RUNNING, RUNNING, TERMINATED)
    ti.run()
    assert crew.stops == ["run-1"]


def test_a_run_that_is_waited_for_after_a_deferral_is_stopped_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    ti.run()
    crew.once("/status", RUNNING, TERMINATED)
    ti.resume_failed()
    assert crew.stops == ["run-1"]


class LockedLog:
    """A log that writes under a lock which nobody can take twice, as Airflow 3's does, and is interrupted once.

    :param at: the words in the midst of whose writing the task's process is told to end.
    """

    def __init__(self, at: str) -> None:
        self._at = at
        self._lock = threading.Lock()
        self._written: list[Any] = []

    def __call__(self, _logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        with self._lock:
            self._written.append(dict(event))
            if self._at in str(event["event"]):
                self._at = "(only once)"
                signal.raise_signal(signal.SIGTERM)
        raise structlog.DropEvent

    def says(self, words: str) -> bool:
        """Whether it holds these words, now or within seconds: a thread may write them when the lock is free."""
        give_up = time.monotonic() + 10
        while time.monotonic() < give_up:
            if words in "\n".join(str(line["event"]) for line in self._written):
                return True
            time.sleep(0.01)
        return False

    @contextmanager
    def collect(self) -> Iterator[list[Any]]:
        before = structlog.get_config()["processors"]
        # In place, since a logger that was used before keeps the list that it was bound with.
        kept, before[:] = before[:], [structlog.stdlib.PositionalArgumentsFormatter(), self]
        try:
            yield self._written
        finally:
            before[:] = kept


def test_a_signal_in_the_midst_of_a_log_line_stops_the_run_all_the_same(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(retries=1))
    crew.once("/status", lambda _: setattr(ti, "state", "failed"))
    log = LockedLog("Run run-1: running")
    airflow.logs = log.collect
    began = time.monotonic()
    ti.run()
    assert crew.stops == ["run-1"]
    assert time.monotonic() - began < 5
    assert log.says("told to end: the task is failed.\nRun run-1 is stopped.")


def test_a_signal_in_the_midst_of_a_log_line_before_the_kickoff_starts_nothing(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    ti = airflow.task(brief(retries=1))
    log = LockedLog("Starting a new run")
    airflow.logs = log.collect
    outcome = ti.run()
    assert crew.kickoffs == []
    assert isinstance(outcome.error, errors.CrewTaskKilled)
    assert log.says("ends the task's process before it knows its run")


def test_a_clear_of_a_running_task_stands_on_record_where_its_run_cannot_be_stopped(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING", "RUNNING", success())
    crew.always("/stop", error(404, "Not Found"))
    ti = airflow.task(brief(retries=1))
    crew.once("/status", RUNNING, ended(ti, "restarting"))
    ti.run()
    assert ti.record["cleared"]
    assert "Starting a new run: the task was cleared" in ti.run().text
    assert len(crew.kickoffs) == 2


def test_a_clear_to_reattach_that_has_discarded_the_record_stops_the_run(airflow: Airflow, crew: ScriptedCrew) -> None:
    """As Airflow 3.4 does where the user does not tick "keep task state"."""
    crew.story("RUNNING")
    ti = airflow.task(brief(on_clear="reattach", retries=1))

    def clear(asked: Asked) -> None:
        airflow.records.clear()
        ended(ti, "restarting")(asked)

    crew.once("/status", RUNNING, clear)
    assert "because this run is no longer on record.\nRun run-1 is stopped." in ti.run().text
    assert crew.stops == ["run-1"]
    assert ti.record is None


# ---- around the kickoff, where Airflow tells the process of nothing --------------------------------


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "restarting"])
def test_a_task_that_was_ended_before_its_kickoff_starts_nothing(
    airflow: Airflow, crew: ScriptedCrew, state: str
) -> None:
    ti = airflow.task(brief(validate_inputs=True, retries=1))
    crew.once("/inputs", lambda _: setattr(ti, "state", state))
    outcome = ti.run()
    assert crew.kickoffs == []
    assert ti.record is None
    assert f"The task is {state} now" in outcome.text


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "restarting"])
def test_a_task_that_was_ended_before_it_could_defer_stops_its_run(
    airflow: Airflow, crew: ScriptedCrew, state: str
) -> None:
    """Airflow refuses the deferral (409), and would tell nobody."""
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    crew.once("/status", lambda _: setattr(ti, "state", state))
    outcome = ti.run()
    assert outcome.state != "deferred"
    assert crew.stops == ["run-1"]
    assert "Run run-1 is stopped." in outcome.text


def test_a_task_that_was_ended_before_it_could_defer_leaves_its_run_where_the_author_says_so(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, on_kill="leave"))
    crew.once("/status", lambda _: setattr(ti, "state", "failed"))
    assert "Run run-1 GOES ON: on_kill is 'leave'." in ti.run().text
    assert crew.stops == []


def test_a_task_whose_state_airflow_does_not_tell_defers(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    airflow.broken = {"GetTaskStates"}
    assert airflow.task(brief(deferrable=True)).run().state == "deferred"


# ---- in a triggerer: on_kill -----------------------------------------------------------------------


@pytest.fixture
def deferred(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
    """A task that has deferred for the run `run-1`, which goes on."""
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    assert ti.run().state == "deferred"
    return ti


def cancel(airflow: Airflow, trigger: CrewStatusTrigger, run: Callable[[Any], None] = asyncio.run) -> str:
    """Do what a triggerer does when the trigger's row is gone, and return what the trigger wrote."""
    with airflow.connected(), structlog.testing.capture_logs() as written:
        run(trigger.on_kill())
    return "\n".join(str(line["event"]) for line in written)


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed"])
def test_a_deferred_task_that_a_user_ends_stops_its_run(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, state: str
) -> None:
    deferred.state = state
    said = cancel(airflow, deferred.trigger())
    assert crew.stops == ["run-1"]
    assert "Run run-1 is stopped." in said
    if CANCELS_MOVED_TRIGGERS:
        assert f"the task is {state}" in said


@ON_3_3
@pytest.mark.parametrize("state", ["deferred", "up_for_retry", "up_for_reschedule"])
def test_a_trigger_that_moves_to_another_triggerer_stops_nothing(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, state: str
) -> None:
    deferred.state = state
    said = cancel(airflow, deferred.trigger())
    assert crew.stops == []
    assert "Run run-1 is not stopped" in said


@pytest.fixture
def forgetful(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
    """The same, of a task whose runs are not on record."""
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, durable=False))
    assert ti.run().state == "deferred"
    return ti


@ON_3_3
@pytest.mark.parametrize("state", ["deferred", "running", "up_for_retry"])
def test_a_run_that_the_task_has_moved_on_from_is_stopped(
    airflow: Airflow, crew: ScriptedCrew, forgetful: TaskInstance, state: str
) -> None:
    trigger = forgetful.trigger()
    forgetful.clear()
    forgetful.run()
    forgetful.state = state
    assert "the task has moved on to run run-2" in cancel(airflow, trigger)
    assert crew.stops == ["run-1"]


def test_a_deferred_task_that_is_cleared_stops_its_run(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    trigger = deferred.trigger()
    deferred.clear()
    assert "cleared" in cancel(airflow, trigger)
    assert crew.stops == ["run-1"]


@pytest.mark.parametrize("state", ["scheduled", "queued"])
def test_a_cleared_task_whose_next_try_waits_for_a_worker_stops_its_run_at_once(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, state: str
) -> None:
    trigger = deferred.trigger()
    deferred.clear()
    deferred.state = state
    assert "cleared" in cancel(airflow, trigger)
    assert crew.stops == ["run-1"]
    assert "Starting a new run" in deferred.run().text
    assert crew.stops == ["run-1"], "it is stopped once"


@ON_3_3
def test_a_task_that_may_have_been_woken_at_its_deadline_stops_nothing(airflow: Airflow, crew: ScriptedCrew) -> None:
    """Another triggerer had taken the trigger over, and this one was asleep until the deadline had passed."""
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, timeout=2.0))
    ti.run()
    trigger = ti.trigger()
    trigger.patience = replace(trigger.patience, deadline=time.time() - 1)
    ti.state = "scheduled"
    assert "was either cleared or woken, and handles this run itself" in cancel(airflow, trigger)
    assert crew.stops == []


@ON_3_3
def test_a_cleared_task_whose_next_try_has_begun_leaves_its_run_to_that_try(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    trigger = deferred.trigger()
    deferred.clear()
    deferred.state = "running"
    assert "the task is running, was either cleared or woken, and handles this run itself" in cancel(airflow, trigger)
    assert crew.stops == []
    assert "Run run-1 is stopped." in deferred.run().text
    assert crew.stops == ["run-1"]


@ON_3_3
def test_a_retry_that_has_just_begun_and_takes_the_run_up_keeps_it_from_a_late_trigger(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    trigger = deferred.trigger()
    deferred.state = "running"
    airflow.xcoms.clear()
    cancel(airflow, trigger)
    assert crew.stops == []


@ON_3_3
def test_without_a_record_a_cleared_task_stops_its_run_once_its_next_try_has_begun(
    airflow: Airflow, crew: ScriptedCrew, forgetful: TaskInstance
) -> None:
    trigger = forgetful.trigger()
    forgetful.clear()
    forgetful.state = "running"
    airflow.before = at_the_nth("GetXCom", 2, airflow.xcoms.clear)  # as a new try begins
    assert "its next try starts a new run" in cancel(airflow, trigger)
    assert crew.stops == ["run-1"]


@ON_3_3
@pytest.mark.parametrize("end", ["deferred", "success", "failed"])
def test_a_task_that_was_woken_and_comes_back_for_its_run_stops_nothing(
    airflow: Airflow, crew: ScriptedCrew, forgetful: TaskInstance, end: str
) -> None:
    """As after an event of another triggerer that had taken the trigger over."""
    trigger = forgetful.trigger()
    forgetful.state = "running"
    airflow.before = at_the_nth("GetTaskStates", 2, lambda: setattr(forgetful, "state", end))
    assert "Run run-1 is not stopped" in cancel(airflow, trigger)
    assert crew.stops == []


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An Airflow whose patience with `on_kill` leaves us one second."""
    monkeypatch.setenv("AIRFLOW__TRIGGERER__ON_KILL_TIMEOUT", "3")


@ON_3_3
@pytest.mark.usefixtures("impatient")
def test_where_it_stays_unclear_whether_the_run_is_wanted_it_is_left_and_the_log_says_so(
    airflow: Airflow, crew: ScriptedCrew, forgetful: TaskInstance
) -> None:
    trigger = forgetful.trigger()
    forgetful.state = "running"
    said = cancel(airflow, trigger)
    assert "Run run-1 is not stopped and may go on: the task is running: it was either cleared, or woken" in said
    assert crew.stops == []


@ON_3_3
@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("value", ["file:///xcoms/briefs/1.json", {"ref": "run-2"}, 7])
def test_what_an_xcom_backend_stores_in_place_of_an_id_is_no_proof_that_the_task_moved_on(
    airflow: Airflow, crew: ScriptedCrew, forgetful: TaskInstance, value: object
) -> None:
    trigger = forgetful.trigger()
    forgetful.state = "deferred"
    airflow.xcoms[forgetful.key, "kickoff_id"] = value
    cancel(airflow, trigger)
    assert crew.stops == []


@ON_3_3
def test_a_question_that_airflow_does_not_answer_is_asked_again(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    deferred.state = "failed"
    airflow.broken = {"GetTaskStates"}
    airflow.before = at_the_nth("GetTaskStates", 2, airflow.broken.clear)
    assert "the task is failed" in cancel(airflow, deferred.trigger())
    assert crew.stops == ["run-1"]


@ON_3_3
@pytest.mark.usefixtures("impatient")
def test_where_airflow_does_not_answer_the_run_is_left_and_the_log_says_so(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    airflow.broken = {"GetTaskStates"}
    said = cancel(airflow, deferred.trigger())
    assert "Airflow does not say what happened to the task (AirflowRuntimeError: " in said
    assert "If a user ended or cleared the task, we now stop the run. It GOES ON unless" in said
    assert crew.stops == []


@pytest.mark.parametrize("at", ["GetTaskStates", "/stop"])
def test_a_trigger_that_is_cancelled_over_and_over_stops_its_run_all_the_same(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, at: str
) -> None:
    """Airflow 3.3.2 does that, about once a second, until the trigger has ended."""
    deferred.state = "failed"

    def slow(_: object) -> None:
        time.sleep(0.3)

    if at == "/stop":
        crew.always(at, slow)
    else:
        airflow.before = slow

    async def cancelled(on_kill: Any) -> None:
        killing = asyncio.ensure_future(on_kill)
        while not killing.done():
            await asyncio.sleep(0.05)
            killing.cancel("__airflow_user_action__")
        await killing

    assert "Run run-1 is stopped." in cancel(
        airflow, deferred.trigger(), lambda on_kill: asyncio.run(cancelled(on_kill))
    )
    assert crew.stops == ["run-1"]


def at_the_nth(message: str, nth: int, happens: Callable[[], None]) -> Callable[[Any], None]:
    """Let something happen when Airflow is asked this for the nth time, before it answers."""
    left = [nth]

    def before(sent: Any) -> None:
        left[0] -= type(sent).__name__ == message
        if not left[0]:
            left[0] = -1
            happens()

    return before


@ON_3_3
@pytest.mark.parametrize("state", [None, "scheduled", "queued", "running", "deferred"])
def test_a_cleared_task_that_reattaches_keeps_its_run(airflow: Airflow, crew: ScriptedCrew, state: str | None) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, on_clear="reattach"))
    ti.run()
    trigger = ti.trigger()
    ti.clear()
    ti.state = state
    assert "Run run-1 is not stopped" in cancel(airflow, trigger)
    assert crew.stops == []


def test_a_task_that_reattaches_and_is_ended_by_a_user_stops_its_run(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, on_clear="reattach"))
    ti.run()
    ti.state = "failed"
    cancel(airflow, ti.trigger())
    assert crew.stops == ["run-1"]


def test_a_deferred_run_is_left_where_the_author_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, on_kill="leave"))
    ti.run()
    ti.state = "failed"
    assert "Run run-1 GOES ON: on_kill is 'leave'." in cancel(airflow, ti.trigger())
    assert crew.stops == []


def test_a_deployment_that_cannot_stop_runs_is_told_of_in_the_triggerer_too(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    crew.always("/stop", error(404, "Not Found"))
    deferred.state = "failed"
    assert "Run run-1 GOES ON" in cancel(airflow, deferred.trigger())


def test_a_sensor_never_stops_a_run_that_is_not_its_own(airflow: Airflow, crew: ScriptedCrew) -> None:
    from crew_tasks import sensor

    crew.now("run-1", "RUNNING")
    ti = airflow.task(sensor(deferrable=True))
    assert ti.run().state == "deferred"
    ti.state = "failed"
    cancel(airflow, ti.trigger())
    assert crew.stops == []


def mapped(airflow: Airflow, count: int) -> list[TaskInstance]:
    """Map a task, whose instances are deferred for `run-0`, `run-1` and so on."""
    task, tis = brief(deferrable=True), []
    for number in range(count):
        ti = airflow.task(task, map_index=number)
        airflow.instances[ti._id] = ti  # noqa: SLF001 - a task that is deferred already
        ti.state = "deferred"
        tis.append(ti)
    return tis


@ON_3_3
def test_each_instance_of_a_mapped_task_has_its_own_end(airflow: Airflow, crew: ScriptedCrew) -> None:
    tis = mapped(airflow, 3)
    tis[1].state = "failed"

    async def cancelled() -> None:
        await asyncio.gather(*(cancellation(ti, f"run-{ti.map_index}").settle() for ti in tis))

    for ti in tis:
        crew.now(f"run-{ti.map_index}", "RUNNING")
    with airflow.connected():
        asyncio.run(cancelled())
    assert crew.stops == ["run-1"]
    assert airflow.count(GetTaskStates) == 1


def cancellation(ti: TaskInstance, kickoff_id: str, log: Any = None, **known: Any) -> Cancellation:
    """Make what a triggerer's `on_kill` does, as on the Airflow that the keywords tell of."""
    bond = Bond(kickoff_id, **{"durable": True, "kept": True, **known})
    client = AsyncCrewHook().get_async_conn()
    return Cancellation(bond, "stop", ti._runtime(), client, "crewai_default", log or structlog.get_logger())  # noqa: SLF001


# ---- Airflow 3.4, which cancels a trigger only where a user did something ---------------------------


def settle(airflow: Airflow, cancelled: Cancellation) -> str:
    """Carry out what `on_kill` does, and return what the trigger wrote."""
    with airflow.connected(), structlog.testing.capture_logs() as written:
        asyncio.run(cancelled.settle())
    return "\n".join(str(line["event"]) for line in written)


@pytest.mark.parametrize("state", ["failed", None, "queued", "running", "deferred"])
@pytest.mark.parametrize("known", [{}, {"durable": False}, {"durable": False, "on_clear": "reattach"}], ids=str)
def test_on_3_4_a_run_is_stopped_without_a_question(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, state: str | None, known: dict[str, Any]
) -> None:
    deferred.state, airflow.asked[:] = state, []
    assert "Run run-1 is stopped." in settle(airflow, cancellation(deferred, "run-1", may_have_moved=False, **known))
    assert crew.stops == ["run-1"]
    assert {type(asked).__name__ for asked in airflow.asked} <= {"GetConnection", "MaskSecret"}


@pytest.mark.parametrize("state", [None, "scheduled", "running", "deferred"])
def test_on_3_4_a_task_that_reattaches_by_a_record_that_no_clear_reaches_keeps_its_run(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, state: str | None
) -> None:
    deferred.state = state
    said = settle(airflow, cancellation(deferred, "run-1", may_have_moved=False, on_clear="reattach"))
    assert "Run run-1 is not stopped: the task was cleared, and its next try takes this run up." in said
    assert crew.stops == []


REATTACHES = {"may_have_moved": False, "on_clear": "reattach", "kept": False}


def test_on_3_4_a_task_that_reattaches_and_is_ended_stops_its_run(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    deferred.state = "failed"
    settle(airflow, cancellation(deferred, "run-1", **REATTACHES))
    assert crew.stops == ["run-1"]


@pytest.mark.parametrize(
    ("next_has", "stops"), [("run-1", []), ("run-2", ["run-1"])], ids=["took it up", "has another"]
)
def test_on_3_4_the_next_try_decides_where_the_clear_may_have_discarded_the_record(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance, next_has: str, stops: list[str]
) -> None:
    deferred.state = "queued"
    airflow.xcoms.clear()

    def begin() -> None:
        deferred.state = "running"
        airflow.xcoms[deferred.key, "kickoff_id"] = next_has

    airflow.before = at_the_nth("GetXCom", 2, begin)
    settle(airflow, cancellation(deferred, "run-1", **REATTACHES))
    assert crew.stops == stops


@pytest.mark.usefixtures("impatient")
def test_on_3_4_a_run_is_left_where_no_next_try_begins_in_time(
    airflow: Airflow, crew: ScriptedCrew, deferred: TaskInstance
) -> None:
    deferred.state = "queued"
    airflow.xcoms.clear()
    said = settle(airflow, cancellation(deferred, "run-1", **REATTACHES))
    assert "Run run-1 is not stopped and may go on: the task was cleared, and its next try has not begun." in said
    assert crew.stops == []
