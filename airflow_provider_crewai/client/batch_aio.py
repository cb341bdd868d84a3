"""Waits for many runs at once in an event loop, until their worker has something to do."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

from airflow_provider_crewai.client.batch_pace import News
from airflow_provider_crewai.client.watch import Ending, Watch

Wait = Callable[[Watch], Awaitable[Ending]]
"""Waits for one run until it ends, or until its watch gives up."""


async def until_news(wait: Wait, watches: Iterable[Watch], news: News, clock: Callable[[], float] = time.time) -> None:
    """Wait for all runs at the same time, until there is something to do. The other waits are given up then.

    :param news: takes in what ends.
    :param clock: returns the epoch second.
    """
    changed = asyncio.Event()

    async def follow(watch: Watch) -> None:
        news.add(await wait(watch))
        changed.set()

    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(follow(watch)) for watch in watches]
        while not news.is_worth_it(now := clock()):
            changed.clear()
            await _changed_within(_until(news, now), changed)
        for one in waits:
            one.cancel()


def _until(news: News, now: float) -> float | None:
    at = news.wakes_at(now)
    return None if at is None else at - now


async def _changed_within(seconds: float | None, changed: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await changed.wait()
