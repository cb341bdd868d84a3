"""The asynchronous shell: `aiohttp`. For triggers, which all share one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
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
        return await self.drive(flows.wait(watch, self.dialect, observe))

    async def drive(self, flow: flows.Flow[flows.T]) -> flows.T:
        """Carry out the steps of a flow until it returns."""
        try:
            step = next(flow)
            while True:
                step = flow.send(await self._carry_out(step))
        except StopIteration as done:
            result: flows.T = done.value
            return result

    async def close(self) -> None:
        """Give the shared session back. The last client to do so closes it."""
        await self._lease.give_back()

    async def _carry_out(self, step: flows.Step) -> flows.Reply:
        match step:
            case Request():
                return reply(await self._send(step))
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

    async def _send(self, request: Request) -> Response | CrewError:
        try:
            if self._settings is None:
                self._settings = await self._connect()
            return await self._send_over(self._settings, request)
        except CrewError as error:
            return error

    async def _send_over(self, settings: Settings, request: Request) -> Response | CrewError:
        course = _Course()
        try:
            if request.idempotent:
                return await _exchange(self._lease.take(settings), settings, request, course)
            # If the server had closed a pooled connection meanwhile, it would look like a lost answer. So a request
            # that must not be sent twice gets a new connection.
            async with _new_session(settings) as session:
                return await _exchange(session, settings, request, course)
        except Exception as error:  # noqa: BLE001 - the course knows what happened, so the error's class does not matter
            return failure(error, settings, sent=course.sent)


@dataclass(slots=True)
class _Course:
    """The progress of one request: whether a byte of it may have left."""

    sent: bool = False


async def _note_sent(_session: aiohttp.ClientSession, context: Any, _headers: object) -> None:
    # Called when the connection is open, with any proxy and TLS, just before the first byte is written.
    context.trace_request_ctx.sent = True


async def _exchange(session: aiohttp.ClientSession, settings: Settings, request: Request, course: _Course) -> Response:
    async with session.request(
        request.method,
        URL(address(settings, request), encoded=True),
        data=encode(request),
        headers=request_headers(settings, request),
        proxy=settings.proxy,
        allow_redirects=False,
        trace_request_ctx=course,
    ) as got:
        arriving = Arriving(settings.secrets + request.secrets, got.status, got.raw_headers)
        async for chunk in got.content.iter_any():
            if not arriving.take(chunk):
                got.close()  # before the connection could be used again, the rest would have to be read
                break
        return arriving.response()


class _Lease:
    """A claim on the session that all clients of a connection share, in the running event loop."""

    _sessions: ClassVar[dict[object, aiohttp.ClientSession]] = {}
    _claims: ClassVar[Counter[object]] = Counter()

    def __init__(self) -> None:
        self._key: object = None

    def take(self, settings: Settings) -> aiohttp.ClientSession:
        if self._key is None:
            key = (asyncio.get_running_loop(), *settings.transport)
            self._sessions[key] = self._sessions.get(key) or _new_session(settings)
            self._claims[key] += 1
            self._key = key
        return self._sessions[self._key]

    async def give_back(self) -> None:
        key, self._key = self._key, None
        if key is None:
            return
        self._claims[key] -= 1
        if not self._claims[key]:
            del self._claims[key]
            await self._sessions.pop(key).close()


def _new_session(settings: Settings) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=settings.timeout, sock_connect=min(CONNECT, settings.timeout / 2))
    noting = aiohttp.TraceConfig()
    noting.on_request_headers_sent.append(_note_sent)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=settings.tls, limit=100),
        timeout=timeout,
        # No cookies: a gateway that sets them would tie all triggers of a process to one broken node.
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        max_line_size=LONGEST_HEADER,
        max_field_size=LONGEST_HEADER,
        trace_configs=[noting],
    )
