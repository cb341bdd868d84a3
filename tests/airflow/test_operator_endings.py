"""How a task ends when a crew does not succeed: which exception, retried or not, and what it tells its reader."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.comms import GetConnection
from conftest import Clock
from crew_tasks import brief, starts_slowly
from in_memory import Airflow, Outcome, TaskInstance
from scripted_crew import LOST, TOKEN, Answer, ScriptedCrew, error, failure, success

from airflow_provider_crewai.client.defaults import CALL_PATIENCE
from airflow_provider_crewai.retries import CrewRetryPolicy
from airflow_provider_crewai.wire import errors

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
WITH_AND_WITHOUT = pytest.mark.parametrize("policy", [None, CrewRetryPolicy()], ids=["plain", "with policy"])
HTML = Answer(200, b"<html><body>Welcome to the gateway</body></html>", {"Content-Type": "text/html"})
HALF = Answer(200, b'{"state": "SUCC')
REDIRECT = Answer(302, b"", {"Location": "https://elsewhere.example/"})
SILENCES = {
    "no answer": LOST,
    "500": error(500, "Internal Server Error"),
    "502 in HTML": Answer(502, b"<html><h1>502 Bad Gateway</h1></html>"),
    "503": error(503, "asleep", Retry_After="0"),
    "429": error(429, "slow down", Retry_After="0"),
    "HTML": HTML,
    "half a JSON": HALF,
    "a redirect": REDIRECT,
    "404 of a gateway": Answer(404, b"<html>no such host</html>"),
}
SILENT = pytest.mark.parametrize("silence", SILENCES.values(), ids=SILENCES.keys())


# ---- runs that end, or that we stop waiting for ----------------------------------------------------


@dataclass(frozen=True)
class Bad:
    """A bad end of a run: how it comes about, and what is promised about it.

    :param retried: whether Airflow tries again, without a retry policy and with ours.
    """

    error: type[errors.CrewRunError]
    says: tuple[str, ...]
    retried: bool
    retried_by_policy: bool
    stages: Callable[[ScriptedCrew, Airflow], None]
    options: dict[str, Any]
    age: float = 0


def tells(*states: Any) -> Callable[[ScriptedCrew, Airflow], None]:
    return lambda crew, _: crew.story(*states)


def falls_silent(crew: ScriptedCrew, _: Airflow) -> None:
    crew.story("RUNNING")
    crew.once("/status", Answer(body={"state": "RUNNING", "progress": {"completed": 1, "total": 2}}))
    crew.always("/status", error(502, "Bad Gateway"))


OVER = "The run is over: "
NEW_RUN = "A retry or a clear starts a new run."
GOES_ON = "It probably goes on and costs"
TAKEN_UP = "A retry takes this run up again and starts no new one; a clear stops it and starts a new one."
AFTER_MENDING = "Fix the connection: a retry then takes this run up again; a clear stops it and starts a new one. Fetch its answer: python -m airflow_provider_crewai status run-1 --wait"
BAD = {
    "failed": Bad(
        errors.CrewRunFailed,
        ("Run run-1 failed (", "The crew says: ValueError: no tides on Mars.", OVER, NEW_RUN),
        retried=True,
        retried_by_policy=False,
        stages=tells("RUNNING", "RUNNING", failure("ValueError: no tides on Mars.")),
        options={},
    ),
    "stopped": Bad(
        errors.CrewRunStopped,
        ("was stopped before it ended", OVER, NEW_RUN),
        retried=True,
        retried_by_policy=False,
        stages=tells("RUNNING", "RUNNING", {"state": "REVOKED", "status": None}),
        options={},
    ),
    "timed out": Bad(
        errors.CrewRunTimedOut,
        ("did not end in time; we stopped waiting", GOES_ON, "It was last seen running.", TAKEN_UP),
        retried=True,
        retried_by_policy=True,
        stages=tells("RUNNING"),
        options={"timeout": 60},
        age=60,
    ),
    "unreachable": Bad(
        errors.CrewRunUnreachable,
        (
            "could not be watched any longer",
            "The API has not answered since",
            "HTTP 502: Bad Gateway",
            GOES_ON,
            TAKEN_UP,
        ),
        retried=True,
        retried_by_policy=True,
        stages=falls_silent,
        options={"unreachable_timeout": 0.01},
    ),
}


@BOTH_WAYS
@WITH_AND_WITHOUT
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_run_that_does_not_succeed_fails_the_task_with_the_whole_truth(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, bad: Bad, policy: CrewRetryPolicy | None, deferrable: bool
) -> None:
    bad.stages(crew, airflow)
    starts_slowly(crew, clock, bad.age)
    ti = airflow.task(brief(retries=2, retry_policy=policy, deferrable=deferrable, **bad.options))
    outcome = ti.finish()
    retried = bad.retried_by_policy if policy else bad.retried
    assert outcome.state == ("up_for_retry" if retried else "failed")
    typed = typed_error(outcome, final=not (policy or bad.retried))
    assert isinstance(typed, bad.error)
    assert typed.kickoff_id == "run-1"
    for words in ("Run run-1 ", " since 20", "(connection 'crewai_default')", *bad.says):
        assert words in outcome.told
    assert TOKEN not in outcome.text
    assert len(crew.kickoffs) == 1
    assert ti.answer is None


def typed_error(outcome: Outcome, *, final: bool) -> Any:
    """Return the error, once it is seen to be one that Airflow retries, or not."""
    assert isinstance(outcome.error, AirflowFailException) is final
    return outcome.error


# ---- a login that is lost, and an answer that is not fetched ---------------------------------------------


def goes_on(airflow: Airflow, crew: ScriptedCrew, **options: Any) -> TaskInstance:
    """A deferred task whose run goes on."""
    crew.story("RUNNING")
    ti = airflow.task(brief(**{"deferrable": True, "retries": 2, **options}))
    assert ti.run().state == "deferred"
    return ti


def no_token(airflow: Airflow, _: ScriptedCrew) -> None:
    airflow.connections["crewai_default"]["password"] = ""


def no_login(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", error(401, "Not authenticated"))


def no_gateway(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", error(502, "Bad Gateway"))


def no_connection(airflow: Airflow, _: ScriptedCrew) -> None:
    airflow.connections.clear()


SPOILT = pytest.mark.parametrize("spoil", [no_token, no_login, no_gateway, no_connection])
LONG_SINCE = {"since": time.time() - 1000, "seen_alive": True}


@WITH_AND_WITHOUT
def test_a_token_that_is_refused_for_a_minute_fails_the_task_and_the_retry_takes_the_run_up(
    airflow: Airflow, crew: ScriptedCrew, policy: CrewRetryPolicy | None
) -> None:
    ti = goes_on(airflow, crew, retry_policy=policy)
    no_login(airflow, crew)
    outcome = ti.resume({"ending": "auth_lost", **LONG_SINCE})
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewRunAuthLost)
    for words in ("The connection stopped working at ", "HTTP 401: Not authenticated", GOES_ON, AFTER_MENDING):
        assert words in outcome.told
    assert TOKEN not in outcome.text
    crew.always("/status", None)
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


@BOTH_WAYS
def test_a_token_that_is_refused_for_less_than_a_minute_is_read_anew_at_each_look(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.story("RUNNING", "RUNNING", success())
    denied = error(401, "Not authenticated")
    crew.once("/status", Answer(body={"state": "RUNNING"}), *[denied] * 7)
    outcome = airflow.task(brief(deferrable=deferrable)).finish()
    assert outcome.state == "success"
    assert airflow.count(GetConnection) >= 4


def test_a_token_that_is_refused_in_the_worker_is_given_a_minute_too(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING")
    no_login(airflow, crew)
    outcome = airflow.task(brief(poll_interval=2, max_poll_interval=60)).finish()
    assert isinstance(outcome.error, errors.CrewRunAuthLost)
    assert 55 < clock.slept <= 60


def test_a_connection_that_was_broken_meanwhile_fails_the_task_and_the_retry_takes_the_run_up(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    ti = goes_on(airflow, crew)
    no_token(airflow, crew)
    outcome = ti.resume({"ending": "unwatchable", "seen_alive": True})
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewRunUnwatchable)
    assert AFTER_MENDING in outcome.told
    airflow.connections["crewai_default"] = crew.connection
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


@SPOILT
@WITH_AND_WITHOUT
@pytest.mark.parametrize(
    ("ended", "state", "how"),
    [(success(), "succeeded", "succeed"), (failure("Mars"), "failed", "fail"), ("REVOKED", "stopped", "be stopped")],
)
def test_a_run_that_was_seen_to_end_is_never_said_to_go_on_and_a_retry_fetches_its_answer(
    airflow: Airflow,
    crew: ScriptedCrew,
    clock: Clock,
    ended: Any,
    state: str,
    how: str,
    policy: CrewRetryPolicy | None,
    spoil: Callable[[Airflow, ScriptedCrew], None],
) -> None:
    ti = goes_on(airflow, crew, retry_policy=policy)
    crew.now("run-1", ended)
    event = ti.fire()
    assert (event["ending"], event["state"]) == (state, state)
    spoil(airflow, crew)
    ti.task.poll_interval, ti.task.max_poll_interval = 60, 60
    outcome = ti.resume(event)
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewAnswerNotFetched)
    said = outcome.told
    for words in (
        f"Run run-1 was seen to {how} at 20",
        "Its answer could not be fetched: ",
        OVER,
        "A retry fetches the answer and starts no new run; a clear starts a new run.",
        "Fetch its answer: python -m airflow_provider_crewai status run-1 --wait",
    ):
        assert words in said
    assert GOES_ON not in said
    assert ".." not in said
    airflow.connections["crewai_default"] = crew.connection
    crew._always.clear()  # noqa: SLF001 - mended
    mended = ti.finish()
    assert len(crew.kickoffs) == 1
    if state == "succeeded":
        assert (mended.state, ti.answer) == ("success", "A brief on tides.")
    else:
        assert isinstance(typed_error(mended, final=False), errors.CrewRunFailed | errors.CrewRunStopped)


@SPOILT
def test_an_answer_that_no_retry_would_find_is_not_retried(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, spoil: Callable[[Airflow, ScriptedCrew], None]
) -> None:
    ti = goes_on(airflow, crew, durable=False, poll_interval=60, max_poll_interval=60)
    spoil(airflow, crew)
    outcome = ti.resume({"ending": "succeeded", "state": "succeeded", "at": time.time(), "seen_alive": True})
    assert outcome.state == "failed"
    assert isinstance(typed_error(outcome, final=True), errors.CrewAnswerNotFetched)
    assert "The task is not retried, because a retry would pay for a second run; so would a clear." in outcome.told
    assert "Fetch its answer: python -m airflow_provider_crewai status run-1 --wait" in outcome.told


def test_an_answer_that_cannot_be_fetched_is_not_waited_for_in_the_triggerer(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    ti = goes_on(airflow, crew, poll_interval=5, max_poll_interval=60)
    crew.now("run-1", success())
    event = ti.fire()
    crew.once("/status", *[error(502, "Bad Gateway")] * 4)
    assert ti.resume(event).state == "success"
    assert clock.slept > 5


def test_an_older_triggers_event_says_less_and_is_believed_all_the_same(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    ti = goes_on(airflow, crew, poll_interval=60, max_poll_interval=60)
    no_gateway(airflow, crew)
    outcome = ti.resume({"kickoff_id": "run-1", "ending": "succeeded", "since": None, "seen_alive": True})
    assert isinstance(outcome.error, errors.CrewAnswerNotFetched)


def test_a_run_that_goes_on_after_all_is_waited_for(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = goes_on(airflow, crew)
    event = {"ending": "succeeded", "state": "succeeded", "at": time.time(), "seen_alive": True}
    assert ti.resume(event).state == "deferred"


def test_what_the_trigger_last_saw_is_told_where_the_worker_sees_nothing(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = goes_on(airflow, crew)
    no_gateway(airflow, crew)
    event = {"ending": "unreachable", **LONG_SINCE, "state": "paused", "at": 1.8e9}
    outcome = ti.resume(event)
    assert isinstance(outcome.error, errors.CrewRunUnreachable)
    assert "It was last seen paused at 2027-01-15 08:00:00 UTC." in outcome.told


def test_what_an_earlier_look_of_this_try_saw_is_not_lost(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(retries=3, timeout=600, poll_interval=60, max_poll_interval=60))
    assert isinstance(ti.run().error, errors.CrewRunTimedOut)
    crew.now("run-1", success())
    crew.once("/status", lambda _: crew.always("/status", error(401, "No")))
    ti.task.timeout = None
    outcome = ti.run()
    assert isinstance(outcome.error, errors.CrewAnswerNotFetched)
    assert "was seen to succeed at" in outcome.told


def test_answers_that_are_too_large_for_a_triggerer_are_waited_for_in_the_worker(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    ti = goes_on(airflow, crew)
    crew.now("run-1", "RUNNING", "RUNNING", success())
    outcome = ti.resume({"ending": "too_large", "seen_alive": True, "state": "running", "at": time.time()})
    assert outcome.state == "success"
    assert (
        "The answer of run run-1 is too large for the triggerer, so this task reads it in the worker." in outcome.text
    )


def test_what_a_newer_version_carries_over_a_deferral_is_left_out_and_said(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    ti = goes_on(airflow, crew)
    crew.now("run-1", success())
    assert ti.outcome
    ti.outcome.message.next_kwargs |= {"mood": "good", "aim": 7}
    outcome = ti.resume({"ending": "succeeded", "colour": "green"})
    assert outcome.state == "success"
    assert "A newer version deferred this task. Ignoring what is unknown here: aim, mood" in outcome.text


# ---- what is told ------------------------------------------------------------------------------------


def test_where_the_run_was_last_seen_is_told(airflow: Airflow, crew: ScriptedCrew) -> None:
    falls_silent(crew, airflow)
    outcome = airflow.task(brief(unreachable_timeout=0.01)).run()
    assert "It was last seen running, after 1 of 2 crew tasks." in outcome.told


def test_a_failed_run_may_be_retried_by_what_its_error_says(airflow: Airflow, crew: ScriptedCrew) -> None:
    policy = CrewRetryPolicy(retry_failures=["rate limit"])
    crew.story(failure("litellm.RateLimitError: Rate limit reached"))
    ti = airflow.task(brief(retries=2, retry_policy=policy))
    assert ti.finish().state == "up_for_retry"
    crew.story(failure("ValueError: no tides on Mars"))
    assert ti.finish().state == "failed"


def test_a_failure_without_words_still_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story({"state": "FAILED", "status": None, "result": None})
    assert "Run run-1 failed. The crew gave no reason. The run is over" in airflow.task(brief()).finish().told


def test_the_age_of_the_run_is_told_in_words(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    ti.run()
    deferral = ti.outcome.message.next_kwargs  # type: ignore[union-attr]  # it has run
    deferral["started_at"] -= 3722
    crew.now("run-1", failure("out of tokens"))
    assert "1 hour 2 minutes " in ti.resume({"ending": "failed"}).told


# ---- the deadline ----------------------------------------------------------------------------------


@BOTH_WAYS
@pytest.mark.parametrize(
    ("limits", "age", "ended"),
    [
        ({"timeout": 60}, 61, True),
        ({"timeout": timedelta(seconds=60)}, 61, True),
        ({"timeout": 60}, 30, False),
        ({"timeout": 60, "execution_timeout": timedelta(hours=1)}, 61, True),
        ({"timeout": 3600, "execution_timeout": timedelta(seconds=60)}, 61, True),
        ({"timeout": None, "execution_timeout": timedelta(seconds=60)}, 61, True),
        ({"timeout": 3600, "execution_timeout": timedelta(hours=1)}, 61, False),
        ({"timeout": None}, 10**7, False),
        ({}, 86_401, True),
    ],
)
def test_the_shorter_of_timeout_and_execution_timeout_counts_from_the_trys_start(
    airflow: Airflow,
    crew: ScriptedCrew,
    clock: Clock,
    limits: dict[str, Any],
    age: float,
    ended: bool,
    deferrable: bool,
) -> None:
    crew.story("RUNNING", "RUNNING", "RUNNING", success())
    starts_slowly(crew, clock, age)
    outcome = airflow.task(brief(deferrable=deferrable, **limits)).finish()
    assert isinstance(outcome.error, errors.CrewRunTimedOut) is ended
    assert outcome.state == ("failed" if ended else "success")


@BOTH_WAYS
def test_at_the_deadline_it_looks_once_more_and_believes_that(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, deferrable: bool
) -> None:
    crew.story(success())
    starts_slowly(crew, clock, 3600)
    ti = airflow.task(brief(deferrable=deferrable, timeout=60))
    assert ti.run().state == "success"
    assert crew.looks == ["run-1"]


def test_our_deadline_comes_before_the_one_that_airflow_enforces(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    outcome = airflow.task(brief(execution_timeout=timedelta(seconds=3))).run()
    assert isinstance(outcome.error, errors.CrewRunTimedOut)
    assert crew.stops == []


def test_a_deadline_that_airflow_enforces_while_a_look_hangs_leaves_the_run_going_on(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING")
    # The first look is let through; the next one is still unanswered when the time is up.
    crew.once("/status", Answer(body={"state": "RUNNING"}), lambda _: time.sleep(1))
    outcome = airflow.task(brief(execution_timeout=timedelta(seconds=0.5), retries=1)).run()
    assert crew.stops == []
    assert isinstance(outcome.error, errors.CrewRunTimedOut)
    assert TAKEN_UP in outcome.told


def test_the_deadline_is_kept_over_deferrals(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, timeout=600))
    first = ti.run(started=timedelta(seconds=100)).message.trigger_kwargs["deadline"]
    second = ti.resume({"ending": "succeeded"}).message.trigger_kwargs["deadline"]
    third = ti.resume({"ending": "succeeded"}).message.trigger_kwargs["deadline"]
    assert first == second == third == pytest.approx(ti.start_date.timestamp() + 600)


def test_a_deadline_that_passed_while_deferred_is_noticed_on_coming_back(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = deferred_until_yesterday(airflow, crew)
    event = ti.fire()
    assert event["ending"] == "timed_out"
    outcome = ti.resume(event)
    assert isinstance(outcome.error, errors.CrewRunTimedOut)
    assert TAKEN_UP in outcome.told


def test_a_run_that_ended_after_the_trigger_gave_up_is_a_success(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = deferred_until_yesterday(airflow, crew)
    event = ti.fire()
    crew.now("run-1", success())
    assert ti.resume(event).state == "success"


def deferred_until_yesterday(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    deferral = ti.run().message
    for carried in (deferral.next_kwargs, deferral.trigger_kwargs):
        carried["deadline"] = time.time() - 86_400
    return ti


# ---- an API that does not answer -------------------------------------------------------------------


@SILENT
@BOTH_WAYS
def test_an_api_that_gives_no_usable_answer_for_a_while_is_waited_for(
    airflow: Airflow, crew: ScriptedCrew, silence: Answer, deferrable: bool
) -> None:
    crew.story("RUNNING", "RUNNING", success())
    crew.once("/status", silence, silence, Answer(body={"state": "RUNNING"}), silence)
    ti = airflow.task(brief(deferrable=deferrable))
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


@BOTH_WAYS
def test_an_answer_that_drips_is_given_up_after_the_timeout_of_a_request(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    airflow.connections["crewai_default"]["extra"] = {"timeout": 0.3}
    crew.story("RUNNING", "RUNNING", success("The truth."))
    drips = Answer(body=success("A drip."), drip=0.1)
    crew.once("/status", drips, Answer(body={"state": "RUNNING"}), drips)
    started = time.monotonic()
    ti = airflow.task(brief(deferrable=deferrable))
    assert ti.finish().state == "success"
    assert ti.answer == "The truth."
    assert time.monotonic() - started < 5
    assert len(crew.kickoffs) == 1


@BOTH_WAYS
def test_an_answer_of_ten_megabytes_is_returned_whole_and_is_in_no_event_and_no_log(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.story("RUNNING", "RUNNING", success("x" * 10_000_000))
    ti = airflow.task(brief(deferrable=deferrable))
    outcome = ti.run()
    if deferrable:
        event = ti.fire()
        assert len(json.dumps(event)) < 200
        outcome = ti.resume(event)
    assert outcome.state == "success"
    assert len(ti.answer) == 10_000_000
    assert len(outcome.text) < 2000


@SILENT
@BOTH_WAYS
def test_an_api_that_gives_none_for_longer_fails_the_task_and_not_the_run(
    airflow: Airflow, crew: ScriptedCrew, silence: Answer, deferrable: bool
) -> None:
    crew.always("/status", silence)
    outcome = airflow.task(brief(deferrable=deferrable, unreachable_timeout=0.01, retries=1)).finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewRunUnreachable)
    assert GOES_ON in outcome.told
    assert len(crew.kickoffs) == 1


def test_a_silence_that_the_trigger_saw_is_not_waited_for_again(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, unreachable_timeout=900))
    ti.run()
    crew.always("/status", error(502, "Bad Gateway"))
    outcome = ti.resume({"ending": "unreachable", "since": time.time() - 1000, "seen_alive": True})
    assert isinstance(outcome.error, errors.CrewRunUnreachable)


def test_an_api_that_is_back_when_the_worker_looks_is_no_silence(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, unreachable_timeout=900))
    ti.run()
    assert ti.resume({"ending": "unreachable", "since": time.time() - 1000, "seen_alive": True}).state == "deferred"


@BOTH_WAYS
def test_a_token_that_was_rotated_is_read_again(airflow: Airflow, crew: ScriptedCrew, deferrable: bool) -> None:
    crew.story("RUNNING", "RUNNING", "RUNNING", success())
    crew.once("/status", Answer(body={"state": "RUNNING"}), lambda _: rotate(airflow, crew))
    ti = airflow.task(brief(deferrable=deferrable))
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


def rotate(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.token = "a-new-token"
    airflow.connections["crewai_default"] = crew.connection


# ---- runs that the deployment does not know --------------------------------------------------------


@pytest.mark.parametrize("unknown", ["NOT FOUND", "not_found"])
@BOTH_WAYS
def test_a_run_that_is_out_of_sight_for_a_while_is_waited_for(
    airflow: Airflow, crew: ScriptedCrew, unknown: str, deferrable: bool
) -> None:
    crew.story(unknown, "RUNNING", unknown, unknown, success())
    assert airflow.task(brief(deferrable=deferrable)).finish().state == "success"


def lost(airflow: Airflow, crew: ScriptedCrew, **options: Any) -> Outcome:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, **options))
    ti.run()
    crew.now("run-1", "NOT FOUND")
    return ti.resume({"ending": "lost", "since": time.time() - 61, "seen_alive": True})


@WITH_AND_WITHOUT
def test_a_run_that_stays_out_of_sight_is_lost(
    airflow: Airflow, crew: ScriptedCrew, policy: CrewRetryPolicy | None
) -> None:
    outcome = lost(airflow, crew, retries=1, retry_policy=policy)
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewRunLost)
    for words in (
        "The deployment has not known run run-1 since 20",
        "human_input_webhook",
        "It may go on and cost: ",
        "A retry looks for this run again and starts no new one; a clear stops it and starts a new one.",
    ):
        assert words in outcome.told


def test_a_run_out_of_sight_that_may_wait_for_a_human_is_waited_for(airflow: Airflow, crew: ScriptedCrew) -> None:
    assert lost(airflow, crew, human_input_webhook="https://me.example/asked").state == "deferred"


def test_a_run_that_this_task_kicked_off_is_known_to_exist(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("NOT FOUND")
    ti = airflow.task(brief(deferrable=True, human_input_webhook="https://me.example/asked"))
    assert ti.run().message.trigger_kwargs["human_input"] is True
    assert ti.resume({"ending": "lost", "since": time.time() - 61, "seen_alive": False}).state == "deferred"


# ---- errors before there is a run ------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A kickoff that is refused, or cannot even be sent."""

    error: type[errors.CrewError]
    says: tuple[str, ...]
    answer: Answer | None = None
    connection: dict[str, Any] | None = None
    retried: bool = False


REFUSALS = {
    "inputs refused, 422": Refusal(
        errors.CrewInputError, ("HTTP 422: Missing inputs: topic",), error(422, "Missing inputs: topic")
    ),
    "400": Refusal(errors.CrewInputError, ("HTTP 400: no",), error(400, "no")),
    "wrong token, 401": Refusal(
        errors.CrewAuthError, ("HTTP 401: Not authenticated",), error(401, "Not authenticated")
    ),
    "403": Refusal(errors.CrewAuthError, ("HTTP 403: Forbidden",), error(403, "Forbidden")),
    "wrong URL, 404": Refusal(errors.CrewNotFound, ("HTTP 404: Not Found",), error(404, "Not Found")),
    "quota, 402": Refusal(
        errors.CrewQuotaError,
        ("HTTP 402: Monthly execution limit reached",),
        error(402, "Monthly execution limit reached"),
    ),
    "quota, 429": Refusal(errors.CrewQuotaError, ("HTTP 429: Plan quota exceeded",), error(429, "Plan quota exceeded")),
    "redirect": Refusal(errors.CrewApiError, ("HTTP 302", "https://elsewhere.example/"), REDIRECT, retried=True),
    "rate limit": Refusal(
        errors.CrewRateLimited, ("HTTP 429: slow down",), error(429, "slow down", Retry_After="1000"), retried=True
    ),
    "maintenance": Refusal(
        errors.CrewServerError, ("HTTP 503: asleep",), error(503, "asleep", Retry_After="1000"), retried=True
    ),
    "no connection": Refusal(
        errors.CrewConnectionUnreadable,
        ("cannot be read", "If it is missing, add a connection of type 'crewai'"),
        connection={},
        retried=True,
    ),
    "no token": Refusal(errors.CrewConfigError, ("its Bearer token (password) is empty",), connection={"password": ""}),
    "no URL": Refusal(errors.CrewConfigError, ("its Crew URL (host) is empty",), connection={"host": None}),
    "http://": Refusal(
        errors.CrewConfigError,
        ("its Crew URL (host) is an http:// URL, which would send the token unencrypted", "'allow_http'"),
        connection={"host": "http://crew.example"},
    ),
    "bad timeout": Refusal(
        errors.CrewConfigError,
        ("its Request timeout (extra.timeout) is 'soon'",),
        connection={"extra": {"timeout": "soon"}},
    ),
}


@WITH_AND_WITHOUT
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_crew_that_is_not_started_costs_nothing_and_leaves_no_record(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, refusal: Refusal, policy: CrewRetryPolicy | None
) -> None:
    stage(refusal, airflow, crew)
    ti = airflow.task(brief(retries=2, retry_policy=policy))
    outcome = ti.finish()
    assert outcome.state == ("up_for_retry" if refusal.retried else "failed")
    typed = typed_error(outcome, final=not (policy or refusal.retried))
    assert isinstance(typed, refusal.error)
    after = (
        "A retry or a clear tries again."
        if refusal.retried
        else "The task is not retried, because a retry would fail in the same way."
    )
    for words in ("The crew was not started (connection 'crewai_default').", *refusal.says, after):
        assert words in outcome.told
    assert TOKEN not in outcome.text
    assert ti.record is None
    if refusal.connection is not None:
        assert crew.asked == []
        assert "Nothing was sent" in outcome.told


def stage(refusal: Refusal, airflow: Airflow, crew: ScriptedCrew) -> None:
    if refusal.answer:
        crew.always("/kickoff", refusal.answer)
    elif refusal.connection:
        airflow.connections["crewai_default"] |= refusal.connection
    else:
        airflow.connections.clear()


def nobody_there(airflow: Airflow, _: ScriptedCrew) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    airflow.connections["crewai_default"]["host"] = f"http://127.0.0.1:{port}"


def no_such_name(airflow: Airflow, _: ScriptedCrew) -> None:
    airflow.connections["crewai_default"]["host"] = "https://no-such-host.invalid"


def asleep(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/inputs", error(503, "asleep"))


def out_of_reach(airflow: Airflow, _: ScriptedCrew) -> None:
    airflow.connections.clear()


def turned_away(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/kickoff", error(503, "busy", Retry_After="1"))


@pytest.mark.parametrize("down", [nobody_there, no_such_name, asleep, out_of_reach, turned_away])
def test_a_crew_that_is_down_at_the_kickoff_is_tried_for_two_minutes_and_again_by_the_retry(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, down: Callable[[Airflow, ScriptedCrew], None]
) -> None:
    down(airflow, crew)
    ti = airflow.task(brief(retries=1))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    kinds = errors.CrewTransportError | errors.CrewServerError | errors.CrewConnectionUnreadable
    assert isinstance(outcome.error, kinds)
    assert "The crew was not started (connection 'crewai_default')." in outcome.told
    assert "A retry or a clear tries again." in outcome.told
    told = [line for line in outcome.log if "Trying again in " in line]
    assert len(told) > 5
    assert all(line.startswith("The c") and ", until 20" in line for line in told)
    # The real seconds that the attempts take count, too.
    assert CALL_PATIENCE / 2 < clock.slept <= CALL_PATIENCE
    assert (ti.record, ti.xcom("kickoff_id")) == (None, None)
    airflow.connections["crewai_default"] = crew.connection
    crew._always.clear()  # noqa: SLF001 - it is back
    assert ti.finish().state == "success"
    assert crew.looks == ["run-1"]


def test_a_crew_that_wakes_within_two_minutes_is_started_once(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.once("/inputs", *[error(503, "asleep")] * 6)
    assert airflow.task(brief()).finish().state == "success"
    assert 0 < clock.slept <= CALL_PATIENCE
    assert set(crew.looks) == {"run-1"}
    assert len(crew.kickoffs) == 1


def test_a_bare_503_to_the_kickoff_may_have_started_a_run_and_is_not_sent_again(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.once("/kickoff", error(503, "upstream connect error or disconnect/reset before headers"))
    ti = airflow.task(brief(retries=2))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert isinstance(typed_error(outcome, final=True), errors.CrewMayHaveStarted)
    assert len(crew.kickoffs) == 1
    assert ti.record["kickoff_id"] is None


NO_CREWS = {
    "a page": HTML,
    "another API's object": Answer(body={"hello": "world"}),
    "another API's list": Answer(body=[1, 2]),
    "a text": Answer(body=b"It works!"),
    "nothing": Answer(body=b""),
}


@WITH_AND_WITHOUT
@pytest.mark.parametrize("answer", NO_CREWS.values(), ids=NO_CREWS.keys())
def test_a_url_that_is_no_crews_is_that_at_once_and_before_the_kickoff(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, answer: Answer, policy: CrewRetryPolicy | None
) -> None:
    for path in ("/inputs", "/kickoff"):
        crew.always(path, answer)
    outcome = airflow.task(brief(retries=2, retry_policy=policy)).finish()
    assert outcome.state == "failed"
    assert isinstance(typed_error(outcome, final=policy is None), errors.CrewNotACrew)
    for words in ("Something answers there, but it is not a crew", "The task is not retried"):
        assert words in outcome.told
    assert (crew.kickoffs, clock.slept) == ([], 0)


@pytest.mark.parametrize("status", [404, 405, 410])
def test_a_server_that_knows_no_kickoff_is_no_crew(airflow: Airflow, crew: ScriptedCrew, status: int) -> None:
    for path in ("/inputs", "/kickoff"):
        crew.always(path, error(status, "Nope"))
    ti = airflow.task(brief(retries=2))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert isinstance(typed_error(outcome, final=True), errors.CrewNotFound)
    assert "Something answers there, but it is not a crew" in outcome.told
    assert ti.record is None


def test_a_refused_token_ends_it_before_the_kickoff(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/inputs", error(401, "Not authenticated"))
    outcome = airflow.task(brief(retries=2)).finish()
    assert outcome.state == "failed"
    assert isinstance(typed_error(outcome, final=True), errors.CrewAuthError)
    assert crew.kickoffs == []


@pytest.mark.parametrize("answer", [error(500, "boom"), error(404, "Not Found"), HALF, error(429, "slow down")])
def test_a_crew_that_fails_to_tell_its_inputs_is_kicked_off_all_the_same(
    airflow: Airflow, crew: ScriptedCrew, answer: Answer
) -> None:
    crew.always("/inputs", answer)
    assert airflow.task(brief()).finish().state == "success"
    assert [asked.path for asked in crew.asked[:2]] == ["/inputs", "/kickoff"]


def test_a_rate_limit_is_retried_when_the_server_said(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", error(429, "slow down", Retry_After="1000"))
    outcome = airflow.task(brief(retries=2, retry_policy=CrewRetryPolicy())).run()
    assert outcome.message.retry_delay_seconds == 1000
    assert "CrewRateLimited" in outcome.message.retry_reason


def test_a_token_that_is_refused_once_is_read_again_before_the_kickoff_is(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", lambda _: refuse_and_rotate(airflow, crew))
    outcome = airflow.task(brief()).finish()
    assert outcome.state == "success"
    assert "The crew refused the token (HTTP 401: Not authenticated). Trying once more with the connec" in outcome.text
    assert len(crew.kickoffs) == 2


def refuse_and_rotate(airflow: Airflow, crew: ScriptedCrew) -> Answer:
    rotate(airflow, crew)
    return error(401, "Not authenticated")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"timeout": float("inf")}, "timeout is inf"),
        ({"timeout": float("nan")}, "timeout is nan"),
        ({"timeout": 1e300}, "up to a century, or to None, which waits for ever."),
        ({"timeout": timedelta.max}, "None, which waits for ever."),
        ({"timeout": True}, "timeout is True"),
        ({"execution_timeout": timedelta.max}, "execution_timeout is datetime.timedelta(days=999999999"),
        ({"poll_interval": float("inf")}, "poll_interval is inf"),
        ({"poll_interval": float("nan")}, "poll_interval is nan"),
        ({"poll_interval": "2"}, "poll_interval is '2'; set it to seconds above 0"),
        ({"poll_interval": True}, "poll_interval is True"),
        ({"poll_interval": timedelta(seconds=2)}, "poll_interval is datetime.timedelta(seconds=2)"),
        ({"max_poll_interval": float("inf")}, "max_poll_interval is inf"),
        ({"max_poll_interval": None}, "max_poll_interval is None"),
        ({"unreachable_timeout": float("inf")}, "unreachable_timeout is inf; set it to seconds from 0 up to a century"),
        ({"unreachable_timeout": float("nan")}, "None, which waits for ever"),
        ({"unreachable_timeout": "900"}, "unreachable_timeout is '900'"),
        ({"unreachable_timeout": False}, "unreachable_timeout is False"),
        ({"poll_interval": 0}, "poll_interval is 0"),
        (
            {"poll_interval": 10, "max_poll_interval": 5},
            "poll_interval (10) is larger than max_poll_interval (5); raise max_poll_interval, too.",
        ),
        ({"unreachable_timeout": -1}, "unreachable_timeout is -1"),
        (
            {"timeout": "3600"},
            "timeout is '3600'; set it to seconds above 0 or a timedelta, up to a century, or to None",
        ),
        ({"timeout": -5}, "timeout is -5"),
        ({"timeout": timedelta(0)}, "timeout is datetime.timedelta(0)"),
        ({"on_clear": "restart"}, "on_clear is 'restart'; set it to 'rerun' or 'reattach'."),
        ({"on_kill": "halt"}, "on_kill is 'halt'; set it to 'stop' or 'leave'."),
        ({"on_changed_inputs": "Fail"}, "on_changed_inputs is 'Fail'; set it to 'rerun' or 'fail'."),
        ({"on_orphaned_kickoff": "rerum"}, "on_orphaned_kickoff is 'rerum'; set it to 'fail' or 'rerun'."),
    ],
)
def test_options_that_make_no_sense_fail_the_dag_file(wrong: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match="Task 'brief'") as raised:
        brief(**wrong)
    assert complaint in str(raised.value)


@BOTH_WAYS
@pytest.mark.parametrize(
    "endless", [{"timeout": None, "unreachable_timeout": None}, {"timeout": 10**9}, {"timeout": timedelta(days=30_000)}]
)
def test_what_waits_for_ever_or_for_longer_than_a_database_counts_is_started_and_waited_for(
    airflow: Airflow, crew: ScriptedCrew, endless: dict[str, Any], deferrable: bool
) -> None:
    crew.story("RUNNING", "RUNNING", success())
    ti = airflow.task(brief(deferrable=deferrable, **endless))
    if (outcome := ti.run()).state == "deferred":
        assert outcome.message.trigger_timeout is None
        json.dumps(outcome.message.trigger_kwargs, allow_nan=False)
        outcome = ti.resume(ti.fire())
    assert outcome.state == "success"


@pytest.mark.parametrize("timeout", [timedelta.max, float("inf"), float("nan"), "3600"])
def test_a_limit_that_somebody_sets_after_the_dag_was_parsed_is_refused_before_money_is_spent(
    airflow: Airflow, crew: ScriptedCrew, timeout: Any
) -> None:
    task = brief(deferrable=True)
    task.timeout = timeout
    outcome = airflow.task(task).run()
    assert f"Task 'brief': timeout is {timeout!r}" in outcome.told
    assert crew.asked == []


# ---- a deadline that passes before the kickoff ---------------------------------------------------------


@BOTH_WAYS
def test_no_kickoff_is_sent_after_the_deadline_and_a_retry_tries_again(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    ti = airflow.task(brief(deferrable=deferrable, timeout=60, retries=1))
    outcome = ti.run(started=timedelta(seconds=61))
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewTooLate)
    for words in ("The crew was not started (", "The deadline passed at", "A retry or a clear tries again."):
        assert words in outcome.told
    assert (crew.kickoffs, ti.record) == ([], None)
    assert ti.finish().state == "success"


def test_a_deadline_that_passes_while_the_crew_wakes_up_keeps_the_kickoff_from_being_sent(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.always("/inputs", error(503, "asleep"))
    ti = airflow.task(brief(timeout=30))
    outcome = ti.run()
    assert isinstance(outcome.error, errors.CrewServerError)
    assert 10 < clock.slept <= 30
    assert (crew.kickoffs, ti.record) == ([], None)


def test_a_deadline_that_passes_while_the_intent_is_written_leaves_nothing_on_record(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    airflow.before = lambda message: clock.sleep(61 if type(message).__name__ == "SetTaskStateStore" else 0)
    ti = airflow.task(brief(timeout=60))
    assert isinstance(ti.run().error, errors.CrewTooLate)
    assert (crew.kickoffs, ti.record) == ([], None)
