"""One shared look-up for all coroutines of an event loop that need the same value at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lookups(Generic[T]):
    """Answers that all callers in one event loop share.

    At most one look-up per key runs at a time. Callers that come meanwhile wait for the same one. If one caller is
    cancelled, the look-up goes on for the others. If it fails, every waiting caller gets the error, and the error is
    not kept.

    :param keep: seconds for which an answer is good, counted from when it was asked for.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._asked: dict[Hashable, tuple[asyncio.Task[T], float]] = {}

    async def get(self, key: Hashable, look_up: Callable[[], Coroutine[Any, Any, T]], stale: T | None = None) -> T:
        """Return the answer for a key: the kept one, or the next one that arrives.

        :param stale: an answer that has proved wrong: if it is the kept one, it is looked up again.
        """
        loop = asyncio.get_running_loop()
        task, since = self._asked.get((loop, key), (None, 0.0))
        if task is None or (task.done() and (self._is_spent(task, stale) or loop.time() > since + self._keep)):
            self._forget(loop)
            task = loop.create_task(look_up())
            task.add_done_callback(_take_note)
            self._asked[loop, key] = (task, loop.time())
        return await asyncio.shield(task)

    @staticmethod
    def _is_spent(task: asyncio.Task[T], stale: T | None) -> bool:
        return task.cancelled() or task.exception() is not None or task.result() is stale

    def _forget(self, loop: asyncio.AbstractEventLoop) -> None:
        """Drop answers that nobody can get any more: of closed loops, and in this one those that are too old."""

        def is_of_use(task: asyncio.Task[T], since: float) -> bool:
            of = task.get_loop()
            return not of.is_closed() and (of is not loop or not task.done() or loop.time() <= since + self._keep)

        self._asked = {key: asked for key, asked in self._asked.items() if is_of_use(*asked)}


def _take_note(task: asyncio.Task[Any]) -> None:
    # If all callers were cancelled, nobody else reads the error, and asyncio would complain.
    if not task.cancelled():
        task.exception()
