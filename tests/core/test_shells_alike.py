"""Both shells come to the same: they send the same bytes, read the same answers, and know alike what was sent."""

from __future__ import annotations

import gzip
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.callers import CALLERS, Caller, exchange, settings_for
from support.effort import examples
from support.server import Behaviour, Peer, Scripted, Seen, answer, in_turn, raw, reset, says, then_close

from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.wire.errors import CrewError, CrewTransportError
from airflow_provider_crewai.wire.model import Request, Response

ASK = Request("GET", "/status/run-1")
STOP = Request("POST", "/stop/run-1")
START = Request("POST", "/kickoff", {"inputs": {"topic": "ü"}}, idempotent=False)
REQUESTS = (ASK, STOP, START)
BLOCKING, ASYNCHRONOUS = CALLERS


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    return request.param


def outcome(answered: Response | CrewError) -> tuple[Any, ...]:
    """What our own code makes of it: all but the headers that frame a body, which one library rewrites."""
    if isinstance(answered, Response):
        headers = {name: text for name, text in answered.headers.items() if name != "transfer-encoding"}
        return answered.status, headers, answered.body, answered.whole
    return type(answered), getattr(answered, "sent", None)


def both(script: Callable[[], Callable[[Seen], Behaviour]], *requests: Request, **extra: Any) -> list[list[Any]]:
    """The outcomes of the same requests to the same server, from each shell."""
    got = []
    for caller in CALLERS:
        with Scripted(script()) as server:
            answers = caller(lambda: settings_for(server.url, timeout=10, **extra), *map(exchange, requests))
        got.append([outcome(each) for each in answers])
    return got


def alike(data: bytes) -> object:
    """The one outcome of an answer that consists of these bytes."""
    got = [both(lambda: lambda _: raw(data), request) for request in REQUESTS]
    assert all(outcomes == [got[0][0]] * 2 for outcomes in got), got
    return got[0][0][0]


# ---- what is sent ------------------------------------------------------------------------------------

FORMS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "headers": {"headers": {"X-Team": "data", "user-agent": "mine", "x-empty": ""}},
    "secret headers": {"secret_headers": {"X-Key": "a" * 30}},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.path)
@pytest.mark.parametrize("path", ["", "/a/b;c=d", "/~%C3%A4"])
def test_a_request_is_the_same_from_either_shell(form: str, request_: Request, path: str) -> None:
    one, other = (_sent(caller, request_, path, FORMS[form]) for caller in CALLERS)
    assert one == other


@pytest.mark.parametrize("request_", REQUESTS, ids=lambda request: request.path)
@pytest.mark.parametrize("userinfo", ["", "user:pass@", "us%40er:p%3Ass%25@", "us%C3%A9r:p@"])
@pytest.mark.parametrize("url", ["http://crew.example", "http://crew.example:8080/x", "http://[2001:db8::1]:81",
                                 "http://xn--bcher-kva.example", "http://bücher.example"])  # fmt: skip
def test_a_proxy_hears_the_same_from_either_shell(url: str, userinfo: str, request_: Request) -> None:
    one, other = (_sent_by_proxy(caller, url, userinfo, request_) for caller in CALLERS)
    assert one == other
    assert one[1].startswith("http://")


@pytest.mark.parametrize("userinfo", ["", "user:pass@"])
@pytest.mark.parametrize("url", ["https://crew.example", "https://crew.example:8443/x", "https://[2001:db8::1]"])
def test_a_proxy_is_asked_for_the_same_tunnel_by_either_shell(url: str, userinfo: str) -> None:
    one, other = (_sent_by_proxy(caller, url, userinfo, START) for caller in CALLERS)
    (method, target, headers, _), (method_, target_, headers_, _) = one, other
    assert (method, target) == (method_, target_)
    assert headers.get("proxy-authorization") == headers_.get("proxy-authorization")
    assert "authorization" not in headers.keys() | headers_.keys()


def _sent(caller: Caller, request: Request, path: str, extra: dict[str, Any]) -> tuple[Any, ...]:
    with Scripted(lambda _: says({})) as server:
        (got,) = caller(lambda: settings_for(server.url + path, timeout=10, **extra), exchange(request))
    assert isinstance(got, Response)
    return _heard(server)


def _sent_by_proxy(caller: Caller, url: str, userinfo: str, request: Request) -> tuple[Any, ...]:
    with Scripted(lambda _: answer(407)) as proxy:
        given = proxy.url.replace("://", f"://{userinfo}")
        caller(lambda: settings_for(url, timeout=10, allow_http=True, proxy=given), exchange(request))
    return _heard(proxy)


def _heard(server: Scripted) -> tuple[Any, ...]:
    (seen,) = server.seen
    headers = {name: text for name, text in seen.headers.items() if name != "connection"}
    if "127.0.0.1" in headers.get("host", ""):
        headers["host"] = "127.0.0.1"
    return seen.method, seen.target, headers, seen.body


# ---- what is read ------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\n"
TWO = b"content-length: 2\r\n\r\n{}"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
ARRIVES: dict[str, bytes] = {
    "as usual": OK + TWO,
    "line feeds alone": b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
    "no reason": b"HTTP/1.1 200\r\n" + TWO,
    "HTTP/1.0": b"HTTP/1.0 200 OK\r\n" + TWO,
    "HTTP/1.0 until the end": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "until the end": OK + b"\r\n{}",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + TWO,
    "after 102 and 103": b"HTTP/1.1 102 P\r\n\r\nHTTP/1.1 103 E\r\nlink: x\r\n\r\n" + OK + TWO,
    "a length with a zero": OK + b"content-length: 02\r\n\r\n{}",
    "Chunked": OK + b"transfer-encoding: Chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "an extension": CHUNKED + b'2;a="b"\r\n{}\r\n0\r\n\r\n',
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\nx: y\r\n\r\n",
    "the same header twice": OK + b"x: a\r\nX: b\r\n" + TWO,
    "a header in Latin": OK + b"x: \xe9\r\n" + TWO,
    "a header in UTF-8": OK + "x: é\r\n".encode() + TWO,
    "a folded header": OK + b"x: a\r\n b\r\n" + TWO,
    "an empty header": OK + b"x:\r\n" + TWO,
    "a header of 60 kB": OK + b"x: " + b"a" * 60_000 + b"\r\n" + TWO,
    "a hundred headers": OK + b"".join(b"x%d: a\r\n" % number for number in range(100)) + TWO,
    "odd cookies and links": OK + b"set-cookie: ;;=\xff\r\nlink: <http://[>; rel\r\ncontent-type: ;\xff\r\n" + TWO,
    "a redirect to nowhere": b"HTTP/1.1 302 X\r\nlocation: http://[\r\ncontent-length: 0\r\n\r\n",
    "a login of another kind": b"HTTP/1.1 401 X\r\nwww-authenticate: Negotiate\r\n" + TWO,
    "a proxy's login": b"HTTP/1.1 407 X\r\nproxy-authenticate: Basic\r\n" + TWO,
    "an unheard status": b"HTTP/1.1 799 X\r\n" + TWO,
    "nothing": b"HTTP/1.1 204 X\r\n\r\n",
    "no news": b"HTTP/1.1 304 X\r\n\r\n",
    "nothing in gzip": OK + b"content-encoding: gzip\r\ncontent-length: 0\r\n\r\n",
}
DOES_NOT: dict[str, bytes] = {
    "nothing at all": b"",
    "half a status": b"HTTP/1.1 20",
    "half a head": OK + b"content-length: 2\r\n",
    "half a head that names no length": OK + b"date: x\r\n",
    "half a line of a head": OK + b"date:",
    "half a reason": b"HTTP/1.1 200 O",
    "no head": b"{}",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2": b"HTTP/2 200\r\n" + TWO,
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "a status of two digits": b"HTTP/1.1 99 X\r\n" + TWO,
    "a status that begins with 0": b"HTTP/1.1 099 X\r\n" + TWO,
    "a status of four digits": b"HTTP/1.1 1000 X\r\n" + TWO,
    "another protocol from here on": b"HTTP/1.1 101 X\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n{}",
    "a length in words": OK + b"content-length: many\r\n\r\n{}",
    "a length below zero": OK + b"content-length: -2\r\n\r\n{}",
    "a length with a sign": OK + b"content-length: +2\r\n\r\n{}",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "a length beyond measure": OK + b"content-length: 99999999999999999999999\r\n\r\n{}",
    "a length that is not reached": OK + b"content-length: 5\r\n\r\n{}",
    "a length and chunks": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "gzip in transfer": OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no encoding in transfer": OK + b"transfer-encoding: identity\r\n\r\n{}",
    "chunked twice": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "an unheard encoding in transfer": OK + b"transfer-encoding: x\r\n\r\n{}",
    "a chunk below zero": CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond measure": CHUNKED + b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
    "no last chunk": CHUNKED + b"2\r\n{}\r\n",
    "a header without a colon": OK + b"colon\r\n" + TWO,
    "a name with a space": OK + b"x y: a\r\n" + TWO,
    "a name that is none": OK + b"\xe9: a\r\n" + TWO,
    "a header of 70 kB": OK + b"x: " + b"a" * 70_000 + b"\r\n" + TWO,
    "two hundred headers": OK + b"".join(b"x%d: a\r\n" % number for number in range(200)) + TWO,
}


MALFORMED: dict[str, bytes] = {
    "a NUL in a header": OK + b"x: a\0b\r\n" + TWO,
    "a chunk with 0x": CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
    "half a last chunk": CHUNKED + b"2\r\n{}\r\n0\r\n",
    "a length too small": OK + b"content-length: 1\r\n\r\n{}",
}
"""Where `http.client` reads on regardless. What it makes of such an answer is checked as JSON all the same."""


@pytest.mark.parametrize("what", ARRIVES)
def test_what_arrives_is_the_same_for_either_shell(what: str) -> None:
    assert isinstance(alike(ARRIVES[what]), tuple)


@pytest.mark.parametrize("what", DOES_NOT)
def test_what_is_no_answer_may_have_been_sent_for_either_shell(what: str) -> None:
    assert alike(DOES_NOT[what]) == (CrewTransportError, True)


@pytest.mark.parametrize("what", MALFORMED)
def test_the_blocking_shell_may_be_more_lenient_and_is_never_stricter(what: str) -> None:
    (blocking,), (asynchronous,) = both(lambda: lambda _: raw(MALFORMED[what]), START)
    assert asynchronous == (CrewTransportError, True)
    assert blocking == asynchronous or blocking[0] == 200


STATUSES = st.sampled_from([200, 201, 204, 301, 307, 400, 401, 404, 422, 429, 500, 502, 503])
BODIES = st.one_of(
    st.binary(max_size=60), st.sampled_from([b"{}", b'{"state": "RUNNING"}', b"x" * 3000, b"<html>\xff</html>", b""])
)
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": bytes,
    "gzip, gzip": lambda body: gzip.compress(gzip.compress(body)),
}
OTHERS = st.lists(
    st.tuples(
        st.sampled_from(["Retry-After", "Location", "Connection", "Server", "X-Odd", "Set-Cookie", "Vary"]),
        st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=20),
    ),
    max_size=4,
)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    """An answer as a server might give it, perhaps with a body that is cut off."""
    encoding = draw(st.sampled_from(sorted(ENCODERS)))
    status, body = draw(STATUSES), ENCODERS[encoding](draw(BODIES))
    body = b"" if status == 204 else body
    lines = [f"HTTP/1.{draw(st.sampled_from('01'))} {status} Whatever".encode()]
    lines += [f"{name}: {text}".encode("latin-1") for name, text in draw(OTHERS)]
    lines += [b"Content-Encoding: " + encoding.encode()] if encoding else []
    framing = draw(st.sampled_from(["length", "chunks", "end"])) if status != 204 else "end"
    if framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    if framing == "chunks" and lines[0].startswith(b"HTTP/1.1"):
        lines.append(b"Transfer-Encoding: chunked")
        size = draw(st.integers(1, 40))
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    # Cut before the last chunk: there one shell is more lenient.
    cut = draw(st.none() | st.integers(0, max(0, len(body) - 5)))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body[:cut]


@settings(max_examples=examples(150))
@given(answers())
def test_any_answer_comes_to_the_same_in_either_shell(data: bytes) -> None:
    alike(data)


SCRIPTS: dict[str, Callable[[], Callable[[Seen], Behaviour]]] = {
    "kept open": lambda: lambda _: says({}),
    "closed without a word": lambda: lambda _: then_close(says({})),
    "closed with a word": lambda: lambda _: then_close(answer(200, b"{}", connection="close")),
    "reset once": lambda: in_turn(says({}), reset, says({})),
    "one answer is cut": lambda: in_turn(says({}), raw(OK + b"content-length: 9\r\n\r\n{}"), says({})),
}


@pytest.mark.parametrize("what", SCRIPTS)
def test_a_row_of_requests_comes_to_the_same_in_either_shell(what: str) -> None:
    blocking, asynchronous = both(SCRIPTS[what], ASK, ASK, START, ASK, START, START, ASK)
    assert blocking == asynchronous


# ---- what was sent ----------------------------------------------------------------------------------


def never_sent(caller: Caller, connection: Settings, request: Request = START) -> None:
    (error,) = caller(lambda: connection, exchange(request))
    assert isinstance(error, CrewTransportError)
    assert not error.sent
    assert str(error).isprintable()


CREW = settings_for("https://crew.example", timeout=5)
UNUSABLE: dict[str, Settings] = {
    "a label that is too long": replace(CREW, base_url=f"https://{'a' * 70}.example"),
    "an empty label": replace(CREW, base_url="https://crew..example"),
    "a port beyond 65535": replace(CREW, base_url="https://127.0.0.1:99999"),
    "another scheme": replace(CREW, base_url="ftp://127.0.0.1"),
    "no host": replace(CREW, base_url="https://"),
    "a host that is no address": replace(CREW, base_url="https://999.1.2.3"),
    "a host in brackets that is none": replace(CREW, base_url="https://[1:2"),
    "a host with a space": replace(CREW, base_url="https://a b"),
    "a path that is not ASCII": replace(CREW, base_url="https://127.0.0.1:1/é"),
    "a proxy of another kind": replace(CREW, proxy="socks5://127.0.0.1:1"),
    "a proxy without a host": replace(CREW, proxy="http://"),
    "a proxy with a port beyond 65535": replace(CREW, proxy="http://127.0.0.1:99999"),
    "a header with a line break": replace(CREW, base_url="http://127.0.0.1:1", headers={"x": "a\nb"}),
    "a token that is not Latin": replace(CREW, base_url="http://127.0.0.1:1", token="\u20ac\ud800"),
}
"""What `read_settings` refuses. A shell must not depend on that: the libraries raise a dozen classes here."""


@pytest.mark.parametrize("what", UNUSABLE)
def test_settings_that_no_library_can_use_send_nothing(caller: Caller, what: str) -> None:
    never_sent(caller, UNUSABLE[what])


def test_a_port_that_refuses_was_sent_nothing(caller: Caller) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    never_sent(caller, replace(CREW, base_url=f"https://127.0.0.1:{port}"))


def test_a_machine_that_does_not_answer_was_sent_nothing(caller: Caller, full_port: int) -> None:
    never_sent(caller, settings_for(f"http://127.0.0.1:{full_port}", timeout=0.6))


@pytest.fixture
def full_port() -> Iterator[int]:
    """A port whose queue is full: it takes no connection, as if nobody were there."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        yield address[1]
        for each in waiting:
            each.close()


TUNNELS: dict[str, bytes] = {
    "forbidden": b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n",
    "a login is asked for": b"HTTP/1.1 407 X\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
    "a gateway in trouble": b"HTTP/1.1 502 Bad Gateway\r\n\r\n<html>",
    "a redirect": b"HTTP/1.1 302 X\r\nlocation: http://login.example\r\ncontent-length: 0\r\n\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "half a head": b"HTTP/1.1 200 OK\r\n",
    "hung up": b"",
    "a tunnel that leads to no TLS": b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 400 Bad Request\r\n\r\n",
    "a tunnel that hangs up": b"HTTP/1.1 200 OK\r\n\r\n",
}


@pytest.mark.parametrize("what", TUNNELS)
def test_a_tunnel_that_does_not_stand_was_sent_nothing(caller: Caller, what: str) -> None:
    with Scripted(lambda _: raw(TUNNELS[what])) as proxy:
        never_sent(caller, replace(CREW, proxy=proxy.url))
    assert {seen.method for seen in proxy.seen} == {"CONNECT"}


GREETINGS: dict[str, bytes] = {
    "HTTP": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "an alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "half a record": b"\x16\x03\x03\x40",
    "nothing": b"",
}


@pytest.mark.parametrize("what", GREETINGS)
def test_a_handshake_that_fails_sent_nothing(caller: Caller, what: str) -> None:
    def greet(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(GREETINGS[what])

    with Peer(greet) as peer:
        never_sent(caller, settings_for(f"https://{peer.address}", timeout=5))


def test_what_was_cut_off_while_it_was_sent_may_have_arrived(caller: Caller) -> None:
    large = Request("POST", "/kickoff", {"inputs": {"text": "x" * 20_000_000}}, idempotent=False)
    with Peer(_hear_some) as peer:
        (error,) = caller(lambda: settings_for(f"http://{peer.address}", timeout=20), exchange(large))
    assert isinstance(error, CrewTransportError)
    assert error.sent


def _hear_some(connection: socket.socket) -> None:
    connection.recv(65536)
    time.sleep(0.1)
