"""The sockets of the blocking shell. One deadline ends every wait on them, and they note whether anything was sent.

`requests` limits each wait separately, so a server that sends its answer bit by bit can hold a worker for as long as it
likes. And its errors do not say whether a byte of the request had left; only the socket knows. So `Transport` is an
adapter for `requests` that uses such sockets. It also keeps `requests` from reading the environment, from adding roots
to a private CA bundle, and from following a redirect with the token.
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
"""How a request begins that is for the proxy and not for the crew: all of our own requests are a GET or a POST."""


class Course:
    """The progress of one request.

    :param timeout: seconds for the whole request.
    :param patience: seconds that we wait for one address to accept a connection.
    :param limit: the most bytes that may come back in all.
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
        """Return whether the deadline has passed."""
        return time.monotonic() >= self._deadline

    def left(self, at_most: float = float("inf")) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: no time is left.
        """
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError(f"no whole answer within {self._timeout:g} seconds")
        return min(left, at_most)

    def hear(self, count: int) -> None:
        """Count bytes that came back.

        :raises ConnectionError: they are more than any answer has, for example because headers or chunks never end.
        """
        self.heard += count
        if self.heard > self._limit:
            raise ConnectionError(f"the answer does not end after {self._limit} bytes")


_running = threading.local()


@contextmanager
def running(course: Course) -> Iterator[Course]:
    """Make the sockets of this thread obey a course. A signal handler may start another one in between."""
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
    """A socket on which every wait ends at the course's deadline, whatever timeout the library has set."""

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
    """The same over TLS. Its handshake gets the time that was left when it began."""


class _Head:
    """Reads the head of an answer line by line. Every line must end: the standard library accepts a cut head."""

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
    """Skips every interim answer (RFC 9110, section 15.2), and refuses a cut head and malformed headers.

    The standard library skips only 100, and accepts a cut head and malformed headers.
    """

    def begin(self) -> None:
        whole, self.fp = self.fp, _Head(self.fp)  # type: ignore[assignment]  # it is only read line by line
        super().begin()
        while 100 < self.status < 200 and self.status != http.HTTPStatus.SWITCHING_PROTOCOLS:  # noqa: PLR2004 - 1xx
            self.headers = None  # type: ignore[assignment]  # its value before an answer begins
            super().begin()
        self.fp = whole
        if self.headers.defects:
            # The headers after a malformed line are lost, perhaps the length of the body or when to come back.
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
        self.is_verified = True  # else urllib3 warns at each request if the connection does not verify TLS


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _PoolTLS(urllib3.HTTPSConnectionPool):
    ConnectionCls = _ConnectionTLS


class Transport(requests.adapters.HTTPAdapter):
    """Sends the requests of one client.

    :param tls: whom to trust; it is used unchanged.
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
        """Return only the server's name: the pool already holds whom to trust."""
        url = urlsplit(request.url or "")
        return {"scheme": url.scheme, "host": url.hostname, "port": url.port}, {}

    def cert_verify(self, *_: Any, **__: Any) -> None:
        """Do nothing: `requests` would add its own roots to those of a private bundle."""
