"""A small HTTP server whose every answer is scripted, down to the bytes; and a proxy that breaks things.

    with Scripted(lambda seen: answer(200, b"{}")) as server: ...           # an answer for each request
    with Scripted(faults(upstream, lambda seen: LOSE_ANSWER)) as proxy: ...  # a fault before a real server

A *behaviour* is a function that gets the `Wire` of one request and does with it what it wants.
"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import itertools
import json
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived. Header names are lower case; `connection` counts the TCP connections."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return json.loads(self.body) if self.body else None


@dataclass
class Wire:
    """The connection on which a request came, for its behaviour to answer on."""

    seen: Seen
    connection: socket.socket
    open: bool = True

    def send(self, data: bytes) -> None:
        """Send bytes, whatever they are."""
        self.connection.sendall(data)

    def close(self) -> None:
        """End the connection in an orderly way."""
        self.open = False

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.open = False


Behaviour = Callable[[Wire], None]
Script = Callable[[Seen], Behaviour]


class Scripted:
    """A server on a free loopback port, in a thread. Use it as a context manager.

    :param script: chooses the behaviour for each request.
    :param tls: a server-side context, for https.
    :ivar connections: how many were accepted.
    :ivar ended: how many of them have ended.
    """

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self.seen: list[Seen] = []
        self.connections = 0
        self.ended = 0
        self._script = script
        self._tls = tls
        self._server = _Listener(("127.0.0.1", 0), self._serve)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """The base URL."""
        host, port = self._server.server_address[:2]
        return f"{'https' if self._tls else 'http'}://{host!s}:{port}"

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, plain: socket.socket) -> None:
        self.connections += 1
        number = self.connections
        plain.settimeout(20)
        try:
            connection = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with connection, connection.makefile("rb") as stream:
                self._converse(connection, stream, number)
        except (OSError, ValueError):
            return  # The client went away, or did not speak HTTP.
        finally:
            self.ended += 1

    def _converse(self, connection: socket.socket, stream: Any, number: int) -> None:
        while seen := _read(stream, number):
            self.seen.append(seen)
            wire = Wire(seen, connection)
            self._script(seen)(wire)
            if not wire.open:
                return


class _Listener(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, address: tuple[str, int], serve: Callable[[socket.socket], None]) -> None:
        super().__init__(address, socketserver.BaseRequestHandler)
        self._serve = serve

    def finish_request(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - socketserver's own
        self._serve(request)


class Peer:
    """A server that speaks no HTTP, on a free loopback port. Use it as a context manager.

    :param behave: gets each connection.
    """

    def __init__(self, behave: Callable[[socket.socket], None]) -> None:
        self._behave = behave
        self._server = _Listener(("127.0.0.1", 0), self._serve)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def address(self) -> str:
        """Host and port."""
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def __enter__(self) -> Peer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(20)
        with contextlib.suppress(OSError), connection:
            self._behave(connection)


def _read(stream: Any, connection: int) -> Seen | None:
    line = stream.readline(65536).decode("latin-1").strip()
    if not line:
        return None
    method, target, version = line.split(" ")
    if not version.startswith("HTTP/"):
        raise ValueError(line)
    headers = {name.lower(): value for name, value in http.client.parse_headers(stream).items()}
    return Seen(method, target, headers, b"".join(_body(stream, headers)), connection)


def _body(stream: Any, headers: dict[str, str]) -> Iterator[bytes]:
    if headers.get("transfer-encoding") != "chunked":
        yield stream.read(int(headers.get("content-length", 0)))
        return
    while length := int(stream.readline(), 16):
        yield stream.read(length)
        stream.readline()
    stream.readline()


# ---- behaviours -------------------------------------------------------------------------------------


def head(status: int, headers: dict[str, str]) -> bytes:
    """The head of an answer, as bytes."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(status: int, body: bytes | str = b"", **headers: str) -> Behaviour:
    """Answer in full; an underscore in a header's name stands for a hyphen."""
    payload = body.encode() if isinstance(body, str) else body
    named = {"content-length": str(len(payload)), **{name.replace("_", "-"): text for name, text in headers.items()}}
    return lambda wire: wire.send(head(status, named) + payload)


def says(value: object, status: int = 200) -> Behaviour:
    """Answer with JSON."""
    return answer(status, json.dumps(value), content_type="application/json")


def raw(data: bytes) -> Behaviour:
    """Send these bytes for an answer, and hang up."""

    def behave(wire: Wire) -> None:
        wire.send(data)
        wire.close()

    return behave


def gzipped(value: object) -> Behaviour:
    """Answer with compressed JSON."""
    return answer(200, gzip.compress(json.dumps(value).encode()), content_encoding="gzip")


def chunked(*chunks: bytes, finish: bool = True) -> Behaviour:
    """Answer in chunks; without `finish` the last one never comes."""
    data = b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + (b"0\r\n\r\n" if finish else b"")
    return raw(head(200, {"transfer-encoding": "chunked"}) + data)


def cut(body: bytes, *, missing: int = 10) -> Behaviour:
    """Promise more bytes than are sent."""
    return raw(head(200, {"content-length": str(len(body) + missing)}) + body)


def dripping(body: bytes, every: float, *, first: bytes | None = None) -> Behaviour:
    """Send the body byte by byte, after a head that comes at once (or `first` in its place)."""

    def behave(wire: Wire) -> None:
        wire.send(head(200, {"content-length": str(len(body))}) if first is None else first)
        for byte in body:
            time.sleep(every)
            wire.send(bytes([byte]))

    return behave


def without_end(first: bytes, piece: bytes, every: float = 0.02) -> Behaviour:
    """Send the same piece again and again, until the client hangs up."""

    def behave(wire: Wire) -> None:
        wire.send(first)
        while True:
            wire.send(piece)
            time.sleep(every)

    return behave


def silence(seconds: float) -> Behaviour:
    """Say nothing for so long, then hang up."""

    def behave(wire: Wire) -> None:
        time.sleep(seconds)
        wire.close()

    return behave


def echo(wire: Wire) -> None:
    """Answer with the request's own headers, in the body and in a header."""
    says(wire.seen.headers)(wire) if wire.seen.method == "GET" else answer(
        500, json.dumps({"detail": f"you sent {wire.seen.headers}"}), x_echo=wire.seen.headers.get("authorization", "")
    )(wire)


def reset(wire: Wire) -> None:
    """Reset the connection instead of answering."""
    wire.reset()


def hang_up(wire: Wire) -> None:
    """Close the connection instead of answering."""
    wire.close()


def then_close(behaviour: Behaviour) -> Behaviour:
    """Close the connection after the answer, without having said so."""

    def behave(wire: Wire) -> None:
        behaviour(wire)
        wire.close()

    return behave


def in_turn(*behaviours: Behaviour) -> Script:
    """Choose one behaviour after the other; the last one goes on."""
    turns = itertools.chain(behaviours, itertools.repeat(behaviours[-1]))
    lock = threading.Lock()

    def script(_: Seen) -> Behaviour:
        with lock:
            return next(turns)

    return script


# ---- the fault proxy -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What the proxy does with a request.

    :param forward: whether the request reaches the real server.
    :param instead: what the client gets instead of the real answer, or None for the real answer.
    :param delay: seconds before anything happens.
    """

    forward: bool = True
    instead: Behaviour | None = None
    delay: float = 0.0


HTML_502 = answer(502, "<html><body>Bad Gateway</body></html>", content_type="text/html")
PASS = Fault()
LOSE_REQUEST = Fault(forward=False, instead=reset)
LOSE_ANSWER = Fault(forward=True, instead=reset)
BAD_GATEWAY = Fault(forward=False, instead=HTML_502)
BAD_GATEWAY_AFTER = Fault(forward=True, instead=HTML_502)
UNAVAILABLE = Fault(forward=False, instead=answer(503, "busy"))
RATE_LIMITED = Fault(forward=False, instead=answer(429, "slow down", retry_after="1"))
GARBLED = Fault(forward=True, instead=answer(200, b'{"state": "SUCC'))
UNAUTHORISED = Fault(forward=False, instead=answer(401, '{"detail":"Invalid or missing authentication credentials"}'))


def faults(upstream: str, choose: Callable[[Seen], Fault]) -> Script:
    """Script a proxy before a real server: for each request a fault is chosen."""

    def script(seen: Seen) -> Behaviour:
        fault = choose(seen)

        def behave(wire: Wire) -> None:
            time.sleep(fault.delay)
            real = forward(upstream, seen) if fault.forward else None
            (fault.instead or real or hang_up)(wire)

        return behave

    return script


def forward(upstream: str, seen: Seen) -> Behaviour:
    """Send the request to the real server and return its answer as a behaviour."""
    url = urlsplit(upstream)
    link = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    keep = {
        name: value for name, value in seen.headers.items() if name not in ("host", "connection", "accept-encoding")
    }
    try:
        link.request(seen.method, url.path + seen.target, seen.body or None, keep)
        real = link.getresponse()
        body = real.read()
    except (OSError, http.client.HTTPException):
        return hang_up
    finally:
        link.close()
    headers = {name.lower(): value for name, value in real.getheaders()}
    for name in ("transfer-encoding", "connection", "content-length", "date", "server"):
        headers.pop(name, None)
    return answer(real.status, body, **headers)


@dataclass
class Plan:
    """Faults by hand: the given ones first, in order, for the requests that match; everything else passes.

    :param pattern: part of the request line, such as `POST /kickoff`.
    """

    pattern: str
    faults: Sequence[Fault]
    met: list[Seen] = field(default_factory=list)

    def __call__(self, seen: Seen) -> Fault:
        """Choose."""
        if self.pattern not in f"{seen.method} {seen.target}":
            return PASS
        self.met.append(seen)
        return self.faults[len(self.met) - 1] if len(self.met) <= len(self.faults) else PASS
