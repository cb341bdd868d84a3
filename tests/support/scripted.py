"""The third shell: flows meet a scripted server in virtual time. No socket, no clock, no sleep.

`ScriptedShell` drives a flow by itself; `AsyncScriptedShell` does the same on an asyncio loop whose clock is
virtual (`run_virtually`), so that many flows can wait at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Protocol, TypeVar

from airflow_provider_crewai.client.flows import Connect, Connected, Flow, Load, Pause, Renew, Reply, Save, Step, Stored
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import JSON, JSONObject, Request, Response

T = TypeVar("T")

EPOCH = 1_767_225_600.0
"""Virtual time starts on 2026-01-01."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a scripted server does with a request: an answer, or the error in its place, after some seconds."""

    what: Response | CrewError
    latency: float = 0.0


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it reaches the scripted server. `renewals` stands for the token it carries."""

    request: Request
    at: float
    renewals: int


Server = Callable[[Asked], Answer]


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, the answer and their times. `look` counts the pauses before it, so one look has one number."""

    asked: Asked
    answer: Response | CrewError
    until: float
    look: int

    @property
    def at(self) -> float:
        """When it was sent."""
        return self.asked.at


class HorizonError(Exception):
    """The flow still waits at the end of the virtual world."""


class Records(Protocol):
    """The store that a scripted shell answers `Load` and `Save` from."""

    def load(self) -> JSON:
        """Return the record."""

    def save(self, record: JSONObject | None) -> None:
        """Keep the record."""


@dataclass
class Memory:
    """A store that works."""

    record: JSON = None

    def load(self) -> JSON:
        """Return the record."""
        return self.record

    def save(self, record: JSONObject | None) -> None:
        """Keep the record."""
        self.record = record


@dataclass
class ScriptedShell:
    """Drives a flow against a scripted server.

    :param chances: the random numbers that the flow is given, for ever.
    :param horizon: when the virtual world ends.
    :param connections: what reading the connection comes to, each time.
    """

    server: Server
    chances: Iterator[float]
    store: Records = field(default_factory=Memory)
    now: float = EPOCH
    horizon: float = float("inf")
    connections: Iterator[Connected | CrewError] = field(
        default_factory=lambda: repeat(Connected("https://crew.example"))
    )
    renewals: int = 0
    looks: int = 0
    log: list[Exchange] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    def drive(self, flow: Flow[T]) -> T:
        """Carry out the steps of a flow until it returns.

        :raises HorizonError: it waits beyond the horizon.
        """
        try:
            step = next(flow)
            while True:
                step = flow.send(self.carry_out(step))
        except StopIteration as done:
            result: T = done.value
            return result

    def carry_out(self, step: Step) -> Reply:
        """Carry out one step; virtual time passes."""
        self.steps.append(step)
        if isinstance(step, Request):
            answer = self._ask(step)
            self._pass(answer.latency)
            return self._heard(step, answer)
        if isinstance(step, Pause):
            self._pass(step.seconds)
        return self._reply(self._without_waiting(step))

    def _without_waiting(self, step: Step) -> Stored | Connected | CrewError | None:
        match step:
            case Connect():
                return next(self.connections)
            case Pause():
                self.looks += 1
            case Renew():
                self.renewals += 1
            case Load(page):
                return self._guarded(lambda: Stored(self._place(page).load()))
            case Save(record, page):
                return self._guarded(lambda: self._place(page).save(record))
        return None

    def _place(self, page: str) -> Records:
        """Return where a page beside the record is kept. Only a batch has pages."""
        assert not page
        return self.store

    def _ask(self, request: Request) -> Answer:
        return self.server(Asked(request, self.now, self.renewals))

    def _heard(self, request: Request, answer: Answer) -> Reply:
        asked = Asked(request, self.now - answer.latency, self.renewals)
        self.log.append(Exchange(asked, answer.what, self.now, self.looks))
        return self._reply(answer.what)

    def _reply(self, answer: Response | Stored | Connected | CrewError | None) -> Reply:
        return Reply(self.now, next(self.chances), answer)

    def _pass(self, seconds: float) -> None:
        self.now += seconds
        if self.now > self.horizon:
            raise HorizonError(self.now)

    @staticmethod
    def _guarded(call: Callable[[], T]) -> T | CrewError:
        try:
            return call()
        except CrewError as error:
            return error


class AsyncScriptedShell(ScriptedShell):
    """The same on an event loop, whose clock is the time."""

    async def drive_async(self, flow: Flow[T]) -> T:
        """Carry out the steps of a flow until it returns."""
        try:
            step = next(flow)
            while True:
                step = flow.send(await self.carry_out_async(step))
        except StopIteration as done:
            result: T = done.value
            return result

    async def carry_out_async(self, step: Step) -> Reply:
        """Carry out one step; the loop's virtual time passes."""
        self.steps.append(step)
        if isinstance(step, Request):
            answer = self._ask(step)
            await self._sleep(answer.latency)
            return self._heard(step, answer)
        if isinstance(step, Pause):
            await self._sleep(step.seconds)
        return self._reply(self._without_waiting(step))

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.now = asyncio.get_running_loop().time()
        self._pass(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """A real asyncio loop whose clock jumps to whatever happens next."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual = EPOCH
        # A double that counts from 1970 is no finer, and a timer that is not yet due would never be.
        self._clock_resolution = 3e-7

    def time(self) -> float:
        """Return the virtual time."""
        return self._virtual

    def _run_once(self) -> None:
        waiting: list[asyncio.TimerHandle] = self._scheduled  # type: ignore[attr-defined]  # asyncio's own heap
        if not self._ready and waiting:  # type: ignore[attr-defined]
            self._virtual = max(self._virtual, waiting[0].when())
        super()._run_once()  # type: ignore[misc]


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine like `asyncio.run`, in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


async def gathered(*awaitables: Awaitable[T]) -> list[T]:
    """Wait for all of them at once."""
    return list(await asyncio.gather(*awaitables))
