"""The asynchronous shell: `aiohttp`. For triggers, which all share one event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from types import TracebackType
from typing import Any, ClassVar, Self

import aiohttp
from yarl import URL

from airflow_provider_crewai.client import defaults, flows
from airflow_provider_crewai.client.dialogue import Heard
from airflow_provider_crewai.client.feedback import NO_HOOKS, Given, give
from airflow_provider_crewai.client.killing import kill
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.client.shell import (
    CONNECT,
    LONGEST_HEADER,
    Arriving,
    address,
    encode,
    failure,
    mute,
    reply,
    request_headers,
    say_refusal,
    say_trouble,
    silent,
)
from airflow_provider_crewai.client.watch import Ending, Watch
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import (
    CrewInputs,
    Feedback,
    Kickoff,
    Question,
    Request,
    Response,
    Resumed,
    Resumption,
    Run,
)

KEPT = 20
"""The most connections to one crew that stay open between two looks."""

MOST = 100
"""The most connections to one crew at once."""

CROWDED = 1.0
"""Seconds after which a look that waits for one of the kept connections may open another one."""

SLOW = 0.2
"""Seconds. Where the last answer came sooner, a queue is no reason for more connections: our own process is busy."""

NOTHING_MORE: Mapping[str, str] = {}
_CLOSE = {"Connection": "close"}


class AsyncCrewClient:
    """An asynchronous client of one deployed crew. Use it as an async context manager.

    All clients of one connection in one event loop share one session and so its TLS connections: a session for each
    poll would need a handshake for each poll.

    :param connect: reads the connection: before the first request, and again after a 401.
    :param patience: seconds for which we try a one-shot call.
    :param say: called with a sentence when a call got no answer and is made again.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Settings]],
        *,
        patience: float = defaults.CALL_PATIENCE,
        say: flows.Say = mute,
    ) -> None:
        self.dialect = flows.Dialect()
        self.hear: Callable[[], Awaitable[Heard | None]] | None = None
        """Asks Airflow what it knows of a run's questions; None where that cannot be read now."""
        self._connect = connect
        self._settings: Settings | None = None
        self._patience = patience
        self._say = say
        self._lease = _Lease()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get_inputs(self) -> CrewInputs:
        """Ask which inputs the crew takes.

        :raises CrewError: no usable answer came.
        """
        return await self.drive(flows.get_inputs(self._patience))

    async def kickoff(self, kickoff: Kickoff) -> str:
        """Start a run, which costs money, and return its kickoff_id. Wakes a sleeping deployment first.

        :raises CrewMayHaveStarted: the kickoff was sent and no usable answer came back. It is not sent again.
        :raises CrewError: the run was not started.
        """
        return await self.drive(flows.kickoff(kickoff, self._patience))

    async def get_status(self, kickoff_id: str) -> Run:
        """Look at a run.

        :raises CrewError: no usable answer came.
        """
        return await self.drive(flows.get_status(kickoff_id, self.dialect, self._patience))

    async def resume(self, resumption: Resumption) -> Resumed:
        """Answer a crew that waits for a human.

        :raises CrewError: no usable answer came.
        """
        return await self.drive(flows.resume(resumption, self._patience))

    async def give(self, feedback: Feedback, question: Question, kickoff_id: str, hooks: Kickoff = NO_HOOKS) -> Given:
        """Give a run a person's feedback to its question, at most once. Nothing is recorded.

        :param hooks: the kickoff whose webhooks are sent again: a crew that goes on without them forgets them.
        :raises CrewError: it is not known to have arrived; see `feedback.give`.
        """
        flow = give(feedback, question, kickoff_id, hooks, self.dialect, self._patience, self._say, recorded=False)
        return await self.drive(flow)

    async def stop(self, kickoff_id: str) -> bool:
        """Stop a run. Return True if it was stopped, False if it had already ended.

        :raises CrewNotFound: the deployment cannot stop runs; the run goes on.
        :raises CrewError: no usable answer came.
        """
        return await self.drive(flows.stop(kickoff_id, self._patience))

    async def kill(self, kickoff_id: str) -> str:
        """Stop a run, and return a sentence that says what happened to it. Raises nothing."""
        return await self.drive(kill(kickoff_id, self._patience))

    async def wait(self, watch: Watch, observe: flows.Observe = silent) -> Ending:
        """Wait for a run until it ends or the watch gives up.

        :param observe: called after each look, with the answer or the error, and the epoch second.
        """
        deadline = watch.patience.deadline
        return await self.drive(flows.wait(watch, self.dialect, observe), math.inf if deadline is None else deadline)

    async def drive(self, flow: flows.Flow[flows.T], due: float = math.inf) -> flows.T:
        """Carry out the steps of a flow until it returns.

        :param due: the epoch second after which a request waits for a free connection only as long as for an answer.
        """
        try:
            step = next(flow)
            while True:
                step = flow.send(await self._carry_out(step, due))
        except StopIteration as done:
            result: flows.T = done.value
            return result

    async def close(self) -> None:
        """Give the shared session back. The last client to do so closes it."""
        await self._lease.give_back()

    async def _carry_out(self, step: flows.Step, due: float) -> flows.Reply:
        match step:
            case Request():
                return await self._send(step, due)
            case flows.Renew(trouble):
                say_refusal(trouble, self._say)
                self._settings = None
            case flows.Hear():
                return reply(await self.hear() if self.hear else None)
            case flows.Pause():
                say_trouble(step, self._say)
                await asyncio.sleep(step.seconds)
            case flows.Connect() | flows.Load() | flows.Save():
                raise TypeError("only a worker may begin a run and keep its record")
        return reply()

    async def _send(self, request: Request, due: float) -> flows.Reply:
        course = _Course(due)
        try:
            if self._settings is None:
                self._settings = await self._connect()
            answer = await self._send_over(self._settings, request, course)
        except CrewError as error:
            return reply(error)
        return reply(answer, course.queued)

    async def _send_over(self, settings: Settings, request: Request, course: _Course) -> Response | CrewError:
        _course.set(course)
        try:
            if request.idempotent:
                return await self._lease.take(settings).exchange(settings, request, course)
            # If the server had closed a pooled connection meanwhile, it would look like a lost answer. So a request
            # that must not be sent twice gets a new connection.
            async with _new_session(settings) as session:
                return await _exchange(session, settings, request)
        except Exception as error:  # noqa: BLE001 - the course knows what happened, so the error's class does not matter
            return failure(error, settings, sent=course.sent)


@dataclass(slots=True)
class _Course:
    """The progress of one request.

    :param due: the epoch second after which it waits for a free connection only as long as for an answer.
    :param queued: seconds for which it has waited for a free connection.
    :param sent: whether a byte of it may have left.
    """

    due: float
    queued: float = 0.0
    sent: bool = False


_course: ContextVar[_Course] = ContextVar("_course")


class _Connector(aiohttp.TCPConnector):
    """Notes when a connection is open, with any proxy and TLS, just before the first byte is written.

    aiohttp's tracing could do it, too, but it would cost each look a tenth more.
    """

    async def connect(
        self,
        req: aiohttp.ClientRequest,
        traces: list[Any],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 - aiohttp calls it so
    ) -> aiohttp.connector.Connection:
        connection = await super().connect(req, traces, timeout)
        _course.get().sent = True
        return connection


async def _exchange(
    session: aiohttp.ClientSession, settings: Settings, request: Request, more: Mapping[str, str] = NOTHING_MORE
) -> Response:
    async with session.request(
        request.method,
        URL(address(settings, request), encoded=True),
        data=encode(request),
        headers={**request_headers(settings, request), **more},
        proxy=settings.proxy,
        allow_redirects=False,
    ) as got:
        arriving = Arriving(settings.secrets + request.secrets, got.status, got.raw_headers)
        async for chunk in got.content.iter_any():
            if not arriving.take(chunk):
                got.close()  # before the connection could be used again, the rest would have to be read
                break
        return arriving.response()


class _Pool:
    """The session that all clients of a connection share, and the queue for its TLS connections.

    A few connections serve thousands of looks, and are kept. Where a deployment answers so slowly that looks queue up,
    they get more connections, each for one look.
    """

    def __init__(self, settings: Settings) -> None:
        self.session = _new_session(settings)
        self._free = KEPT
        self._more = MOST - KEPT
        self._queue: deque[asyncio.Future[bool]] = deque()
        self._left_at = self._lasted = 0.0

    async def exchange(self, settings: Settings, request: Request, course: _Course) -> Response:
        """Send a request as soon as a connection is free, and return the answer."""
        is_extra = await self._enter(settings, course)
        began = time.monotonic()
        try:
            return await _exchange(self.session, settings, request, _CLOSE if is_extra else NOTHING_MORE)
        finally:
            self._left_at = time.monotonic()
            self._lasted = self._left_at - began
            self._leave(is_extra)

    async def _enter(self, settings: Settings, course: _Course) -> bool:
        """Wait for a connection. Return whether it is one more than those that are kept."""
        if self._free:
            self._free -= 1
            return False
        loop = asyncio.get_running_loop()
        began, turn = loop.time(), asyncio.Future[bool]()
        self._queue.append(turn)
        crowded = loop.call_later(CROWDED, self._widen, turn)
        try:
            async with asyncio.timeout(None if course.due == math.inf else _left(settings, course)):
                return await turn
        except BaseException:
            if turn.done() and not turn.cancelled():  # cancelled just when it was our turn
                self._leave(turn.result())
            raise
        finally:
            crowded.cancel()
            course.queued = loop.time() - began

    def _widen(self, turn: asyncio.Future[bool]) -> None:
        is_slow = max(self._lasted, time.monotonic() - self._left_at) >= SLOW
        if is_slow and self._more and not turn.done():
            self._more -= 1
            turn.set_result(True)

    def _leave(self, is_extra: bool) -> None:
        while self._queue:
            turn = self._queue.popleft()
            if not turn.done():
                turn.set_result(is_extra)
                return
        self._more += is_extra
        self._free += not is_extra


def _left(settings: Settings, course: _Course) -> float:
    return max(course.due - time.time(), settings.timeout)


class _Lease:
    """A claim on the pool that all clients of a connection share, in the running event loop."""

    __slots__ = ("_key",)
    _pools: ClassVar[dict[object, _Pool]] = {}
    _claims: ClassVar[Counter[object]] = Counter()

    def __init__(self) -> None:
        self._key: object = None

    def take(self, settings: Settings) -> _Pool:
        if self._key is None:
            key = (asyncio.get_running_loop(), *settings.transport)
            self._pools[key] = self._pools.get(key) or _Pool(settings)
            self._claims[key] += 1
            self._key = key
        return self._pools[self._key]

    async def give_back(self) -> None:
        key, self._key = self._key, None
        if key is None:
            return
        self._claims[key] -= 1
        if not self._claims[key]:
            del self._claims[key]
            await self._pools.pop(key).session.close()


def _new_session(settings: Settings) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=settings.timeout, sock_connect=min(CONNECT, settings.timeout / 2))
    return aiohttp.ClientSession(
        connector=_Connector(ssl=settings.tls, limit=MOST),
        timeout=timeout,
        # No cookies: a gateway that sets them would tie all triggers of a process to one broken node.
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
    )
