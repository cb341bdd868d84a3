"""The tokens of a run, by crewai's own count, kept while it goes on: a run that fails or is stopped used some, too."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from .report import Report


class Usage:
    """The usage of a run, over all its processes.

    :param count: returns crewai's `UsageMetrics` of this process so far.
    """

    def __init__(self, report: Report, count: Callable[[], Any]) -> None:
        self._report = report
        self._count = count
        self._earlier = report.usage()

    def so_far(self) -> dict[str, int]:
        """Return the counts, under crewai's own names."""
        try:
            counted = self._count().model_dump()
        except Exception:  # noqa: BLE001 - an author's own model may count as it likes, and the run is paid for
            return self._earlier
        return {name: number + self._earlier.get(name, 0) for name, number in counted.items()}

    def note(self) -> None:
        """Keep the counts as they are now."""
        self._report.note(usage_metrics=self.so_far())

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Keep the counts when the block ends, however it ends."""
        try:
            yield
        finally:
            with suppress(sqlite3.Error):  # how the run ended is what matters
                self.note()


class Calls:
    """Adds up what the calls of models used, on crewai's threads.

    A flow's own count lags behind its last call, and begins anew in each process.
    """

    def __init__(self) -> None:
        from crewai.types.usage_metrics import UsageMetrics

        self._lock = threading.Lock()
        self._sum = UsageMetrics()

    def add(self, call: Any) -> None:
        """Add a call.

        :param call: crewai's `LLMCallCompletedEvent`.
        """
        if used := used_by(call):
            with self._lock:
                self._sum.add_usage_metrics(used)

    def used(self) -> Any:
        """Return crewai's `UsageMetrics` of all calls so far."""
        with self._lock:
            return self._sum.model_copy()


def used_by(call: Any) -> Any:
    """Return crewai's `UsageMetrics` of one call of a model, or None if the model does not say.

    :param call: crewai's `LLMCallCompletedEvent`.
    """
    from crewai.types.usage_metrics import UsageMetrics

    return UsageMetrics.from_provider_dict(call.usage)
