"""Measures what many runs cost Airflow: a mapped task for each, beside one batch task for all, on a real scheduler.

    python benchmarks/mapped_and_batch.py --items 1000 1000

It counts kickoffs, CPU of all processes of Airflow and of its database, and the rows that they write.
"""

from __future__ import annotations

import argparse
import time

from real_airflow import COMPONENTS, RealAirflow, Spent, real_airflow, show

IDLE = 30
"""Seconds for which an Airflow without work is measured."""
WAYS = ("mapped", "batch")


def main() -> None:
    """Measure both ways, and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", nargs="+", type=int, default=[1000, 1000], metavar="N", help="of each way")
    parser.add_argument("--seconds", type=float, default=20, help="the shortest run; the longest takes twice as long")
    options = parser.parse_args()
    with real_airflow(*WAYS) as stage:
        stage.far.tell("plan", seconds=options.seconds, spread=options.seconds)
        idle = at_rest(stage)
        print(f"An Airflow without work uses {idle:.3f} s of CPU per second.\n")
        counts = dict(zip(WAYS, options.items, strict=False))
        warm_up(stage)
        spent = {way: measure(stage, way, count) for way, count in counts.items() if count}
    show_costs(spent, counts, idle)
    show_rows(spent, counts)


def at_rest(stage: RealAirflow) -> float:
    """Return the CPU seconds per second of an Airflow that has nothing to do."""
    time.sleep(10)  # what comes with the start
    before = stage.spent()
    time.sleep(IDLE)
    return stage.spent().since(before).total / IDLE


def warm_up(stage: RealAirflow) -> None:
    """Let each process load what it needs for a task."""
    for way in WAYS:
        stage.finish(stage.airflow.api.trigger(way, {"items": 2}), 300)


def measure(stage: RealAirflow, way: str, count: int) -> Spent:
    """Run so many items; return what that cost.

    :raises RuntimeError: not all succeeded, or the deployment saw more or fewer kickoffs.
    """
    seen, before = len(stage.far.tell("counts")["kickoffs"]), stage.spent()
    state = stage.finish(stage.airflow.api.trigger(way, {"items": count}), 3600)
    spent = stage.spent().since(before)
    kickoffs = [inputs["item"] for inputs in stage.far.tell("counts")["kickoffs"][seen:]]
    if state != "success" or sorted(kickoffs) != sorted(f"item {number}" for number in range(count)):
        raise RuntimeError(f"{way} of {count} items ended in {state} after {len(kickoffs)} kickoffs")
    return spent


def show_costs(spent: dict[str, Spent], counts: dict[str, int], idle: float) -> None:
    """Print wall and CPU; a column says what is left without what an idle Airflow uses meanwhile."""
    parts = (*COMPONENTS, "database")
    heads = ("", "items", "kickoffs", "wall s", "CPU s", *parts, "beyond idle", "ms per item")
    rows = []
    for way, cost in spent.items():
        beyond = cost.total - idle * cost.seconds
        shares = (f"{cost.cpu[part]:.1f}" for part in parts)
        figures = (f"{cost.seconds:.0f}", f"{cost.total:.1f}", *shares, f"{beyond:.1f}")
        rows.append((way, counts[way], counts[way], *figures, f"{1000 * beyond / counts[way]:.1f}"))
    show(heads, rows)


def show_rows(spent: dict[str, Spent], counts: dict[str, int]) -> None:
    """Print the rows written for each item, by table."""
    tables = sorted({table for cost in spent.values() for table, rows in cost.rows.items() if rows})
    rows = [(table, *(f"{cost.rows[table] / counts[way]:.3f}" for way, cost in spent.items())) for table in tables]
    total = [f"{sum(cost.rows.values()) / counts[way]:.3f}" for way, cost in spent.items()]
    show(("rows written per item", *spent), [*rows, ("all", *total)])


if __name__ == "__main__":
    main()
