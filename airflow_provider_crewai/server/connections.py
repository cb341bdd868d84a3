"""The server's socket and its connections. Slow clients, however many, shut nobody else out."""

from __future__ import annotations

import asyncio
import resource
import socket
from itertools import count
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from airflow_provider_crewai.server import private, state

MAX_HEAD = 32 * 1024
"""The most bytes of a request's line and headers."""

ENDLESS = "airflow_provider_crewai.endless"
"""The key in the scope of a request whose answer has no end: it is cut off when the server ends."""

_BACKLOG = 64
_STOP_WITHIN = 5
_TURNS = count()


def listen(host: str, port: int, kept: Path) -> socket.socket:
    """Listen at an address.

    :param port: 0 takes the port of last time if it is free, else any free one.
    :param kept: the file that keeps the port of last time.
    :raises OSError: the port is taken, or the file cannot be used.
    """
    if port:
        return _listen_at(host, port)
    last = state.kept_port(kept)
    try:
        # Airflow's connections name the port of last time, and so do the callback URLs of waiting flows.
        listener = _listen_at(host, last)
    except OSError:
        listener = _listen_at(host, 0)
    private.write(kept, f"{listener.getsockname()[1]}\n")
    return listener


def _listen_at(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def url_of(listener: socket.socket) -> str:
    """Return the URL of a socket that listens."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def most_connections() -> int:
    """Return how many connections may be open. They must leave file descriptors for everything else."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 400 if soft == resource.RLIM_INFINITY else max(8, min(400, soft // 2))


class BoundedConnection(H11Protocol):
    """A connection that closes if its client is too slow. If too many are open, the slowest is closed first."""

    seconds = 20.0
    """How long the server waits for a client: for a whole request, or for the client to read an answer. All clients are
    on this machine."""

    most = most_connections()
    """How many connections may be open at once."""

    late: asyncio.TimerHandle | None = None
    """The timer that closes the connection, while the server waits for its client."""

    turn = 0
    """Its place among those that the server waits for: the timers of connections that came at once may be the same."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Wait for a request, and make room if too many connections are open."""
        super().connection_made(transport)
        self._look()
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        super().connection_lost(exc)
        self._wait(waiting=False)

    def data_received(self, data: bytes) -> None:
        """Take what the client sent."""
        super().data_received(data)
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        super().pause_writing()
        self._look()

    def resume_writing(self) -> None:
        """Continue, since the client has read."""
        super().resume_writing()
        self._look()

    def shutdown(self) -> None:
        """Let the client have its answer, unless that has no end."""
        super().shutdown()
        if self.cycle is not None and self.cycle.scope.get(ENDLESS):
            self.transport.close()

    def hang_up(self) -> None:
        """Close at once. It counts as open until the loop has closed it, but is not chosen again to make room."""
        self._wait(waiting=False)
        self.transport.abort()

    def _look(self) -> None:
        asked = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        self._wait(waiting=not asked or self.flow.write_paused)

    def _wait(self, *, waiting: bool) -> None:
        if waiting and self.late is None:
            self.late = self.loop.call_later(self.seconds, self.transport.abort)
            self.turn = next(_TURNS)
        elif not waiting and self.late is not None:
            self.late.cancel()
            self.late = None

    def _make_room(self) -> None:
        waited_for = [each for each in self.connections if isinstance(each, BoundedConnection) and each.late]
        longest = min(waited_for, key=lambda each: each.turn, default=self)
        longest.hang_up()


def new_server(app: ASGIApp, connection: type[BoundedConnection] = BoundedConnection) -> uvicorn.Server:
    """Make a server that runs an application over bounded connections."""
    config = uvicorn.Config(
        app,
        http=connection,  # by h11, which limits the size of headers; httptools does not
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD,
        backlog=_BACKLOG,
        log_config=None,
        proxy_headers=False,  # there is no proxy: a client could choose its name in the log by X-Forwarded-For
        server_header=False,
        timeout_graceful_shutdown=_STOP_WITHIN,
    )
    return uvicorn.Server(config)
