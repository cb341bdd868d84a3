"""The sensor: it waits for a run that something else started, and starts none."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout
from conftest import Clock
from crew_tasks import brief, sensor
from in_memory import Airflow, Outcome
from scripted_crew import Answer, ScriptedCrew, error, failure, success

from airflow_provider_crewai.retries import CrewRetryPolicy
from airflow_provider_crewai.wire import errors

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
SAME_RUN = "A retry looks at the same run again; the sensor starts no run itself."


@BOTH_WAYS
@pytest.mark.parametrize(
    ("ended", "answer"), [(success("A text."), "A text."), (success("A text.", {"title": "Tides"}), {"title": "Tides"})]
)
def test_it_returns_what_the_operator_would(
    airflow: Airflow, crew: ScriptedCrew, ended: dict[str, Any], answer: Any, deferrable: bool
) -> None:
    crew.now("run-1", "PENDING", "RUNNING", ended)
    ti = airflow.task(sensor(deferrable=deferrable))
    assert ti.finish().state == "success"
    assert ti.answer == answer
    assert crew.kickoffs == []


@BOTH_WAYS
def test_the_age_of_a_run_that_it_did_not_start_is_not_told(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.now("run-1", "RUNNING", "RUNNING", success())
    succeeded = airflow.task(sensor(deferrable=deferrable)).finish()
    crew.now("run-1", "RUNNING", "RUNNING", failure("out of tokens"))
    failed = airflow.task(sensor(deferrable=deferrable)).finish()
    assert "Run run-1 succeeded." in succeeded.log
    assert "The crew says: out of tokens The run is over. The sensor is not retried" in failed.told
    assert "after it was started" not in succeeded.text
    assert " since 20" not in succeeded.text
    assert " since 20" not in failed.text


def test_the_run_may_come_from_another_tasks_xcom(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    started = brief(task_id="start", wait_for_completion=False)
    assert airflow.task(started).finish().state == "success"
    ti = airflow.task(sensor(kickoff_id="{{ ti.xcom_pull('start') }}", deferrable=True))
    assert ti.finish().state == "success"
    assert set(crew.looks) == {"run-1"}


@BOTH_WAYS
@pytest.mark.parametrize(
    ("ended", "kind"), [(failure("out of tokens"), errors.CrewRunFailed), ({"state": "REVOKED"}, errors.CrewRunStopped)]
)
def test_a_run_that_ended_badly_fails_it_for_good(
    airflow: Airflow, crew: ScriptedCrew, ended: dict[str, Any], kind: type[Exception], deferrable: bool
) -> None:
    crew.now("run-1", "RUNNING", "RUNNING", ended)
    outcome = airflow.task(sensor(deferrable=deferrable, retries=1)).finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert isinstance(outcome.error, kind)
    assert "The run is over. The sensor is not retried, because a retry would find the same run" in outcome.told


def test_a_retry_policy_decides_about_a_run_that_ended_badly(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", failure("out of tokens"))
    policy = CrewRetryPolicy(retry_failures=["tokens"])
    outcome = airflow.task(sensor(retries=1, retry_policy=policy)).finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewRunFailed)
    assert SAME_RUN in outcome.told


@BOTH_WAYS
def test_an_api_that_falls_silent_is_looked_at_again_by_a_retry(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.once("/status", Answer(body={"state": "RUNNING"}))
    crew.always("/status", error(502, "Bad Gateway"))
    outcome = airflow.task(sensor(deferrable=deferrable, retries=1, unreachable_timeout=0.01)).finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewRunUnreachable)
    assert SAME_RUN in outcome.told


@BOTH_WAYS
@pytest.mark.parametrize("limits", [{"timeout": 60}, {"execution_timeout": timedelta(seconds=60)}])
def test_its_timeout_is_a_sensors_timeout(
    airflow: Airflow, crew: ScriptedCrew, limits: dict[str, Any], deferrable: bool
) -> None:
    crew.now("run-1", "RUNNING")
    task = sensor(deferrable=deferrable, retries=2, **limits)
    outcome = airflow.task(task).finish(started=timedelta(seconds=61))
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowSensorTimeout)
    assert "Run run-1 did not end in time" in outcome.told
    assert "The sensor is not retried after its timeout; clear it to look again." in outcome.told


@BOTH_WAYS
@pytest.mark.parametrize(
    ("states", "age"),
    [([failure("out of tokens")], 0), (["RUNNING"], 10**6), (["RUNNING", "RUNNING", failure("out of tokens")], 0)],
    ids=["failed", "timed out", "failed later"],
)
def test_with_soft_fail_it_skips(
    airflow: Airflow, crew: ScriptedCrew, states: list[Any], age: float, deferrable: bool
) -> None:
    crew.now("run-1", *states)
    task = sensor(soft_fail=True, retries=2, deferrable=deferrable)
    assert airflow.task(task).finish(started=timedelta(seconds=age)).state == "skipped"


def test_with_soft_fail_a_failed_trigger_is_no_reason_to_skip(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", "RUNNING")
    ti = airflow.task(sensor(soft_fail=True, deferrable=True))
    ti.run()
    crew.now("run-1", "RUNNING", success())
    assert ti.resume_failed("Trigger timeout").state == "success"


def refused_for_a_minute(airflow: Airflow, crew: ScriptedCrew, **options: Any) -> Outcome:
    crew.now("run-1", "RUNNING")
    ti = airflow.task(sensor(deferrable=True, **options))
    assert ti.run().state == "deferred"
    crew.always("/status", error(401, "Not authenticated"))
    return ti.resume({"ending": "auth_lost", "since": time.time() - 61, "seen_alive": True})


def test_a_token_that_is_refused_for_a_minute_fails_it_and_a_retry_looks_again(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    outcome = refused_for_a_minute(airflow, crew, retries=2)
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewRunAuthLost)
    assert SAME_RUN in outcome.told


def test_a_token_that_is_refused_in_the_worker_is_given_a_minute_too(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.always("/status", error(401, "Not authenticated"))
    outcome = airflow.task(sensor(retries=2, poll_interval=2, max_poll_interval=60)).finish()
    assert isinstance(outcome.error, errors.CrewRunAuthLost)
    assert 55 < clock.slept <= 60


def no_password(airflow: Airflow, _: ScriptedCrew) -> None:
    airflow.connections["crewai_default"]["password"] = ""


def no_crew(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", error(404, "Not Found"))
    crew.always("/run-1", error(404, "Not Found"))


def a_page(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", Answer(200, b"<html><body>Welcome</body></html>"))


@BOTH_WAYS
@pytest.mark.parametrize(
    ("spoil", "says", "retried"),
    [
        (
            no_password,
            "Run run-1 could not be looked at. Connection 'crewai_default': its Bearer token (password) is empty;",
            True,
        ),
        (no_crew, "Run run-1 could not be looked at. No crew answers there (HTTP 404: Not Found).", False),
        (a_page, "Run run-1 could not be looked at. No crew answers there (HTTP 200, but", False),
    ],
)
def test_a_connection_that_somebody_has_to_mend_is_not_waited_for(
    airflow: Airflow,
    crew: ScriptedCrew,
    spoil: Callable[[Airflow, ScriptedCrew], None],
    says: str,
    retried: bool,
    deferrable: bool,
) -> None:
    spoil(airflow, crew)
    outcome = airflow.task(sensor(deferrable=deferrable, retries=2)).finish()
    assert outcome.state == ("up_for_retry" if retried else "failed")
    assert isinstance(outcome.error, errors.CrewRunUnwatchable)
    assert isinstance(outcome.error, AirflowFailException) is not retried
    mended = "The sensor is not retried; fix the connection, then clear the sensor to look again."
    for words in (
        says,
        "(connection 'crewai_default')",
        "It may go on and cost money.",
        SAME_RUN if retried else mended,
    ):
        assert words in outcome.told
    assert ".." not in outcome.told


@BOTH_WAYS
def test_a_deployment_that_is_replaced_while_it_waits_is_waited_for(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    gone = error(404, "Not Found")
    crew.now("run-1", "RUNNING", "RUNNING", success())
    crew.once("/status", Answer(body={"state": "RUNNING"}), gone, gone)
    assert airflow.task(sensor(deferrable=deferrable)).finish().state == "success"


def test_a_run_that_never_was_is_lost_and_both_causes_are_named(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(sensor(deferrable=True))
    assert ti.run().state == "deferred"
    outcome = ti.resume({"ending": "lost", "since": time.time() - 61, "seen_alive": False})
    assert isinstance(outcome.error, errors.CrewRunLost)
    assert "the connection names another deployment, or the kickoff_id is wrong" in outcome.told
    assert crew.kickoffs == []


def test_a_run_out_of_sight_is_waited_for_where_somebody_is_told_when_it_waits_for_a_human(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.now("run-1", "RUNNING")
    ti = airflow.task(sensor(deferrable=True, human_input=True))
    ti.run()
    crew.now("run-1", "NOT FOUND")
    assert ti.resume({"ending": "lost", "since": time.time() - 61, "seen_alive": True}).state == "deferred"


@BOTH_WAYS
def test_a_crew_that_already_waits_for_a_human_when_it_begins_is_waited_for(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, deferrable: bool
) -> None:
    crew.now("run-1", *["NOT FOUND"] * 20, success())
    slow: dict[str, Any] = {} if deferrable else {"poll_interval": 10, "max_poll_interval": 60}
    ti = airflow.task(sensor(deferrable=deferrable, human_input=True, **slow))
    outcome = ti.finish()
    assert outcome.state == "success"
    assert deferrable or clock.slept > 120


# ---- what Airflow's sensors promise -------------------------------------------------------------------

OUTAGE = {"unreachable_timeout": 0.01}


@BOTH_WAYS
def test_with_soft_fail_what_a_retry_may_mend_is_retried_as_by_any_sensor(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.always("/status", error(502, "Bad Gateway"))
    outcome = airflow.task(sensor(soft_fail=True, retries=1, deferrable=deferrable, **OUTAGE)).finish()
    assert outcome.state == "up_for_retry"
    assert SAME_RUN in outcome.told


@BOTH_WAYS
@pytest.mark.parametrize(
    ("script", "options", "age"),
    [
        (Answer(body=failure("out of tokens")), {}, 0),
        (Answer(body={"state": "RUNNING"}), {}, 10**6),
        (error(502, "Bad Gateway"), OUTAGE, 0),
        (error(404, "Not Found"), {}, 0),
    ],
    ids=["failed", "timed out", "unreachable", "no crew"],
)
def test_with_never_fail_it_skips_whatever_goes_wrong(
    airflow: Airflow, crew: ScriptedCrew, script: Answer, options: dict[str, Any], age: float, deferrable: bool
) -> None:
    crew.always("/status", script)
    crew.always("/run-1", script)
    ti = airflow.task(sensor(never_fail=True, retries=2, deferrable=deferrable, **options))
    outcome = ti.finish(started=timedelta(seconds=age))
    assert outcome.state == "skipped"
    assert "The sensor is skipped, as never_fail says; clear it to look again." in outcome.text


@pytest.mark.parametrize("kickoff_id", ["", ".."])
def test_with_never_fail_it_skips_without_a_run_to_wait_for(
    airflow: Airflow, crew: ScriptedCrew, kickoff_id: str
) -> None:
    assert airflow.task(sensor(never_fail=True, kickoff_id=kickoff_id)).finish().state == "skipped"


@pytest.mark.parametrize("trouble", [error(502, "Bad Gateway"), error(401, "No"), Answer(body={"state": "NOT FOUND"})])
def test_with_silent_fail_nothing_that_may_get_better_ends_it_before_its_timeout(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, trouble: Answer
) -> None:
    crew.now("run-1", "RUNNING")
    crew.once("/status", Answer(body={"state": "RUNNING"}))
    crew.always("/status", trouble)
    slow = {"poll_interval": 60, "max_poll_interval": 60}
    outcome = airflow.task(sensor(silent_fail=True, timeout=3600, unreachable_timeout=60, **slow)).finish()
    assert isinstance(outcome.error, AirflowSensorTimeout)
    assert 3500 < clock.slept < 3601


@BOTH_WAYS
def test_with_silent_fail_a_run_that_failed_fails_it(airflow: Airflow, crew: ScriptedCrew, deferrable: bool) -> None:
    crew.now("run-1", "RUNNING", "RUNNING", failure("out of tokens"))
    assert airflow.task(sensor(silent_fail=True, deferrable=deferrable)).finish().state == "failed"


def test_with_silent_fail_its_trigger_is_silent_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", "RUNNING")
    ti = airflow.task(sensor(silent_fail=True, deferrable=True))
    assert ti.run().message.trigger_kwargs["silent"] is True


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e300, timedelta.max, "3600", True, -1])
def test_a_timeout_that_is_none_fails_the_dag_file_and_is_named(timeout: Any) -> None:
    with pytest.raises(ValueError, match=r"Task 'answer': timeout is .* seconds above 0"):
        sensor(timeout=timeout)


@pytest.mark.parametrize("kickoff_id", [None, "", "{{ ti.xcom_pull('start') }}"])
def test_a_kickoff_id_that_nobody_pushed_is_refused_at_once_and_says_where_to_look(
    airflow: Airflow, crew: ScriptedCrew, kickoff_id: str | None
) -> None:
    outcome = airflow.task(sensor(kickoff_id=kickoff_id, retries=2)).finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    for words in (
        "Task 'answer': kickoff_id rendered to ",
        ". Does the task that starts the run push it?",
        "Nothing was sent over connection 'crewai_default'. The sensor is not retried.",
    ):
        assert words in outcome.told
    assert crew.asked == []


@pytest.mark.parametrize("kickoff_id", ["..", "a\tb"])
def test_what_is_no_kickoff_id_is_refused_at_once_and_says_so(
    airflow: Airflow, crew: ScriptedCrew, kickoff_id: str
) -> None:
    outcome = airflow.task(sensor(kickoff_id=kickoff_id, retries=2)).finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert "is not a kickoff_id" in outcome.told
    assert crew.asked == []


@BOTH_WAYS
def test_a_failed_trigger_is_none_of_the_runs_failures(airflow: Airflow, crew: ScriptedCrew, deferrable: bool) -> None:
    crew.now("run-1", "RUNNING", success() if not deferrable else "RUNNING")
    ti = airflow.task(sensor(deferrable=deferrable))
    if ti.run().state == "deferred":
        crew.now("run-1", "RUNNING", success())
        ti.resume_failed()
    assert ti.answer == "A brief on tides."


def test_a_skip_says_why_and_promises_no_retry(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", failure("out of tokens"))
    ti = airflow.task(sensor(soft_fail=True))
    outcome = ti.run()
    assert outcome.state == "skipped"
    assert "The crew says: out of tokens\nThe run is over.\nThe sensor is skipped, as soft_fail says" in outcome.text
    assert not outcome.verdict
