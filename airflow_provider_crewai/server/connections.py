"""The server's socket: one client that keeps it waiting, or a thousand of them, shut nobody else out."""

from __future__ import annotations

import asyncio
import resource

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_HEAD = 32 * 1024
"""Bytes of a request's line and headers that are kept until they are complete."""

_BACKLOG = 64
_STOP_WITHIN = 5


def most_connections() -> int:
    """Return how many connections may be open: files are needed for other things, too."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 400 if soft == resource.RLIM_INFINITY else max(8, min(400, soft // 2))


class BoundedConnection(H11Protocol):
    """A connection that is closed where its client keeps us waiting; where there are too many, those go first."""

    seconds = 20.0
    """How long a client may keep the server waiting for a request, from the first byte of its head to the last of its
    body, or for its reading of an answer. Everybody is on this machine."""

    most = most_connections()
    """How many connections may be open at once."""

    late: asyncio.TimerHandle | None = None
    """What closes it while its client keeps us waiting."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's own
        """Begin to wait for a request; make room where too many wait."""
        super().connection_made(transport)
        self._look()
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        super().connection_lost(exc)
        self._wait(waiting=False)

    def data_received(self, data: bytes) -> None:
        """Take what came."""
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
        """Go on, since the client has read."""
        super().resume_writing()
        self._look()

    def _look(self) -> None:
        asked = self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete
        self._wait(waiting=not asked or self.flow.write_paused)

    def _wait(self, *, waiting: bool) -> None:
        if waiting and self.late is None:
            self.late = self.loop.call_later(self.seconds, self.transport.abort)
        elif not waiting and self.late is not None:
            self.late.cancel()
            self.late = None

    def _make_room(self) -> None:
        waited_for = [
            each for each in self.connections if isinstance(each, BoundedConnection) and each.late is not None
        ]
        longest = min(waited_for, key=lambda each: each.late.when() if each.late else 0.0, default=self)
        longest.transport.abort()


def new_server(app: ASGIApp, connection: type[BoundedConnection] = BoundedConnection) -> uvicorn.Server:
    """Make a server of an application, whose connections have these bounds."""
    config = uvicorn.Config(
        app,
        http=connection,  # by h11, which has a bound for headers; httptools has none
        ws="none",
        h11_max_incomplete_event_size=MAX_HEAD,
        backlog=_BACKLOG,
        log_config=None,
        proxy_headers=False,  # nobody stands between: who says so with X-Forwarded-For would choose his name in the log
        server_header=False,
        timeout_graceful_shutdown=_STOP_WITHIN,
    )
    return uvicorn.Server(config)
