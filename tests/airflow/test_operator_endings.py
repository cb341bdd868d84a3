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
from crew_tasks import brief
from in_memory import Airflow, Outcome, TaskInstance
from scripted_crew import LOST, TOKEN, Answer, ScriptedCrew, error, failure, success

from airflow_provider_crewai.client.flows import CALL_PATIENCE
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
    started: timedelta = timedelta(0)


def tells(*states: Any) -> Callable[[ScriptedCrew, Airflow], None]:
    return lambda crew, _: crew.story(*states)


def falls_silent(crew: ScriptedCrew, _: Airflow) -> None:
    crew.story("RUNNING")
    crew.once("/status", Answer(body={"state": "RUNNING", "progress": {"completed": 1, "total": 2}}))
    crew.always("/status", error(502, "Bad Gateway"))


def denies(crew: ScriptedCrew, _: Airflow) -> None:
    crew.story("RUNNING")
    crew.once("/status", Answer(body={"state": "RUNNING"}))
    crew.always("/status", error(401, "Not authenticated"))


NEW_RUN = "It is over. A retry starts a new run."
GOES_ON = "the run goes on"
TAKEN_UP = "A retry takes this run up again and starts no other; a clear stops this run and starts a new one."
AFTER_MENDING = (
    "It is not retried. Mend the connection first; then a clear stops this run and starts a new one, and "
    "`python -m airflow_provider_crewai status run-1 --wait --conn-id crewai_default` gets this one's answer."
)
BAD = {
    "failed": Bad(
        errors.CrewRunFailed,
        ("failed: ValueError: no tides on Mars. It was started", NEW_RUN),
        retried=True,
        retried_by_policy=False,
        stages=tells("RUNNING", "RUNNING", failure("ValueError: no tides on Mars.")),
        options={},
    ),
    "stopped": Bad(
        errors.CrewRunStopped,
        ("was stopped before it ended", NEW_RUN),
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
        started=timedelta(seconds=60),
    ),
    "unreachable": Bad(
        errors.CrewRunUnreachable,
        ("the API has not answered since", "HTTP 502: Bad Gateway", GOES_ON, TAKEN_UP),
        retried=True,
        retried_by_policy=True,
        stages=falls_silent,
        options={"unreachable_timeout": 0.01},
    ),
    "auth lost": Bad(
        errors.CrewRunAuthLost,
        ("the connection stopped working: HTTP 401: Not authenticated", GOES_ON, AFTER_MENDING),
        retried=False,
        retried_by_policy=False,
        stages=denies,
        options={},
    ),
}


@BOTH_WAYS
@WITH_AND_WITHOUT
@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_run_that_does_not_succeed_fails_the_task_with_the_whole_truth(
    airflow: Airflow, crew: ScriptedCrew, bad: Bad, policy: CrewRetryPolicy | None, deferrable: bool
) -> None:
    bad.stages(crew, airflow)
    ti = airflow.task(brief(retries=2, retry_policy=policy, deferrable=deferrable, **bad.options))
    outcome = ti.finish(started=bad.started)
    retried = bad.retried_by_policy if policy else bad.retried
    assert outcome.state == ("up_for_retry" if retried else "failed")
    typed = typed_error(outcome, wrapped=not (policy or bad.retried))
    assert type(typed) is bad.error
    assert typed.kickoff_id == "run-1"
    for words in ("Run run-1 ", "over connection 'crewai_default'", "before", *bad.says):
        assert words in str(outcome.error)
    assert TOKEN not in outcome.text
    assert len(crew.kickoffs) == 1
    assert ti.answer is None


def typed_error(outcome: Outcome, *, wrapped: bool) -> Any:
    assert isinstance(outcome.error, AirflowFailException) is wrapped
    return outcome.error.__cause__ if wrapped and outcome.error else outcome.error


def test_where_the_run_was_last_seen_is_told(airflow: Airflow, crew: ScriptedCrew) -> None:
    falls_silent(crew, airflow)
    outcome = airflow.task(brief(unreachable_timeout=0.01)).run()
    assert "It was last seen running, 1 of 2 done." in str(outcome.error)


def test_a_failed_run_may_be_retried_by_what_its_error_says(airflow: Airflow, crew: ScriptedCrew) -> None:
    policy = CrewRetryPolicy(retry_failures=["rate limit"])
    crew.story(failure("litellm.RateLimitError: Rate limit reached"))
    ti = airflow.task(brief(retries=2, retry_policy=policy))
    assert ti.finish().state == "up_for_retry"
    crew.story(failure("ValueError: no tides on Mars"))
    assert ti.finish().state == "failed"


def test_a_failure_without_words_still_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story({"state": "FAILED", "status": None, "result": None})
    assert "Run run-1 failed: the crew gave no reason. It was started" in str(airflow.task(brief()).finish().error)


def test_the_age_of_the_run_is_told_in_words(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    ti.run()
    deferral = ti.outcome.message.next_kwargs  # type: ignore[union-attr]  # it has run
    deferral["started_at"] -= 3722
    crew.now("run-1", failure("out of tokens"))
    assert "1 hour 2 minutes " in str(ti.resume({"ending": "failed"}).error)


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
    airflow: Airflow, crew: ScriptedCrew, limits: dict[str, Any], age: float, ended: bool, deferrable: bool
) -> None:
    crew.story("RUNNING", "RUNNING", "RUNNING", success())
    outcome = airflow.task(brief(deferrable=deferrable, **limits)).finish(started=timedelta(seconds=age))
    assert isinstance(outcome.error, errors.CrewRunTimedOut) is ended
    assert outcome.state == ("failed" if ended else "success")


@BOTH_WAYS
def test_at_the_deadline_it_looks_once_more_and_believes_that(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.story(success())
    ti = airflow.task(brief(deferrable=deferrable, timeout=60))
    assert ti.run(started=timedelta(seconds=3600)).state == "success"
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
    assert TAKEN_UP in str(outcome.error)


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
    assert TAKEN_UP in str(outcome.error)


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
    assert GOES_ON in str(outcome.error)
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
        "Run run-1 is not known to the deployment since",
        "human_input_webhook",
        "Whether it goes on is not known.",
        "A retry looks for this run again and starts no other; a clear stops this run and starts a new one.",
    ):
        assert words in str(outcome.error)


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
    airflow: Airflow, crew: ScriptedCrew, refusal: Refusal, policy: CrewRetryPolicy | None
) -> None:
    stage(refusal, airflow, crew)
    ti = airflow.task(brief(retries=2, retry_policy=policy))
    outcome = ti.finish()
    assert outcome.state == ("up_for_retry" if refusal.retried else "failed")
    typed = typed_error(outcome, wrapped=not (policy or refusal.retried))
    assert type(typed) is refusal.error
    after = "A retry tries again." if refusal.retried else "It is not retried, since a retry would meet the same."
    for words in ("The crew was not started over connection 'crewai_default': ", *refusal.says, after):
        assert words in str(outcome.error)
    assert TOKEN not in outcome.text
    assert ti.record is None
    if refusal.connection is not None:
        assert crew.asked == []
        assert "Nothing was sent" in str(outcome.error)


def stage(refusal: Refusal, airflow: Airflow, crew: ScriptedCrew) -> None:
    if refusal.answer:
        crew.always("/kickoff", refusal.answer)
    elif refusal.connection:
        airflow.connections["crewai_default"] |= refusal.connection
    else:
        airflow.connections.clear()


class Clock:
    """A clock that jumps over each sleep, and remembers how long they were."""

    def __init__(self) -> None:
        self.slept = 0.0
        self._time = time.time

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def time(self) -> float:
        return self._time() + self.slept


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    jumping = Clock()
    monkeypatch.setattr(time, "sleep", jumping.sleep)
    monkeypatch.setattr(time, "time", jumping.time)
    return jumping


def nobody_there(airflow: Airflow, _: ScriptedCrew) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    airflow.connections["crewai_default"]["host"] = f"http://127.0.0.1:{port}"


def no_such_name(airflow: Airflow, _: ScriptedCrew) -> None:
    airflow.connections["crewai_default"]["host"] = "https://no-such-host.invalid"


def asleep(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/kickoff", error(503, "asleep"))


@pytest.mark.parametrize("down", [nobody_there, no_such_name, asleep])
def test_a_crew_that_is_down_at_the_kickoff_is_tried_for_two_minutes_and_again_by_the_retry(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, down: Callable[[Airflow, ScriptedCrew], None]
) -> None:
    down(airflow, crew)
    ti = airflow.task(brief(retries=1))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewTransportError | errors.CrewServerError)
    assert "The crew was not started over connection 'crewai_default': " in str(outcome.error)
    assert "A retry tries again." in str(outcome.error)
    # The real seconds that the attempts take count, too.
    assert CALL_PATIENCE / 2 < clock.slept <= CALL_PATIENCE
    assert (ti.record, ti.xcom("kickoff_id")) == (None, None)
    airflow.connections["crewai_default"] = crew.connection
    crew.once("/kickoff", lambda _: None)
    assert ti.finish().state == "success"
    assert crew.looks == ["run-1"]


def test_a_crew_that_wakes_within_two_minutes_is_started_once(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.once("/kickoff", *[error(503, "asleep")] * 6)
    assert airflow.task(brief()).finish().state == "success"
    assert 0 < clock.slept <= CALL_PATIENCE
    assert set(crew.looks) == {"run-1"}


def test_a_rate_limit_is_retried_when_the_server_said(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", error(429, "slow down", Retry_After="1000"))
    outcome = airflow.task(brief(retries=2, retry_policy=CrewRetryPolicy())).run()
    assert outcome.message.retry_delay_seconds == 1000
    assert "CrewRateLimited" in outcome.message.retry_reason


def test_a_token_that_is_refused_once_is_read_again_before_the_kickoff_is(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", lambda _: refuse_and_rotate(airflow, crew))
    assert airflow.task(brief()).finish().state == "success"
    assert len(crew.kickoffs) == 2


def refuse_and_rotate(airflow: Airflow, crew: ScriptedCrew) -> Answer:
    rotate(airflow, crew)
    return error(401, "Not authenticated")


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"poll_interval": 0}, "poll_interval is 0"),
        (
            {"poll_interval": 10, "max_poll_interval": 5},
            "poll_interval (10) is above max_poll_interval (5); raise that, too.",
        ),
        ({"unreachable_timeout": -1}, "unreachable_timeout is -1"),
        ({"timeout": "3600"}, "timeout is '3600'; set it to seconds above 0, a timedelta, or None."),
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
