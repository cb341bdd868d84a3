"""Both real shells behind one face, so that a test can say what holds for each of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

from airflow_provider_crewai.client.aio import AsyncCrewClient
from airflow_provider_crewai.client.flows import Flow
from airflow_provider_crewai.client.settings import Settings, read_settings
from airflow_provider_crewai.client.sync import CrewClient
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import Request, Response

T = TypeVar("T")

TOKEN = "tok-5e3c1a77-do-not-tell"


def settings_for(url: str, **extra: Any) -> Settings:
    """Return settings for a server of a test, patient for half a second."""
    return read_settings("crew", host=url, password=TOKEN, extra={"timeout": 0.5, **extra})


def exchange(request: Request) -> Flow[Response | CrewError]:
    """Send one request, once."""
    heard = (yield request).answer
    assert isinstance(heard, Response | CrewError)
    return heard


class Caller(Protocol):
    """One client of one of the two kinds, for as long as the call lasts."""

    name: str

    def __call__(self, connect: Callable[[], Settings], *flows: Flow[Any], patience: float = 5.0) -> list[Any]:
        """Drive the flows one after the other with one client; an error takes the place of its value."""


class Blocking:
    """`CrewClient`."""

    name = "sync"

    def __call__(self, connect: Callable[[], Settings], *flows: Flow[Any], patience: float = 5.0) -> list[Any]:
        """Drive the flows one after the other."""
        client = CrewClient(connect, patience=patience)
        try:
            return [_guarded(client, flow) for flow in flows]
        finally:
            client.close()


def _guarded(client: CrewClient, flow: Flow[T]) -> T | CrewError:
    try:
        return client.drive(flow)
    except CrewError as error:
        return error


class Asynchronous:
    """`AsyncCrewClient`."""

    name = "async"

    def __call__(self, connect: Callable[[], Settings], *flows: Flow[Any], patience: float = 5.0) -> list[Any]:
        """Drive the flows one after the other."""
        return asyncio.run(self._drive(connect, flows, patience))

    @staticmethod
    async def _drive(connect: Callable[[], Settings], flows: tuple[Flow[Any], ...], patience: float) -> list[Any]:
        async def connected() -> Settings:
            return connect()

        async with AsyncCrewClient(connected, patience=patience) as client:
            return [await _guarded_async(client.drive(flow)) for flow in flows]


async def _guarded_async(value: Awaitable[T]) -> T | CrewError:
    try:
        return await value
    except CrewError as error:
        return error


CALLERS: tuple[Caller, ...] = (Blocking(), Asynchronous())
