"""What a peer can cost a shell: never more time than the timeout, never more memory than the bound."""

from __future__ import annotations

import asyncio
import gzip
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.callers import CALLERS, Caller, exchange, settings_for
from support.server import Behaviour, Peer, Scripted, Wire, answer, head, says, without_end

from airflow_provider_crewai.client.aio import AsyncCrewClient
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.client.shell import LOOK_BODY, MAX_BODY, decode
from airflow_provider_crewai.wire.errors import CrewAnswerTooLarge, CrewError, CrewProtocolError, CrewTransportError
from airflow_provider_crewai.wire.model import Request, Response

ASK = Request("GET", "/status/run-1", long_answer=True)
ASK_INPUTS = Request("GET", "/inputs")
START = Request("POST", "/kickoff", {"inputs": {"topic": "x"}}, idempotent=False)
BLOCKING, ASYNCHRONOUS = CALLERS
TIMEOUT = 0.4
SOON = 5.0
"""Seconds: what a busy machine may add to a timeout. The peers go on for longer."""


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    return request.param


def told(caller: Caller, behaviour: Behaviour, request: Request = ASK, **extra: Any) -> Response | CrewError:
    with Scripted(lambda _: behaviour) as server:
        return caller(lambda: settings_for(server.url, **{"timeout": 10, **extra}), exchange(request))[0]


def good(answered: Response | CrewError) -> Response:
    assert isinstance(answered, Response), answered
    return answered


# ---- time --------------------------------------------------------------------------------------------

LINE = b"HTTP/1.1 200 OK\r\n"
CHUNKED = head(200, {"transfer-encoding": "chunked"})
GZIP = head(200, {"content-encoding": "gzip", "content-length": "1000000"}) + b"\x1f\x8b\x08\x08\0\0\0\0\0\x03"
DRIPS: dict[str, Behaviour] = {
    "the status line": without_end(b"HTTP/1.1 200 O", b"K"),
    "a header": without_end(LINE + b"x: y", b"y"),
    "headers": without_end(LINE, b"x: y\r\n"),
    "100 Continue": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "100 Continue, as fast as it can": without_end(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0),
    "103 Early Hints": without_end(b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"),
    "the body": without_end(head(200, {"content-length": "1000000"}), b"x"),
    "a body without a length": without_end(head(200, {}), b"x"),
    "chunks": without_end(CHUNKED, b"1\r\nx\r\n"),
    "a chunk's length": without_end(CHUNKED, b"0"),
    "a chunk's extension": without_end(CHUNKED + b"5;", b"n"),
    "trailers": without_end(CHUNKED + b"2\r\n{}\r\n0\r\n", b"x: y\r\n"),
    "the name in a gzip head": without_end(GZIP, b"n"),
    "an error's body": without_end(head(500, {"content-length": "1000000"}), b"x"),
    "a redirect's body": without_end(head(302, {"location": "/", "content-length": "1000000"}), b"x"),
}


@pytest.mark.parametrize("what", DRIPS)
def test_a_request_ends_within_its_timeout_whatever_drips(caller: Caller, what: str) -> None:
    started = time.monotonic()
    error = told(caller, DRIPS[what], START, timeout=TIMEOUT)
    assert time.monotonic() - started < TIMEOUT + SOON
    assert isinstance(error, CrewTransportError)
    assert error.sent


def dripping(first: bytes) -> Callable[[socket.socket], None]:
    def behave(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(first)
        while True:
            connection.sendall(b"\0")
            time.sleep(0.02)

    return behave


def test_a_tls_handshake_that_drips_ends_within_the_timeout_and_nothing_was_sent(caller: Caller) -> None:
    with Peer(dripping(b"\x16\x03\x03\x40\0")) as peer:
        _never_left_in_time(caller, settings_for(f"https://{peer.address}", timeout=TIMEOUT))


def test_a_proxy_that_drips_ends_within_the_timeout_and_nothing_was_sent(caller: Caller) -> None:
    with Peer(dripping(b"HTTP/1.1 200 O")) as peer:
        settings = settings_for("https://crew.example", proxy=f"http://{peer.address}", timeout=TIMEOUT)
        _never_left_in_time(caller, settings)


def test_a_tls_handshake_through_a_proxy_that_drips_ends_within_the_timeout_and_nothing_was_sent(
    caller: Caller,
) -> None:
    def tunnel(wire: Wire) -> None:
        wire.send(head(200, {}))
        dripping(b"\x16\x03\x03\x40\0")(wire.connection)

    with Scripted(lambda _: tunnel) as proxy:
        _never_left_in_time(caller, settings_for("https://crew.example", proxy=proxy.url, timeout=TIMEOUT))


def _never_left_in_time(caller: Caller, settings: Settings) -> None:
    started = time.monotonic()
    (error,) = caller(lambda: settings, exchange(START))
    assert time.monotonic() - started < TIMEOUT + SOON
    assert isinstance(error, CrewTransportError)
    assert not error.sent


def test_a_peer_that_hears_nothing_ends_within_the_timeout(caller: Caller) -> None:
    large = Request("POST", "/kickoff", {"inputs": {"text": "x" * 20_000_000}}, idempotent=False)
    timeout = 4 * TIMEOUT  # writing so much down takes a busy machine a while
    with Peer(lambda _: time.sleep(timeout + SOON)) as peer:
        started = time.monotonic()
        (error,) = caller(lambda: settings_for(f"http://{peer.address}", timeout=timeout), exchange(large))
        assert time.monotonic() - started < timeout + SOON
    assert isinstance(error, CrewTransportError)
    assert error.sent


def test_a_connection_that_is_kept_has_the_next_requests_whole_time(caller: Caller) -> None:
    with Scripted(lambda _: says({})) as server:

        def slowly() -> Settings:
            return settings_for(server.url, timeout=TIMEOUT)

        first, pause, second = exchange(ASK), _pausing(2 * TIMEOUT), exchange(ASK)
        answers = caller(slowly, first, pause, second)
    assert [isinstance(each, Response) for each in answers] == [True, False, True]
    assert server.connections == 1


def _pausing(seconds: float) -> Any:
    from airflow_provider_crewai.client.flows import Pause

    yield Pause(seconds)


# ---- size --------------------------------------------------------------------------------------------


def bomb(size: int) -> bytes:
    return gzip.compress(b'{"state":"RUNNING","x":"' + b"x" * size + b'"}', 9)


def test_a_worker_takes_an_answer_of_ten_megabytes_whole() -> None:
    response = good(told(BLOCKING, answer(200, b"x" * 10_000_000), timeout=20))
    assert (len(response.body), response.whole) == (10_000_000, True)


@pytest.mark.parametrize("body", [b"x" * LOOK_BODY, gzip.compress(b"x" * LOOK_BODY)], ids=["plain", "gzip"])
def test_a_look_takes_what_fits_whole(body: bytes) -> None:
    encoding = {} if body.startswith(b"x") else {"content_encoding": "gzip"}
    response = good(told(ASYNCHRONOUS, answer(200, body, **encoding), timeout=20))
    assert (len(response.body), response.whole) == (LOOK_BODY, True)


LARGE: dict[str, Behaviour] = {
    "a byte too many": answer(200, b"{" * (LOOK_BODY + 1)),
    "ten megabytes": answer(200, b"{" * 10_000_000),
    "a gzip bomb": answer(200, bomb(12_000_000), content_encoding="gzip"),
    "without an end": without_end(head(200, {}), b"{" * 100_000, 0),
}


@pytest.mark.parametrize("what", LARGE)
def test_a_look_takes_no_more_than_the_head_of_an_answer(what: str) -> None:
    response = good(told(ASYNCHRONOUS, LARGE[what], timeout=20))
    assert (len(response.body), response.body[:1], response.whole) == (LOOK_BODY, b"{", False)


@pytest.mark.parametrize("request_", [ASK_INPUTS, START], ids=["inputs", "kickoff"])
@pytest.mark.parametrize("what", [*LARGE, "a hundred thousand names"])
def test_of_what_is_no_runs_answer_the_head_is_taken_by_either_shell(
    caller: Caller, what: str, request_: Request
) -> None:
    names = answer(200, b'{"inputs": [' + b'"a",' * 100_000 + b'"b"]}')
    response = good(told(caller, LARGE.get(what, names), request_, timeout=20))
    assert (len(response.body), response.body[:1], response.whole) == (LOOK_BODY, b"{", False)


def test_what_a_look_does_not_take_is_not_read(caller: Caller) -> None:
    with Scripted(lambda seen: LARGE["without an end"] if seen.connection == 1 else says({})) as server:
        one, two = ASYNCHRONOUS(lambda: settings_for(server.url, timeout=20), exchange(ASK), exchange(ASK))
        assert server.connections == 2
    assert (good(one).whole, good(two).whole) == (False, True)


@pytest.mark.parametrize(
    "behaviour",
    [answer(200, bomb(MAX_BODY), content_encoding="gzip"), without_end(head(200, {}), b"x" * 1_000_000, 0)],
    ids=["gzip", "plain"],
)
def test_a_worker_refuses_what_is_larger_than_its_bound(behaviour: Behaviour) -> None:
    assert isinstance(told(BLOCKING, behaviour, timeout=60), CrewAnswerTooLarge)


@pytest.mark.parametrize("status", [302, 404, 429, 500])
def test_of_an_error_only_the_head_is_taken_by_either_shell(caller: Caller, status: int) -> None:
    response = good(told(caller, answer(status, b"x" * 2_000_000), timeout=20))
    assert (response.status, len(response.body), response.whole) == (status, LOOK_BODY, False)


@pytest.mark.parametrize("limit", [0, 1, 1000, LOOK_BODY])
def test_no_more_than_the_bound_is_ever_decompressed(limit: int) -> None:
    assert len(decode(bomb(12_000_000), "gzip", limit)) == limit + 1


# ---- encodings ---------------------------------------------------------------------------------------

PLAIN = b'{"state": "RUNNING"}'
RAW_DEFLATE = zlib.compress(PLAIN)[2:-4]
READ: dict[str, tuple[bytes, str]] = {
    "none": (PLAIN, ""),
    "identity": (PLAIN, "identity"),
    "gzip": (gzip.compress(PLAIN), "gzip"),
    "in capitals": (gzip.compress(PLAIN), " GZIP "),
    "by its old name": (gzip.compress(PLAIN), "x-gzip"),
    "deflate": (zlib.compress(PLAIN), "deflate"),
    "deflate as some servers understand it": (RAW_DEFLATE, "deflate"),
}
NOT_READ: dict[str, tuple[bytes, str]] = {
    "brotli": (PLAIN, "br"),
    "zstd": (PLAIN, "zstd"),
    "compress": (PLAIN, "compress"),
    "twice": (gzip.compress(gzip.compress(PLAIN)), "gzip, gzip"),
    "two": (PLAIN, "deflate, gzip"),
    "none beside one": (gzip.compress(PLAIN), "identity, gzip"),
    "an empty list": (PLAIN, ","),
    "gzip that is none": (PLAIN, "gzip"),
    "gzip that is cut": (gzip.compress(PLAIN)[:-3], "gzip"),
    "gzip with something after it": (gzip.compress(PLAIN) + b"{}", "gzip"),
    "deflate that is none": (PLAIN, "deflate"),
    "a name that is a page": (PLAIN, "x" * 5000),
}


@pytest.mark.parametrize("what", READ)
def test_one_encoding_is_undone_by_either_shell(caller: Caller, what: str) -> None:
    body, encoding = READ[what]
    assert good(told(caller, answer(200, body, content_encoding=encoding))).body == PLAIN


@pytest.mark.parametrize("what", NOT_READ)
def test_another_encoding_or_a_second_one_is_refused_by_either_shell(caller: Caller, what: str) -> None:
    body, encoding = NOT_READ[what]
    error = told(caller, answer(200, body, content_encoding=encoding))
    assert isinstance(error, CrewProtocolError)
    assert "gzip" in str(error) or "deflate" in str(error)
    assert len(str(error)) < 200


def test_two_lines_of_encodings_are_two_encodings(caller: Caller) -> None:
    body = gzip.compress(gzip.compress(PLAIN))
    first = head(200, {"Content-Encoding": "gzip", "content-encoding": "gzip", "content-length": str(len(body))})
    assert isinstance(told(caller, lambda wire: wire.send(first + body)), CrewProtocolError)


@pytest.mark.parametrize("status", [401, 429, 502])
def test_an_error_is_told_by_its_status_whatever_its_encoding(caller: Caller, status: int) -> None:
    response = good(told(caller, answer(status, b"\x0b\x02\x80", content_encoding="br", retry_after="7")))
    assert (response.status, response.body, response.headers["retry-after"]) == (status, b"", "7")


def test_only_what_is_read_is_asked_for(caller: Caller) -> None:
    with Scripted(lambda _: says({})) as server:
        caller(lambda: settings_for(server.url), exchange(ASK))
    assert server.seen[0].headers["accept-encoding"] == "gzip, deflate"


@given(st.binary(max_size=200), st.sampled_from(["", "identity", "gzip", "deflate", "br", "gzip, gzip"]))
def test_any_body_is_decoded_within_the_bound_or_is_a_protocol_error(body: bytes, encoding: str) -> None:
    try:
        assert len(decode(body, encoding, 1000)) <= 1001
    except CrewProtocolError:
        return


@given(st.binary(max_size=2000))
def test_what_was_compressed_comes_back(body: bytes) -> None:
    for encoding, compressed in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        assert decode(compressed, encoding, len(body)) == body


# ---- the session is given back -------------------------------------------------------------------------


def test_a_request_that_is_cancelled_leaves_its_session_to_the_others_and_no_connection_behind() -> None:
    with Scripted(lambda seen: without_end(b"", b"H") if "slow" in seen.target else says({"inputs": []})) as server:
        asyncio.run(asyncio.wait_for(_cancel(server), 30))


async def _cancel(server: Scripted) -> None:
    async def connect() -> Settings:
        return settings_for(server.url, timeout=20)

    async with AsyncCrewClient(connect) as staying:
        await staying.get_inputs()
        slow = asyncio.create_task(_ask_slowly(connect))
        await _until(lambda: len(server.seen) == 2)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (await staying.get_inputs()).names == ()
    await _until(lambda: server.ended == server.connections)


async def _until(holds: Callable[[], bool]) -> None:
    while not holds():  # noqa: ASYNC110 - the server is a thread, and knows no event of this loop
        await asyncio.sleep(0.01)


async def _ask_slowly(connect: Callable[[], Any]) -> None:
    async with AsyncCrewClient(connect) as client:
        await client.drive(exchange(Request("GET", "/slow")))
