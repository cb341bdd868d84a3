"""Checks `scale_model.py`: thousands of waits in one loop, each decided by the real `Watch`, in simulated time.

    python benchmarks/scale_simulation.py

Runs of different lengths begin as others end, so that equally many are always awaited. Each look holds the loop for as
long as one was measured to take; the looks that are due meanwhile come later.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from scale_model import MEASURED, SPREAD, Load, markdown

from airflow_provider_crewai.client.watch import Again, Patience, Watch
from airflow_provider_crewai.wire.model import Run, RunState


@dataclass
class Found:
    """What came of a simulation.

    :param ends: seconds from each run's end to the look that saw it.
    :param delays: seconds that looks came later than they were due, because the loop was busy.
    """

    seconds: float
    looks: int = 0
    ends: list[float] = field(default_factory=list)
    delayed: float = 0.0

    @property
    def looks_per_second(self) -> float:
        """Return the rate of looks."""
        return self.looks / self.seconds

    @property
    def late(self) -> float:
        """Return the mean seconds from the end of a run to the look that saw it."""
        return sum(self.ends) / len(self.ends)


class Wait:
    """One run that is awaited, and the watch that decides about its looks."""

    def __init__(self, load: Load, began: float, length: float) -> None:
        patience = Patience(load.poll_interval, load.max_poll_interval)
        self.ends = began + length
        self.watch = Watch("a-run", patience, started_at=began, seen_alive=True)

    def look(self, now: float, chance: float) -> float | None:
        """Look at the run; return the seconds until the next look, or None where the run has ended."""
        state = RunState.SUCCEEDED if now >= self.ends else RunState.RUNNING
        step = self.watch.saw(Run("a-run", state), now, chance)
        return step.seconds if isinstance(step, Again) else None


class Loop:
    """The event loop of one triggerer, in simulated time."""

    def __init__(self, load: Load, seed: int) -> None:
        self._load = load
        self._chance = random.Random(seed)  # noqa: S311 - the same in each run, and nothing secret
        self._waits: dict[int, Wait] = {}
        self._due: list[tuple[float, int]] = []
        self._free = 0.0

    def run(self, warm_up: float, seconds: float) -> Found:
        """Let time pass; return what happened after the warm-up."""
        for place in range(self._load.runs):
            self._begin(place, -self._chance.uniform(0, self._load.length))
        self._pass(warm_up, Found(warm_up))
        found = Found(seconds)
        self._pass(warm_up + seconds, found)
        return found

    def _begin(self, place: int, began: float) -> None:
        low, high = (self._load.length * part for part in (1 - SPREAD, 1 + SPREAD))
        wait = self._waits[place] = Wait(self._load, began, self._chance.uniform(low, high))
        now = max(began, 0.0)
        heapq.heappush(self._due, (now + wait.watch.first(now, self._chance.random()), place))

    def _pass(self, until: float, found: Found) -> None:
        while self._due[0][0] < until:
            due, place = heapq.heappop(self._due)
            now = max(due, self._free)
            self._free = now + MEASURED.look
            found.looks += 1
            found.delayed += now - due
            again = self._waits[place].look(now, self._chance.random())
            if again is None:
                found.ends.append(now - self._waits[place].ends)
                self._begin(place, now)
            else:
                heapq.heappush(self._due, (now + again, place))


def simulate(load: Load, seed: int = 1) -> Found:
    """Simulate one loop with so many runs for as long as a run takes, after a warm-up of half of that."""
    return Loop(load, seed).run(load.length / 2, load.length)


RUNS = 800
"""What a hundred thousand runs do, eight hundred show: no run's looks depend on another run, but for a busy loop."""
CHECKED = (
    Load(RUNS, 120),
    Load(RUNS, 600),
    Load(RUNS, 600, 60, 60),
    Load(RUNS, 3_600),
    Load(RUNS, 3_600, 30, 120),
    Load(RUNS, 21_600, 10, 300),
)
"""What the model is checked for."""
BOUND = 0.05
"""The model and the simulation differ by less than this part."""


def table(found: Callable[[Load], Found] = simulate) -> str:
    """Return the model beside the simulation, as Markdown."""
    heads = ("a run takes", "intervals", "looks/s: model", "simulated", "", "end seen after: model", "simulated", "")
    return markdown(heads, (_line(load, found(load)) for load in CHECKED))


def _line(load: Load, found: Found) -> tuple[str, ...]:
    pairs = ((load.looks_per_second, found.looks_per_second), (load.late, found.late))
    cells = (cell for said, came in pairs for cell in (f"{said:.1f}", f"{came:.1f}", f"{off(said, came):+.1%}"))
    return (f"{load.length:,.0f} s", f"{load.poll_interval:g} to {load.max_poll_interval:g} s", *cells)


def off(said: float, came: float) -> float:
    """Return by which part the model is off."""
    return said / came - 1


if __name__ == "__main__":
    print(table())
