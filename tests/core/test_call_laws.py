"""One-shot calls, and above all the kickoff: what may be sent again, when, and what its errors mean."""

from __future__ import annotations

import datetime
import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.effort import examples
from support.scripted import EPOCH, Answer, Asked, Exchange, ScriptedShell
from support.stories import (
    ACTS,
    ALIVE,
    ENDED,
    LOST_ANSWERS,
    NO_SUCH_PATH,
    NOT_CREWS,
    REFUSED,
    TURNED_AWAY,
    UNREAD,
    WRONG,
)

from airflow_provider_crewai.client import flows, policy
from airflow_provider_crewai.client.messages import trying_again
from airflow_provider_crewai.wire.errors import (
    CrewApiError,
    CrewAuthError,
    CrewConfigError,
    CrewConnectionUnreadable,
    CrewError,
    CrewMayHaveStarted,
    CrewNotACrew,
    CrewNotFound,
    CrewServerError,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import CrewInputs, Kickoff, Request, Response, Resumption

PATIENCE = 120.0
DENIED = ("401", "403")
GOOD = "a good answer"
NOT_CARRIED_OUT = frozenset((*TURNED_AWAY, *REFUSED, *DENIED))
"""By hand, from aop-api.md: after these the server has certainly not started anything."""

CALLS: dict[str, tuple[Callable[[], flows.Flow[Any]], bytes]] = {
    "kickoff": (lambda: flows.kickoff_awake(Kickoff({"topic": "x"}), PATIENCE), b'{"kickoff_id":"run-1"}'),
    "resume": (lambda: flows.resume(Resumption("run-1", "t", "fine"), PATIENCE), b'{"kickoff_id":"run-2"}'),
    "stop": (lambda: flows.stop("run-1", PATIENCE), b'{"status":"stopped"}'),
    "inputs": (lambda: flows.get_inputs(PATIENCE), b'{"inputs":["topic"]}'),
    "status": (lambda: flows.get_status("run-1", flows.Dialect(known=True), PATIENCE), b'{"state":"RUNNING"}'),
}
WAITS = {"429 with a wait": 40.0, "503 with a wait": 3.0}
ONCE = ("kickoff", "resume")
"""What must not happen twice."""


@dataclass
class Called:
    """A call that has been made, against a server that acted like this."""

    name: str
    acts: list[str] = field(default_factory=list)
    log: list[Exchange] = field(default_factory=list)
    renewals: int = 0
    value: object = None
    error: CrewError | None = None


def call(name: str, acts: list[str], latency: float, chance: float) -> Called:
    flow, good = CALLS[name]
    called, script = Called(name), iter(acts)

    def server(_: Asked) -> Answer:
        # When the script is through, its last act goes on.
        called.acts.append(next(script, acts[-1]))
        answer = Response(200, {}, good) if called.acts[-1] == GOOD else ACTS[called.acts[-1]]()
        return Answer(answer, latency)

    shell = ScriptedShell(server, itertools.repeat(chance))
    try:
        called.value = shell.drive(flow())
    except CrewError as error:
        called.error = error
    called.log, called.renewals = shell.log, shell.renewals
    return called


def pauses(called: Called) -> Iterator[tuple[str, float, bool]]:
    """Each act, the pause after it, and whether the same attempt went on with a renewed token."""
    for act, (before, after) in zip(called.acts, itertools.pairwise(called.log), strict=False):
        yield act, after.at - before.until, after.asked.renewals > before.asked.renewals


SCRIPTS = st.lists(st.sampled_from([GOOD, *TURNED_AWAY, *LOST_ANSWERS, *REFUSED, *DENIED]), min_size=1, max_size=6)
LATENCIES = st.sampled_from([0.0, 0.5, 20.0])


@settings(max_examples=examples(1000))
@given(st.sampled_from(ONCE), SCRIPTS, LATENCIES, st.floats(0, 0.999))
def test_what_may_have_arrived_is_never_sent_again(name: str, acts: list[str], latency: float, chance: float) -> None:
    called = call(name, acts, latency, chance)
    assert all(act in NOT_CARRIED_OUT for act in called.acts[:-1])


@settings(max_examples=examples(400))
@given(st.sampled_from(sorted(CALLS)), SCRIPTS, LATENCIES, st.floats(0, 0.999))
def test_every_call_ends_in_a_value_or_in_one_error_within_its_patience(
    name: str, acts: list[str], latency: float, chance: float
) -> None:
    called = call(name, acts, latency, chance)
    assert (called.error is None) == (called.acts[-1] == GOOD)
    # The last attempt starts within the patience; a renewed token makes it two requests.
    starts = [exchange.at for exchange in called.log]
    assert starts[-1] <= EPOCH + PATIENCE + latency + 1e-5


@settings(max_examples=examples(400))
@given(SCRIPTS, LATENCIES, st.floats(0, 0.999))
def test_a_kickoff_may_have_started_exactly_if_its_last_request_may_have(
    acts: list[str], latency: float, chance: float
) -> None:
    called = call("kickoff", acts, latency, chance)
    assert isinstance(called.error, CrewMayHaveStarted) == (called.acts[-1] in LOST_ANSWERS)


@settings(max_examples=examples(300))
@given(st.sampled_from(sorted(CALLS)), SCRIPTS, LATENCIES, st.floats(0, 0.999))
def test_between_two_attempts_there_is_a_pause_no_shorter_than_the_server_asked_for(
    name: str, acts: list[str], latency: float, chance: float
) -> None:
    for act, pause, renewed in pauses(call(name, acts, latency, chance)):
        if renewed:
            assert pause == 0
            continue
        assert pause >= 0.5 - 1e-5
        if act in WAITS:
            assert pause >= WAITS[act] - 1e-5
        elif act != "503 with a date":
            assert pause <= flows.LONGEST_BACKOFF + 1e-5


@settings(max_examples=examples(300))
@given(st.sampled_from(sorted(CALLS)), SCRIPTS)
def test_a_denied_token_is_renewed_once_for_each_attempt(name: str, acts: list[str]) -> None:
    called = call(name, acts, 0.5, 0.5)
    renewed = [one.asked.renewals < two.asked.renewals for one, two in itertools.pairwise(called.log)]
    for act, fresh in zip(called.acts, renewed, strict=False):
        assert act in DENIED or not fresh
    assert not any(one and two for one, two in itertools.pairwise(renewed))
    if isinstance(called.error, CrewAuthError):
        assert [act in DENIED for act in called.acts[-2:]] == [True, True]
        assert renewed[-1]


@pytest.mark.parametrize("act", TURNED_AWAY)
def test_a_kickoff_that_was_turned_away_is_sent_again(act: str) -> None:
    if act == "503 with a date":
        assert len(call("kickoff", [act, GOOD], 0.1, 0.5).acts) == 1  # Its date lies beyond the patience.
        return
    called = call("kickoff", [act, act, GOOD], 0.1, 0.5)
    assert (called.value, len(called.acts)) == ("run-1", 3)


@pytest.mark.parametrize("act", LOST_ANSWERS)
def test_a_kickoff_whose_answer_is_lost_is_sent_once_and_may_have_started(act: str) -> None:
    called = call("kickoff", [act, GOOD], 0.1, 0.5)
    assert called.acts == [act]
    assert isinstance(called.error, CrewMayHaveStarted)
    assert called.error.kickoff_id is None
    assert "not sent again" in str(called.error)


@pytest.mark.parametrize("act", REFUSED)
def test_a_kickoff_that_was_refused_is_not_sent_again_and_has_not_started(act: str) -> None:
    called = call("kickoff", [act, GOOD], 0.1, 0.5)
    assert called.acts == [act]
    assert isinstance(called.error, CrewApiError)


@pytest.mark.parametrize("name", ["inputs", "status", "stop"])
@pytest.mark.parametrize("act", ["500", "502", "504", "reset", "refused", "503", "429"])
def test_a_question_is_asked_again_whatever_happened_to_it(name: str, act: str) -> None:
    assert call(name, [act, act, GOOD], 0.1, 0.5).error is None


@pytest.mark.parametrize("name", ["inputs", "status"])
@pytest.mark.parametrize("act", NOT_CREWS)
def test_a_question_that_no_crew_answers_is_not_asked_again(name: str, act: str) -> None:
    called = call(name, [act, GOOD], 0.1, 0.5)
    assert called.acts == [act]
    assert isinstance(called.error, CrewNotACrew)


# ---- the crew is woken before it is kicked off -------------------------------------------------------


ASLEEP = ("refused", "reset", "502", "503", "503 with a wait", "503 with no time", "504", UNREAD)
"""By hand, from aop-api.md: what a deployment that sleeps may answer to `GET /inputs`, and what its gateway may."""
ENDS_THERE = (*DENIED, *NOT_CREWS, WRONG)
STATES = (*ALIVE, *ENDED, "NOT FOUND")
AWAKE = tuple(act for act in ACTS if act not in (*STATES, *ASLEEP, *ENDS_THERE, "503 with a date"))


def started(asleep: list[str], kicked: list[str], latency: float = 0.3, deadline: float = math.inf) -> Called:
    """Kick a crew off that acts like this to `GET /inputs`, and like that to `POST /kickoff`."""
    called, scripts = Called("kickoff"), {"/inputs": asleep, "/kickoff": kicked}
    acts = {path: iter(script) for path, script in scripts.items()}

    def server(asked: Asked) -> Answer:
        path = asked.request.path
        called.acts.append(f"{path} {next(acts[path], scripts[path][-1])}")
        good = b'{"inputs":["topic"]}' if path == "/inputs" else b'{"kickoff_id":"run-1"}'
        act = called.acts[-1].partition(" ")[2]
        return Answer(Response(200, {}, good) if act == GOOD else ACTS[act](), latency)

    shell = ScriptedShell(server, itertools.repeat(0.5))
    try:
        called.value = shell.drive(_begun(deadline))
    except CrewError as error:
        called.error = error
    called.log, called.renewals = shell.log, shell.renewals
    return called


def _begun(deadline: float) -> flows.Flow[str]:
    yield from flows.wake(None, PATIENCE, deadline)
    return (yield from flows.kickoff_awake(Kickoff({"topic": "x"}), PATIENCE, deadline))


def posts(called: Called) -> list[str]:
    return [act.partition(" ")[2] for act in called.acts if act.startswith("/kickoff")]


@pytest.mark.parametrize("act", ASLEEP)
def test_a_deployment_that_sleeps_is_woken_before_it_is_kicked_off(act: str) -> None:
    called = started([act, act, GOOD], [GOOD])
    assert (called.value, posts(called), len(called.acts)) == ("run-1", [GOOD], 4)


@pytest.mark.parametrize("act", [GOOD, *AWAKE])
def test_any_other_answer_means_awake_and_costs_one_request(act: str) -> None:
    called = started([act], [GOOD])
    assert (called.value, called.acts) == ("run-1", [f"/inputs {act}", f"/kickoff {GOOD}"])


@pytest.mark.parametrize("act", ENDS_THERE)
def test_a_refused_token_and_a_url_that_is_no_crews_end_it_there(act: str) -> None:
    called = started([act], [GOOD])
    assert posts(called) == []
    assert len(called.acts) == (2 if act in DENIED else 1)
    assert isinstance(called.error, CrewAuthError | CrewNotACrew | CrewConfigError)


def test_a_deployment_that_does_not_wake_up_is_not_kicked_off() -> None:
    called = started(["503"], [GOOD])
    assert posts(called) == []
    assert isinstance(called.error, CrewServerError)
    assert PATIENCE - flows.LONGEST_BACKOFF <= called.log[-1].until - EPOCH <= PATIENCE + 1


@settings(max_examples=examples(500))
@given(
    st.lists(st.sampled_from([GOOD, *ASLEEP, *AWAKE]), min_size=1, max_size=5),
    SCRIPTS,
    LATENCIES,
    st.floats(0, 200) | st.just(math.inf),
)
def test_no_kickoff_is_sent_after_the_deadline_nor_twice_where_the_first_may_have_arrived(
    asleep: list[str], kicked: list[str], latency: float, left: float
) -> None:
    deadline = EPOCH + left
    called = started(asleep, kicked, latency, deadline)
    # The first is begin's to withhold, which looks at the clock between the two.
    sent = [exchange.at for exchange in called.log if exchange.asked.request.path == "/kickoff"]
    assert all(at < deadline for at in sent[1:])
    assert all(act in NOT_CARRIED_OUT for act in posts(called)[:-1])


def test_the_names_are_checked_by_what_the_crew_answered_as_it_woke_up() -> None:
    checked: list[CrewInputs] = []
    shell = ScriptedShell(lambda _: Answer(Response(200, {}, b'{"inputs":["topic"]}')), itertools.repeat(0.5))
    shell.drive(flows.wake(checked.append, PATIENCE))
    assert (checked, len(shell.log)) == ([CrewInputs(("topic",))], 1)


def test_names_that_a_crew_does_not_tell_at_once_are_asked_for_again_before_they_are_checked() -> None:
    called, answers = Called("wake"), iter([ACTS["500"](), ACTS["500"](), Response(200, {}, b'{"inputs":["topic"]}')])
    shell = ScriptedShell(lambda _: Answer(next(answers)), itertools.repeat(0.5))
    shell.drive(flows.wake(lambda listed: setattr(called, "value", listed), PATIENCE))
    assert called.value == CrewInputs(("topic",))


@pytest.mark.parametrize("act", ["refused", "503", UNREAD])
def test_whoever_waits_is_told_what_is_tried_again_and_until_when(act: str) -> None:
    shell = ScriptedShell(lambda _: Answer(ACTS[act](), 0.3), itertools.repeat(0.5))
    with pytest.raises(CrewError):
        shell.drive(flows.get_inputs(PATIENCE))
    told = [step for step in shell.steps if isinstance(step, flows.Pause) and step.seconds]
    assert len(told) == len(shell.log) - 1
    for pause in told:
        assert pause.trouble is not None
        said = trying_again(pause.trouble, pause.seconds, pause.until)
        assert f"({str(pause.trouble).rstrip('.')}). Trying again in " in said
        assert said.endswith(", until 2026-01-01 00:02:00 UTC.")
        assert ".." not in said


def test_a_connection_that_cannot_be_read_is_tried_as_long_as_an_api_that_is_down() -> None:
    answers = [ACTS[UNREAD]()] * 5
    assert _connected(answers).drive(flows.connect(PATIENCE)) == "https://crew.example"
    with pytest.raises(CrewConnectionUnreadable):
        _connected([ACTS[UNREAD]()] * 99).drive(flows.connect(PATIENCE))
    shell = _connected([ACTS[WRONG]()])
    with pytest.raises(CrewConfigError):
        shell.drive(flows.connect(PATIENCE))
    assert shell.now == EPOCH


def _connected(answers: list[Any]) -> ScriptedShell:
    shell = ScriptedShell(lambda _: Answer(Response(200)), itertools.repeat(0.5))
    shell.connections = iter([*answers, flows.Connected("https://crew.example")])
    return shell


@pytest.mark.parametrize("name", ["kickoff", "inputs"])
def test_a_token_that_was_renewed_in_time_is_enough(name: str) -> None:
    called = call(name, ["401", GOOD], 0.1, 0.5)
    assert (called.error, called.renewals) == (None, 1)


def test_a_status_asked_once_finds_the_old_path_and_remembers_it() -> None:
    dialect = flows.Dialect()

    def server(asked: Asked) -> Answer:
        old = asked.request.path == "/run-1/status"
        return Answer(Response(200, {}, b'{"state":"RUNNING"}') if old else NO_SUCH_PATH)

    shell = ScriptedShell(server, itertools.repeat(0.5))
    for _ in range(2):
        shell.drive(flows.get_status("run-1", dialect, PATIENCE))
    assert [exchange.asked.request.path for exchange in shell.log] == ["/status/run-1", *["/run-1/status"] * 2]


def test_a_status_on_a_deployment_that_knows_neither_path_says_so_at_once() -> None:
    shell = ScriptedShell(lambda _: Answer(NO_SUCH_PATH), itertools.repeat(0.5))
    with pytest.raises(CrewNotFound):
        shell.drive(flows.get_status("run-1", flows.Dialect(), PATIENCE))
    assert len(shell.log) == 2


# ---- the policy by plain calls ----------------------------------------------------------------------


@pytest.mark.parametrize("act", [act for act in ACTS if isinstance(ACTS[act](), CrewTransportError)])
def test_a_transport_error_itself_knows_whether_it_may_have_arrived(act: str) -> None:
    error = ACTS[act]()
    assert isinstance(error, CrewTransportError)
    assert policy.may_have_arrived(error) is error.sent


@given(st.integers(1, 10_000), st.floats(0.001, 1e6), st.floats(0, 0.999))
def test_a_backoff_doubles_within_its_bounds(attempt: int, longest: float, chance: float) -> None:
    wait = policy.backoff(attempt, longest=longest, chance=chance)
    ceiling = min(longest, 2.0 ** min(attempt - 1, 60))
    assert min(longest, 65536.0, ceiling) / 2 <= wait <= ceiling


NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def asked_to_wait(header: str | None) -> float:
    return policy.retry_after(CrewApiError("", status=429, retry_after=header), NOON.timestamp())


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Tokyo"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("Thu, 01 Jan 2026 12:01:00 GMT", 60.0),
        ("Thursday, 01-Jan-26 12:01:00 GMT", 60.0),
        ("Thu Jan  1 12:01:00 2026", 60.0),
        ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("-5", 0.0),
        ("1.5", 0.0),
        ("٣", 0.0),
        (None, 0.0),
    ],
)
def test_retry_after_is_seconds_or_any_http_date(header: str | None, seconds: float) -> None:
    assert asked_to_wait(header) == seconds


@given(st.one_of(st.text(max_size=30), st.text(" 0123456789,:GMTJanThu-+", max_size=40)))
def test_any_retry_after_gives_seconds_not_below_zero(header: str) -> None:
    assert asked_to_wait(header) >= 0


@given(st.datetimes(datetime.datetime(1990, 1, 1), datetime.datetime(2100, 1, 1)))  # noqa: DTZ001 - made aware below
def test_a_date_in_retry_after_is_the_time_until_then(naive: datetime.datetime) -> None:
    then = naive.replace(microsecond=0, tzinfo=datetime.UTC)
    expected = max(0.0, (then - NOON).total_seconds())
    assert asked_to_wait(format_datetime(then, usegmt=True)) == expected


def test_a_request_is_marked_by_what_it_does() -> None:
    assert [Request("GET", "/x").idempotent, Request("POST", "/kickoff", idempotent=False).idempotent] == [True, False]


@pytest.mark.parametrize(("status", "arrived"), [(301, False), (302, False), (303, True), (307, False), (308, False)])
def test_of_all_redirects_see_other_alone_says_that_the_request_was_carried_out(status: int, *, arrived: bool) -> None:
    assert policy.may_have_arrived(CrewApiError("redirected", status=status)) is arrived
