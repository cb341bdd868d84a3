"""The sockets of the blocking shell: each wait on them ends by one deadline, and they note what was sent.

A library times each wait by itself, so that a peer which drips can hold a worker for as long as it likes. And what a
library raises does not say whether a byte of the request had left by then: only the socket knows.
"""

from __future__ import annotations

import select
import socket
import ssl
import threading
import time
from collections.abc import Iterable

import httpcore

_TUNNEL = b"CONNECT "
"""How a request to a proxy begins that is none to the crew: all of our own are a GET or a POST."""


class Course(threading.local):
    """The course of the request that the running thread sends.

    :ivar connected: whether a new connection was opened for it.
    :ivar sent: whether a byte of it may have left.
    :ivar heard: whether a byte came back.
    """

    connected = sent = heard = False
    _timeout = _deadline = 0.0

    def begin(self, timeout: float) -> None:
        """Begin anew.

        :param timeout: seconds for the whole request.
        """
        self.connected = self.sent = self.heard = False
        self._timeout, self._deadline = timeout, time.monotonic() + timeout

    def left(self, at_most: float = float("inf")) -> float:
        """Return the seconds that are left.

        :raises TimeoutError: none.
        """
        if (left := self._deadline - time.monotonic()) <= 0:
            raise TimeoutError(f"no whole answer within {self._timeout:g} seconds")
        return min(left, at_most)


class Sockets(httpcore.NetworkBackend):
    """Opens the connections of one client.

    :param patience: how long a server may take to accept a connection, where it has several addresses.
    """

    def __init__(self, patience: float) -> None:
        self.course = Course()
        self._patience = patience

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        """Connect to the first of a host's addresses that answers."""
        self.course.connected = True
        failure = OSError(f"{host} has no address")
        for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                found = socket.create_connection((str(address[0]), port), self.course.left(self._patience))
            except OSError as error:
                failure = error
            else:
                found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return _Stream(found, self.course)
        raise failure


class _Stream(httpcore.NetworkStream):
    """One connection. The timeouts that the library passes are not needed: the deadline is the request's."""

    def __init__(self, connection: socket.socket, course: Course) -> None:
        self._socket = connection
        self._course = course

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = self._timed().recv(max_bytes)
        self._course.heard |= bool(data)
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._course.sent |= bool(buffer) and not buffer.startswith(_TUNNEL)
        rest = memoryview(buffer)
        try:
            while rest:
                rest = rest[self._timed().send(rest) :]
        except ConnectionError as error:
            # The library then listens all the same: a server may answer before it has heard all, and hang up.
            raise httpcore.WriteError(str(error)) from error

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            return _Stream(ssl_context.wrap_socket(self._timed(), server_hostname=server_hostname), self._course)
        except BaseException:
            self.close()
            raise

    def get_extra_info(self, info: str) -> bool | None:
        """Answer what the pool asks before it takes a connection again: whether there is something to read."""
        return _is_readable(self._socket) if info == "is_readable" else None

    def close(self) -> None:
        self._socket.close()

    def _timed(self) -> socket.socket:
        self._socket.settimeout(self._course.left())
        return self._socket


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))
