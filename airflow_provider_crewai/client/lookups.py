"""One look-up for all who want to know the same thing at the same time, in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lookups(Generic[T]):
    """Answers that all who ask in one event loop share.

    At most one look-up for each key is in flight. Whoever asks meanwhile waits for the same one, and nobody's
    cancellation ends it for the others. A failure is everybody's who waited for it, and is not kept.

    :param keep: seconds for which an answer is good, from when it was asked for.
    """

    def __init__(self, keep: float) -> None:
        self._keep = keep
        self._asked: dict[Hashable, tuple[asyncio.Task[T], float]] = {}

    async def get(self, key: Hashable, look_up: Callable[[], Coroutine[Any, Any, T]], stale: T | None = None) -> T:
        """Return the answer for a key: the one that is kept, or the next one that comes.

        :param stale: an answer that has proved to be wrong: where it is the one that is kept, it is looked up anew.
        """
        loop = asyncio.get_running_loop()
        task, since = self._asked.get((loop, key), (None, 0.0))
        if task is None or (task.done() and (self._is_spent(task, stale) or loop.time() > since + self._keep)):
            self._forget_closed_loops()
            task = loop.create_task(look_up())
            task.add_done_callback(_take_note)
            self._asked[loop, key] = (task, loop.time())
        return await asyncio.shield(task)

    @staticmethod
    def _is_spent(task: asyncio.Task[T], stale: T | None) -> bool:
        return task.cancelled() or task.exception() is not None or task.result() is stale

    def _forget_closed_loops(self) -> None:
        self._asked = {key: asked for key, asked in self._asked.items() if not asked[0].get_loop().is_closed()}


def _take_note(task: asyncio.Task[Any]) -> None:
    # Where all who waited were cancelled, nobody else would, and asyncio would complain.
    if not task.cancelled():
        task.exception()
