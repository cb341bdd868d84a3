"""What many clients of one connection cost its deployment, and what none of them pays for the others."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
from collections.abc import Awaitable, Callable

import pytest
from support.callers import exchange, settings_for
from support.server import Scripted, Wire, says, silence

from airflow_provider_crewai.client import aio
from airflow_provider_crewai.client.aio import AsyncCrewClient
from airflow_provider_crewai.client.flows import Dialect
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.client.watch import Again, Ending, Patience, Verdict, Watch
from airflow_provider_crewai.wire.errors import CrewError, CrewServerError, CrewTransportError
from airflow_provider_crewai.wire.model import Request, Response

MANY = 200
ANSWER = says({"inputs": []})


def asked(server: Scripted, many: int, *, timeout: float, due: float = math.inf) -> list[Response | CrewError]:
    """What so many clients get who ask at the same moment."""

    async def connect() -> Settings:
        return settings_for(server.url, timeout=timeout)

    return asyncio.run(_asked(connect, many, due))


async def _asked(connect: Callable[[], Awaitable[Settings]], many: int, due: float) -> list[Response | CrewError]:
    async def ask() -> Response | CrewError:
        async with AsyncCrewClient(connect) as client:
            return await client.drive(exchange(Request("GET", "/inputs")), due)

    async with AsyncCrewClient(connect) as staying:
        await staying.get_inputs()  # so that the connections outlive each of them
        return await asyncio.gather(*(ask() for _ in range(many)))


def narrow(monkeypatch: pytest.MonkeyPatch, *, kept: int, most: int, crowded: float) -> None:
    monkeypatch.setattr(aio, "KEPT", kept)
    monkeypatch.setattr(aio, "MOST", most)
    monkeypatch.setattr(aio, "CROWDED", crowded)
    monkeypatch.setattr(aio, "SLOW", 0.0)


def slowly(wire: Wire) -> None:
    time.sleep(0.1)
    ANSWER(wire)


def test_many_that_ask_at_once_share_a_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch, kept=aio.KEPT, most=aio.MOST, crowded=60)
    with Scripted(lambda _: ANSWER) as server:
        answers = asked(server, MANY, timeout=30)
        assert all(isinstance(each, Response) for each in answers)
        assert len(server.seen) == MANY + 1
        assert server.connections <= aio.KEPT == 20


def test_where_answers_are_slow_more_are_asked_at_once_but_never_more_than_the_most(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow(monkeypatch, kept=1, most=3, crowded=0.01)
    together = threading.Barrier(3)

    def meeting(wire: Wire) -> None:
        together.wait(30)  # three at once, or nobody is answered
        ANSWER(wire)

    with Scripted(lambda seen: meeting if server.seen[0] is not seen else ANSWER) as server:
        assert all(isinstance(each, Response) for each in asked(server, 9, timeout=30))
        closing = [seen for seen in server.seen if seen.headers.get("connection") == "close"]
        assert server.connections - len(closing) <= 1  # the others were for one request


def test_the_time_in_the_queue_is_no_part_of_a_requests_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch, kept=1, most=2, crowded=60)
    with Scripted(lambda _: slowly) as server:
        began = time.monotonic()
        answers = asked(server, 30, timeout=2)
        assert time.monotonic() - began > 2
        assert all(isinstance(each, Response) for each in answers)


def test_who_has_to_decide_by_now_waits_for_a_connection_no_longer_than_for_an_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    narrow(monkeypatch, kept=1, most=2, crowded=60)
    with Scripted(lambda seen: silence(1) if server.seen[0] is not seen else ANSWER) as server:
        answers = asked(server, 8, timeout=0.3, due=time.time())
        assert all(isinstance(each, CrewTransportError) for each in answers)
        assert sum(isinstance(each, CrewTransportError) and each.sent for each in answers) <= 2


def test_the_time_in_the_queue_is_not_the_apis_silence() -> None:
    watch, error = Watch("run-1", Patience(unreachable_timeout=60), started_at=0), CrewServerError("no", status=503)
    assert isinstance(watch.missed(error, 0, 0.5), Again)
    assert isinstance(watch.missed(error, 140, 0.5, queued=90), Again)
    ending = watch.missed(error, 151, 0.5)
    assert isinstance(ending, Ending)
    assert ending.verdict is Verdict.UNREACHABLE


def test_the_first_looks_of_watches_that_begin_together_are_spread_and_none_is_late() -> None:
    watch = Watch("run-1", Patience(10, 60), started_at=0)
    waits = [watch.first(7200, chance / 100) for chance in range(100)]
    assert (min(waits), watch.pace(7200, 0)) == (10, 60)
    assert max(waits) < 60
    assert max(later - sooner for sooner, later in itertools.pairwise(waits)) < 1


def test_where_answers_are_quick_a_queue_opens_no_more_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow(monkeypatch, kept=1, most=100, crowded=0.0)
    monkeypatch.setattr(aio, "SLOW", 60)
    with Scripted(lambda _: ANSWER) as server:
        asked(server, MANY, timeout=30)
        assert server.connections == 1


# ---- the same bytes again ---------------------------------------------------------------------------------------


def seen(body: bytes, secrets: tuple[str, ...] = ()) -> Response:
    return Response(200, {}, body, secrets)


def test_the_same_bytes_are_read_once() -> None:
    dialect, body = Dialect(), b'{"state": "RUNNING", "status": "half way"}'
    first = dialect.read("run-1", seen(body))
    assert dialect.read("run-1", seen(bytes(bytearray(body)))) is first
    assert dialect.read("run-2", seen(body)).kickoff_id == "run-2"
    assert dialect.read("run-1", seen(b'{"state": "RUNNING", "status": "nearly"}')).text == "nearly"


def test_the_same_bytes_are_read_again_where_something_else_must_not_be_shown() -> None:
    dialect, body = Dialect(), b'{"state": "RUNNING", "status": "the token is abcdefgh"}'
    assert dialect.read("run-1", seen(body)).text == "the token is abcdefgh"
    assert dialect.read("run-1", seen(body, ("abcdefgh",))).text == "the token is ***"


def test_nothing_is_kept_of_a_run_that_has_ended_and_no_body_of_one_that_goes_on() -> None:
    dialect, long = Dialect(), b"x" * 100_000
    dialect.read("run-1", seen(b'{"state": "RUNNING", "last_step": "%s"}' % long))
    assert len(repr(dialect.said)) < 1_000
    dialect.read("run-1", seen(b'{"state": "SUCCESS", "result": "%s"}' % long))
    assert dialect.said == {}
