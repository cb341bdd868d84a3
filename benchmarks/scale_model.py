"""A model of what it costs Airflow and a deployment that many runs are awaited at once, and how late their ends are seen.

    python benchmarks/scale_model.py

It prints the tables of `docs/scale.md`. It knows no Airflow: `MEASURED` has what `waiting_at_size.py`,
`mapped_and_batch.py` and `end_to_success.py` measured, and the rest is arithmetic. `scale_simulation.py` checks it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.aio import KEPT
from airflow_provider_crewai.client.watch import PACE

JITTER = 0.1
"""The part of an interval by which the next look may come earlier; see `Watch.pace`."""


@dataclass(frozen=True)
class Measured:
    """What was measured, on two cores with Airflow 3.3.2 and PostgreSQL 15. CPU in seconds, memory in bytes.

    :param look: CPU of the triggerer's loop for a look.
    :param waiting: CPU of the loop for each second and run, whether or not it is looked at: Airflow goes through all.
    :param loop: CPU of a loop for each second without any run.
    :param supervisor: CPU of the triggerer's other process for each second, and for each run in it.
    :param queries: CPU of the database for each second and triggerer, for each of its runs, and for each run in all.
    :param memory: of a triggerer without runs, and for each run.
    :param mapped: CPU of all Airflow for a run in a task of its own.
    :param batched: the same for a run that is an item of a batch.
    :param mapped_rows: rows that the database writes for a run in a task of its own.
    :param batched_rows: the same for an item of a batch.
    :param bytes_per_look: on the wire, both ways.
    :param kept: connections to a deployment that a triggerer keeps open between two looks.
    :param picked_up: runs that a triggerer takes up in a second, by `[triggerer] max_trigger_to_select_per_loop`.
    """

    look: float = 0.56e-3
    waiting: float = 9e-6
    loop: float = 0.001
    supervisor: tuple[float, float] = (0.005, 4.5e-6)
    queries: tuple[float, float, float] = (0.004, 1.2e-6, 1.9e-6)
    memory: tuple[float, float] = (351e6, 35e3)
    mapped: float = 0.69
    batched: float = 0.037
    mapped_rows: float = 36.3
    batched_rows: float = 1.9
    bytes_per_look: float = 2_800.0
    kept: int = KEPT
    picked_up: int = 50


MEASURED = Measured()


SPREAD = 0.5
"""The shortest run takes so much less than the mean, the longest so much more, and the others anything between."""
STEPS = 20
"""Into so many lengths of runs the spread is divided."""


@dataclass(frozen=True)
class Load:
    """So many runs, always awaited.

    :param length: seconds that a run takes in the mean.
    :param poll_interval: the task's argument.
    :param max_poll_interval: the task's argument.
    :param capacity: `[triggerer] capacity`, the most runs in one triggerer.
    """

    runs: int
    length: float
    poll_interval: float = defaults.POLL_INTERVAL
    max_poll_interval: float = defaults.MAX_POLL_INTERVAL
    capacity: int = 1000

    @property
    def triggerers(self) -> int:
        """Return how many it takes."""
        return math.ceil(self.runs / self.capacity)

    @property
    def late(self) -> float:
        """Return the mean seconds from the end of a run to the look that sees it: half an interval."""
        return self._mean(lambda length: self._spaced(self._interval(length)) / 2)

    @property
    def at_most_late(self) -> float:
        """Return the seconds that the end of the longest run waits at most for a look."""
        return self._interval(self.length * (1 + SPREAD))

    @property
    def starts_per_second(self) -> float:
        """Return how many runs begin, and so end, in a second."""
        return self.runs / (self.length + self.late)

    @property
    def looks_per_second(self) -> float:
        """Return how many looks all triggerers take together."""
        return self.starts_per_second * self._mean(self._looks)

    def _mean(self, of: Callable[[float], float]) -> float:
        """Return the mean of something over runs of all lengths."""
        parts = (1 + SPREAD * ((2 * step + 1) / STEPS - 1) for step in range(STEPS))
        return sum(of(self.length * part) for part in parts) / STEPS

    def _looks(self, length: float) -> float:
        """Return how often a run is looked at: first at equal intervals, then at growing ones, then at equal ones."""
        grows, grown = self.poll_interval / PACE, self.max_poll_interval / PACE
        early = min(length, grows) / self.poll_interval
        growing = math.log(max(1.0, min(length, grown) / grows)) / math.log1p(PACE * (1 - JITTER / 2))
        return early + growing + max(0.0, length - grown) / self._spaced(self.max_poll_interval)

    def _interval(self, age: float) -> float:
        """Return the seconds to the next look at a run of this age, before jitter."""
        return min(max(PACE * age, self.poll_interval), self.max_poll_interval)

    def _spaced(self, interval: float) -> float:
        """Return the mean seconds between two looks of an interval, which jitter shortens, but not below the least."""
        share = min(1.0, (1 - self.poll_interval / interval) / JITTER)
        return interval * (share - JITTER / 2 * share**2) + self.poll_interval * (1 - share)


@dataclass(frozen=True)
class Cost:
    """What a load costs. CPU in seconds for each second, so in cores."""

    load: Load
    measured: Measured = MEASURED

    @property
    def looking(self) -> float:
        """Return the CPU of all looks."""
        return self.load.looks_per_second * self.measured.look

    @property
    def loops(self) -> float:
        """Return the CPU of the event loops of all triggerers, with the looks."""
        return self.looking + self.load.triggerers * self.measured.loop + self.load.runs * self.measured.waiting

    @property
    def busiest(self) -> float:
        """Return the share of a core that one full loop takes; it cannot take more than one."""
        return self.loops / self.load.triggerers

    @property
    def triggerers(self) -> float:
        """Return the CPU of all triggerers, each of which has a second process beside its loop."""
        each, a_run = self.measured.supervisor
        return self.loops + self.load.triggerers * each + self.load.runs * a_run

    @property
    def database(self) -> float:
        """Return the CPU of the queries: each triggerer asks for its own runs, and goes over all, once or twice a second."""
        each, own, all_ = self.measured.queries
        return self.load.triggerers * (each + all_ * self.load.runs) + own * self.load.runs

    @property
    def memory(self) -> float:
        """Return the bytes of all triggerers."""
        each, a_run = self.measured.memory
        return self.load.triggerers * each + self.load.runs * a_run

    @property
    def connections(self) -> int:
        """Return how many connections to one deployment are kept."""
        return min(self.load.runs, self.load.triggerers * self.measured.kept)

    @property
    def pick_up(self) -> float:
        """Return the seconds in which all triggerers take up all their runs after a restart, as Airflow is set."""
        return self.load.runs / self.load.triggerers / self.measured.picked_up


# ---- the tables ------------------------------------------------------------------------------------------------

SIZES = (100, 1_000, 10_000, 100_000)
LENGTHS = {"2 minutes": 120.0, "10 minutes": 600.0, "1 hour": 3_600.0, "6 hours": 21_600.0}
SUGGESTED = {"2 minutes": (60, 60), "10 minutes": (60, 60), "1 hour": (30, 120), "6 hours": (10, 300)}
"""Intervals by which 100,000 runs of this length take no more than a core to look at."""
CAPACITY = 5_000
"""The `[triggerer] capacity` of the tables."""


def by_size() -> str:
    """Show what runs of an hour cost with the defaults."""
    heads = (
        "runs awaited",
        "triggerers",
        "looks/s",
        "cores: looks",
        "cores: triggerers",
        "cores: database",
        "GB",
        "connections kept",
        "MB/s",
    )
    return markdown(heads, (_size(Load(runs, 3_600, capacity=CAPACITY)) for runs in SIZES))


def _size(load: Load) -> tuple[str, ...]:
    cost = Cost(load)
    cores = (f"{each:.2f}" for each in (cost.looking, cost.triggerers, cost.database))
    traffic = load.looks_per_second * cost.measured.bytes_per_look / 1e6
    sizes = (f"{cost.memory / 1e9:.1f}", f"{cost.connections:,}", f"{traffic:.2f}")
    return (f"{load.runs:,}", str(load.triggerers), f"{load.looks_per_second:,.0f}", *cores, *sizes)


def by_length() -> str:
    """Show what looking at 100,000 runs costs, with the defaults and as suggested, and how late ends are seen."""
    heads = (
        "a run takes",
        "`poll_interval`, `max_poll_interval`",
        "looks/s",
        "cores: looks",
        "end seen after, mean",
        "at most",
    )
    rows = []
    for name, length in LENGTHS.items():
        for intervals in ((2, 60), SUGGESTED[name]):
            load = Load(SIZES[-1], length, *intervals, capacity=CAPACITY)
            late = (f"{load.late:.0f} s", f"{load.at_most_late:.0f} s")
            looking = Cost(load).looking
            rows.append((name, "{}, {}".format(*intervals), f"{load.looks_per_second:,.0f}", f"{looking:.2f}", *late))
    return markdown(heads, rows)


def by_capacity() -> str:
    """Show what 100,000 runs of an hour cost in triggerers of different sizes."""
    heads = (
        "`[triggerer] capacity`",
        "triggerers",
        "busy part of a loop",
        "cores: triggerers",
        "cores: database",
        "GB",
        "all taken up after, at least",
    )
    return markdown(
        heads, (_capacity(Cost(Load(SIZES[-1], 3_600, 30, 120, each))) for each in (1_000, 2_000, 5_000, 10_000))
    )


def _capacity(cost: Cost) -> tuple[str, ...]:
    cores = (f"{each:.2f}" for each in (cost.busiest, cost.triggerers, cost.database))
    return (
        f"{cost.load.capacity:,}",
        str(cost.load.triggerers),
        *cores,
        f"{cost.memory / 1e9:.1f}",
        f"{cost.pick_up:.0f} s",
    )


def by_turnover() -> str:
    """Show what it costs Airflow that runs begin and end."""
    heads = (
        "runs awaited",
        "a run takes",
        "begin/s",
        "cores: mapped tasks",
        "cores: batches",
        "rows/s: mapped",
        "rows/s: batches",
    )
    loads = (Load(runs, length) for runs in SIZES[1:] for length in (600, 3_600))
    return markdown(heads, map(_turnover, loads))


def _turnover(load: Load) -> tuple[str, ...]:
    rate, known = load.starts_per_second, MEASURED
    rows = (f"{rate * each:,.0f}" for each in (known.mapped_rows, known.batched_rows))
    cores = (f"{rate * each:.1f}" for each in (known.mapped, known.batched))
    return (f"{load.runs:,}", f"{load.length / 60:.0f} minutes", f"{rate:.1f}", *cores, *rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))


TABLES = (by_turnover, by_capacity, by_size, by_length)

if __name__ == "__main__":
    print(*(table() for table in TABLES), sep="\n\n")
