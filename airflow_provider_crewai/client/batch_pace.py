"""Decides when the worker of a batch wakes. A pure object: it gets what has ended, and the time.

Each wake costs Airflow a place in its queue, a process and some rows. So the worker comes back when enough has ended to
be worth it. The trigger, and a worker that waits itself, ask the same object.

    what there is                                             the worker wakes
    --------------------------------------------------------  ---------------------------------------------------------
    no run goes on                                            at once
    ... but no kickoff may be sent until `wake_at`            then
    more runs failed than the batch bears                     at once
    a run has ended, and nobody has read it                   after `LONGEST_UNREAD` at the latest
    items wait, a quarter of the slots is free                at once, but not sooner than an eighth of a run's usual
                                                              length after the last wave, and not before `wake_at`
    items wait, slots were free all the time                  at `wake_at`
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from airflow_provider_crewai.client.watch import Ending, Verdict

LONGEST_UNREAD = 300.0
"""Seconds for which an end may stay unread: a deployment forgets its runs after a while."""

SHARE_OF_SLOTS = 4
"""The worker comes back when one in so many slots is free."""

SHARE_OF_A_RUN = 8
"""It leaves at least a run's usual length, divided by this, between two waves: so few of the slots' hours are lost."""

OF_ALL = frozenset({Verdict.TIMED_OUT, Verdict.UNREACHABLE, Verdict.AUTH_LOST, Verdict.UNWATCHABLE})
"""The verdicts that are not about one run: they hold for all."""


@dataclass(frozen=True, slots=True)
class Pace:
    """When the worker of a batch wakes.

    :param slots: the most runs at a time.
    :param left: how many items wait for a run.
    :param since: epoch second of the last wave.
    :param usual: seconds that a run takes on average, or None if none has ended yet.
    :param bearable: how many more runs may fail before the batch is to end, or None for any number.
    :param wake_at: epoch second before which no kickoff may be sent, and at which the worker wakes; or None.
    """

    slots: int
    left: int
    since: float
    usual: float | None = None
    bearable: int | None = None
    wake_at: float | None = None

    def wakes_at(self, ended_at: Sequence[float], failed: int, running: int, now: float) -> float | None:
        """Return the epoch second at which the worker has something to do, or None if only another end can tell.

        :param ended_at: when runs ended whose ends nobody has read, epoch seconds.
        :param failed: how many of them failed.
        :param running: how many runs go on.
        """
        if self.bearable is not None and failed > max(self.bearable, 0):
            return now
        return min(self._reasons(ended_at, running, now), default=None)

    def _reasons(self, ended_at: Sequence[float], running: int, now: float) -> Iterator[float]:
        begins = self.wake_at if self.left else None
        if not running:
            yield now if begins is None else max(begins, now)
        if ended_at:
            yield min(ended_at) + LONGEST_UNREAD
        if begins is not None:
            yield begins
        if self.left and len(ended_at) >= self._worth_it:
            yield max(self.since + (self.usual or 0.0) / SHARE_OF_A_RUN, begins or 0.0)

    @property
    def _worth_it(self) -> int:
        """Return how many ends are worth a wave."""
        return max(1, min(self.left, self.slots // SHARE_OF_SLOTS))


@dataclass(slots=True)
class News:
    """What a wait for many runs has brought so far.

    :param running: how many runs are still waited for.
    """

    pace: Pace
    running: int
    endings: list[Ending] = field(default_factory=list)

    def add(self, ending: Ending) -> None:
        """Take in that the wait for a run is over."""
        self.endings.append(ending)
        self.running -= 1

    def wakes_at(self, now: float) -> float | None:
        """Return the epoch second at which the worker has something to do, or None if only another end can tell."""
        if any(ending.verdict in OF_ALL for ending in self.endings):
            return now
        failed = sum(ending.verdict is not Verdict.SUCCEEDED for ending in self.endings)
        return self.pace.wakes_at([ending.at for ending in self.endings], failed, self.running, now)

    def is_worth_it(self, now: float) -> bool:
        """Return whether the worker has something to do by now."""
        at = self.wakes_at(now)
        return at is not None and at <= now
