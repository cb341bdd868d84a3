"""The sockets of the blocking shell: each wait on them ends by one deadline, and they note what was sent.

`requests` times each wait by itself, so that a peer which drips can hold a worker for as long as it likes. And what it
raises does not say whether a byte of the request had left by then: only the socket knows. So `Transport` is an adapter
of `requests` whose connections are made of such sockets. It also keeps `requests` from reading the environment, from
adding roots to a private CA bundle, and from following a redirect with the token.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3

_TUNNEL = b"CONNECT "
"""How a request to a proxy begins that is none to the crew: all of our own are a GET or a POST."""


class Course:
    """The course of one request.

    :param timeout: seconds for the whole request.
    :param patience: seconds for which one address may leave the attempt to connect without an answer.
    :param limit: bytes that may come back, all in all.
    :ivar connected: whether a new connection was opened for it.
    :ivar sent: whether a byte of it may have left.
    :ivar heard: how many bytes came back.
    """

    def __init__(self, timeout: float, patience: float, limit: int) -> None:
        self.connected = self.sent = False
        self.heard = 0
        self.patience = patience
        self._limit = limit
        self._timeout, self._deadline = timeout, time.monotonic() + timeout

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    def left(self, at_most: float = float("inf")) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: none.
        """
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError(f"no whole answer within {self._timeout:g} seconds")
        return min(left, at_most)

    def hear(self, count: int) -> None:
        """Count bytes that came back.

        :raises ConnectionError: they are more than any answer has, as where headers or chunks have no end.
        """
        self.heard += count
        if self.heard > self._limit:
            raise ConnectionError(f"the answer does not end after {self._limit} bytes")


_running = threading.local()


@contextmanager
def running(course: Course) -> Iterator[Course]:
    """Let the sockets of this thread obey a course. A signal handler may begin another one in between."""
    before = getattr(_running, "course", None)
    _running.course = course
    try:
        yield course
    finally:
        _running.course = before


def _course() -> Course:
    course: Course = _running.course
    return course


class _Timed(socket.socket):
    """A socket whose every wait ends by the course's deadline, whatever the library has set."""

    def recv_into(self, *arguments: Any) -> int:
        self.settimeout(_course().left())
        count = super().recv_into(*arguments)
        _course().hear(count)
        return count

    def send(self, data: Any, *flags: Any) -> int:
        self._note(data)
        return super().send(data, *flags)

    def sendall(self, data: Any, *flags: Any) -> None:
        self._note(data)
        super().sendall(data, *flags)

    def _note(self, data: Any) -> None:
        self.settimeout(_course().left())
        _course().sent |= bool(data) and not bytes(data[: len(_TUNNEL)]).startswith(_TUNNEL)


class _TimedTLS(_Timed, ssl.SSLSocket):
    """The same above TLS. Its handshake has the time that was left when it began."""


class _Head:
    """The lines of an answer's head, each of which must end. The standard library takes a cut head for a whole one."""

    def __init__(self, source: Any) -> None:
        self._source = source
        self._begun = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._source, name)

    def readline(self, limit: int) -> bytes:
        line: bytes = self._source.readline(limit)
        if not line.endswith(b"\n") and len(line) < limit and (line or self._begun):
            raise ConnectionError("the answer is cut off in its head")
        self._begun = True
        return line


class _Answer(http.client.HTTPResponse):
    """Skips each interim answer (RFC 9110, section 15.2), and takes no cut head and no malformed headers.

    The standard library skips 100 alone, and lets malformed headers pass.
    """

    def begin(self) -> None:
        whole, self.fp = self.fp, _Head(self.fp)  # type: ignore[assignment]  # it is read by lines alone
        super().begin()
        while 100 < self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:  # noqa: PLR2004
            self.headers = None  # type: ignore[assignment]  # what it is before an answer was begun
            super().begin()
        self.fp = whole
        if self.headers.defects:
            # What follows a malformed line is lost, perhaps how long the body is or when to come back.
            raise http.client.HTTPException(f"malformed headers: {type(self.headers.defects[0]).__name__}")


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Answer

    def _new_conn(self) -> socket.socket:
        course = _course()
        course.connected = True
        host = self._dns_host.strip("[]")
        failure = OSError(f"{host} has no address")
        for family, kind, protocol, _, address in socket.getaddrinfo(host, self.port, type=socket.SOCK_STREAM):
            made = _Timed(family, kind, protocol)
            try:
                made.settimeout(course.left(course.patience))
                made.connect(address)
            except OSError as error:
                made.close()
                failure = error
            else:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.settimeout(course.left())
                return made
        raise failure


class _ConnectionTLS(_Connection, urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # else urllib3 warns at each request of a connection whose owner trusts everyone


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _PoolTLS(urllib3.HTTPSConnectionPool):
    ConnectionCls = _ConnectionTLS


class Transport(requests.adapters.HTTPAdapter):
    """Sends the requests of one client.

    :param tls: whom to trust; nothing is added to it.
    """

    def __init__(self, tls: ssl.SSLContext) -> None:
        tls.sslsocket_class = _TimedTLS
        self._tls = tls
        super().__init__(pool_maxsize=1)

    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        """Make the pool of connections to crews."""
        super().init_poolmanager(*arguments, **options, ssl_context=self._tls)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Make the pool of connections through a proxy."""
        manager = super().proxy_manager_for(proxy, **options, ssl_context=self._tls)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _PoolTLS}
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, *_: Any, **__: Any
    ) -> tuple[Any, Any]:
        """Name the server alone: whom to trust is in the pool already."""
        url = urlsplit(request.url or "")
        return {"scheme": url.scheme, "host": url.hostname, "port": url.port}, {}

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Change no connection: `requests` would add its own roots to those of a private bundle."""
