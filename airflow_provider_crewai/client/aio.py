"""The asynchronous shell: `aiohttp`. For triggers, which all share one event loop."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import ClassVar, Self

import aiohttp
from yarl import URL

from airflow_provider_crewai.client import flows
from airflow_provider_crewai.client.killing import kill
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.client.shell import (
    CHUNK,
    check_length,
    encode,
    in_handshake,
    reply,
    scrub,
    scrub_response,
    silent,
)
from airflow_provider_crewai.client.watch import Ending, Watch
from airflow_provider_crewai.wire.errors import CrewError, CrewTransportError
from airflow_provider_crewai.wire.model import CrewInputs, Kickoff, Request, Response, Resumed, Resumption, Run

_BEFORE_SENDING = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientHttpProxyError)


class AsyncCrewClient:
    """An asynchronous client of one deployed crew. Use it as an async context manager.

    All clients of one connection in one event loop share one session and so its TLS connections: a
    session for each poll would cost a handshake for each poll.

    :param connect: reads the connection: before the first request, and again after a 401.
    :param patience: seconds for which a one-shot call is tried.
    """

    def __init__(self, connect: Callable[[], Awaitable[Settings]], *, patience: float = flows.CALL_PATIENCE) -> None:
        self.dialect = flows.Dialect()
        self._connect = connect
        self._settings: Settings | None = None
        self._patience = patience
        self._lease = _Lease()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def get_inputs(self) -> CrewInputs:
        """Ask which inputs the crew wants.

        :raises CrewError: the crew cannot be asked.
        """
        return await self.drive(flows.get_inputs(self._patience))

    async def kickoff(self, kickoff: Kickoff) -> str:
        """Start a run, which costs money, and return its kickoff_id.

        :raises CrewMayHaveStarted: it was sent, and no usable answer came back. It is not sent again.
        :raises CrewError: it was not started.
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

    async def stop(self, kickoff_id: str) -> bool:
        """Stop a run. True if it was stopped, False if it had already ended.

        :raises CrewNotFound: the deployment cannot stop runs; the run goes on.
        :raises CrewError: no usable answer came.
        """
        return await self.drive(flows.stop(kickoff_id, self._patience))

    async def kill(self, kickoff_id: str) -> str:
        """Stop a run, and return in a sentence what became of it. Raises nothing."""
        return await self.drive(kill(kickoff_id, self._patience))

    async def wait(self, watch: Watch, observe: flows.Observe = silent) -> Ending:
        """Wait for a run until it ends or the watch gives up.

        :param observe: called with what each look came to, an answer or an error, and the time.
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
        """Give the shared session back; the last one to do so closes it."""
        await self._lease.give_back()

    async def _carry_out(self, step: flows.Step) -> flows.Reply:
        match step:
            case Request():
                return reply(await self._send(step))
            case flows.Renew():
                self._settings = None
            case flows.Pause(seconds):
                await asyncio.sleep(seconds)
            case flows.Load() | flows.Save():
                raise TypeError("only a worker begins a run and keeps its record")
        return reply()

    async def _send(self, request: Request) -> Response | CrewError:
        try:
            if self._settings is None:
                self._settings = await self._connect()
            return await self._send_over(self._settings, request)
        except CrewError as error:
            return error

    async def _send_over(self, settings: Settings, request: Request) -> Response | CrewError:
        try:
            if request.idempotent:
                return await self._exchange(self._lease.take(settings), settings, request)
            # A pooled connection that the server has closed meanwhile would look like a lost answer, so
            # what must not be sent twice gets a new one.
            async with _new_session(settings) as session:
                return await self._exchange(session, settings, request)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            said = scrub(f"{type(error).__name__}: {error}", settings)
            return CrewTransportError(said, sent=not isinstance(error, _BEFORE_SENDING) and not in_handshake(error))

    async def _exchange(self, session: aiohttp.ClientSession, settings: Settings, request: Request) -> Response:
        async with session.request(
            request.method,
            URL(settings.base_url + request.path, encoded=True),
            data=encode(request),
            headers=settings.request_headers,
            proxy=settings.proxy,
            allow_redirects=False,
        ) as answer:
            body = bytearray()
            async for chunk in answer.content.iter_chunked(CHUNK):
                check_length(len(body) + len(chunk))
                body += chunk
            return scrub_response(answer.status, dict(answer.headers), bytes(body), settings)


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
    # Ten seconds to connect, so that "never connected" and "no answer" can be told apart.
    timeout = aiohttp.ClientTimeout(total=settings.timeout, sock_connect=min(10.0, settings.timeout / 2))
    connector = aiohttp.TCPConnector(ssl=settings.tls, limit=100)
    # No cookies: a gateway's stickiness must not tie all triggers of a process to one sick node.
    return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())
