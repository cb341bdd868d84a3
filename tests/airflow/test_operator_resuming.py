"""Coming back from a deferral: what the trigger says is a hint, and its failure is none of the run's."""

from __future__ import annotations

import time
from typing import Any

import pytest
from crew_tasks import brief
from in_memory import Airflow, TaskInstance
from scripted_crew import Answer, ScriptedCrew, error, failure, success

from airflow_provider_crewai.awaiting import MAX_DEFERRALS
from airflow_provider_crewai.wire import errors

SUCCEEDED = {"kickoff_id": "run-1", "ending": "succeeded", "since": None, "seen_alive": True}


@pytest.fixture
def deferred(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
    """A task that has deferred for the run `run-1`, which goes on."""
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    assert ti.run().state == "deferred"
    return ti


# ---- with an event ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "hint", [SUCCEEDED, {**SUCCEEDED, "ending": "failed"}, {**SUCCEEDED, "ending": "auth_lost"}, {}, None, {"new": 1}]
)
def test_an_event_is_a_hint_and_the_run_itself_is_believed(
    deferred: TaskInstance, crew: ScriptedCrew, hint: Any
) -> None:
    assert deferred.resume(hint).state == "deferred"
    crew.now("run-1", success("The truth."))
    assert deferred.resume(hint).state == "success"
    assert deferred.answer == "The truth."


def test_a_success_that_turns_out_a_failure_is_a_failure(deferred: TaskInstance, crew: ScriptedCrew) -> None:
    crew.now("run-1", failure("out of tokens"))
    assert isinstance(deferred.resume(SUCCEEDED).error, errors.CrewRunFailed)


def test_a_task_that_is_woken_for_nothing_defers_again_and_at_last_waits_in_the_worker(
    deferred: TaskInstance, crew: ScriptedCrew
) -> None:
    states = [deferred.resume(SUCCEEDED).state for _ in range(MAX_DEFERRALS - 1)]
    assert set(states) == {"deferred"}
    crew.now("run-1", "RUNNING", "RUNNING", success())
    assert deferred.resume(SUCCEEDED).state == "success"
    assert len(crew.kickoffs) == 1


def test_what_an_older_version_deferred_with_is_still_understood(deferred: TaskInstance, crew: ScriptedCrew) -> None:
    assert deferred.outcome
    kwargs = deferred.outcome.message.next_kwargs
    for newer in set(kwargs) - {"kickoff_id", "started_at", "deadline"}:
        del kwargs[newer]
    crew.now("run-1", success())
    assert deferred.resume(SUCCEEDED).state == "success"


def test_a_deferral_that_lost_what_it_carried_finds_its_run_on_record(
    deferred: TaskInstance, crew: ScriptedCrew
) -> None:
    assert deferred.outcome
    deferred.outcome.message.next_kwargs.clear()
    crew.now("run-1", success())
    assert deferred.resume(SUCCEEDED).state == "success"


def test_a_run_that_the_trigger_saw_alive_counts_as_seen(deferred: TaskInstance, crew: ScriptedCrew) -> None:
    crew.now("run-1", "NOT FOUND")
    lost = {"ending": "lost", "since": time.time() - 61, "seen_alive": True}
    assert "It was known before: " in deferred.resume(lost).told


# ---- without one: the trigger failed ---------------------------------------------------------------


def test_a_run_that_ended_is_returned_although_its_trigger_failed(deferred: TaskInstance, crew: ScriptedCrew) -> None:
    crew.now("run-1", success("All the same."))
    outcome = deferred.resume_failed(traceback=["Traceback\n", "TypeError: no such argument\n"])
    assert outcome.state == "success"
    assert deferred.answer == "All the same."
    assert "The trigger ended without an event (Trigger failure)." in outcome.text
    assert "TypeError: no such argument" in outcome.text


@pytest.mark.parametrize("why", ["Trigger failure", "Trigger timeout"])
def test_a_run_that_goes_on_is_waited_for_in_the_worker(deferred: TaskInstance, crew: ScriptedCrew, why: str) -> None:
    crew.now("run-1", "RUNNING", "RUNNING", success())
    assert deferred.resume_failed(why).state == "success"
    assert len(crew.kickoffs) == 1


def test_a_run_that_failed_fails_the_task_by_its_own_words(deferred: TaskInstance, crew: ScriptedCrew) -> None:
    crew.now("run-1", failure("out of tokens"))
    outcome = deferred.resume_failed()
    assert isinstance(outcome.error, errors.CrewRunFailed)
    assert "out of tokens" in outcome.told


def test_a_failed_trigger_does_not_move_the_deadline(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, timeout=600))
    ti.run()
    ti.start_date = ti.start_date.replace(year=ti.start_date.year - 1)
    assert isinstance(ti.resume_failed("Trigger timeout").error, errors.CrewRunTimedOut)


def test_an_unreachable_api_is_waited_for_after_a_failed_trigger(deferred: TaskInstance, crew: ScriptedCrew) -> None:
    crew.now("run-1", success())
    crew.once("/status", error(502, "Bad Gateway"), Answer(200, b"<html>"))
    assert deferred.resume_failed().state == "success"


def test_without_a_record_the_run_is_found_by_the_xcom_of_this_very_try(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, durable=False))
    ti.run()
    crew.now("run-1", success())
    assert ti.resume_failed().state == "success"


def test_without_record_and_xcom_the_task_says_that_it_does_not_know(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, durable=False))
    ti.run()
    airflow.xcoms.clear()
    outcome = ti.resume_failed()
    assert isinstance(outcome.error, errors.CrewLedgerError)
    assert "is neither on record nor in XCom" in outcome.told


def test_a_record_that_cannot_be_read_on_coming_back_fails_in_a_way_that_can_be_retried(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, retries=1))
    ti.run()
    airflow.broken = {"GetTaskStateStore"}
    outcome = ti.resume_failed()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewLedgerError)
    airflow.broken = set()
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


def test_a_connection_that_is_gone_on_coming_back_loses_no_run(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, retries=1, unreachable_timeout=0.01))
    ti.run()
    connections, airflow.connections = airflow.connections, {}
    outcome = ti.resume(SUCCEEDED)
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewAnswerNotFetched)
    assert "add a connection of type 'crewai'" in outcome.told
    airflow.connections = connections
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1
