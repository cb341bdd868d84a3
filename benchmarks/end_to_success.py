"""Measures how long it takes from the end of a run to the success of its task: ours beside dbt Cloud's operator.

    python benchmarks/end_to_success.py     about four minutes

Both wait in one Dag run on a real Airflow, are looked at every five seconds, and their runs end spread over two minutes.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from statistics import median, quantiles
from typing import Any

from real_airflow import DagRun, RealAirflow, real_airflow, show

DAG = "ends_of_runs"
RUN_ID_IN = {"crew": "kickoff_id", "dbt": "return_value"}
"""The XCom in which each task leaves the id of its run."""


def main() -> None:
    """Measure, and print a table."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    with real_airflow(DAG) as stage:
        finish(stage, seconds=1, spread=1)  # each process loads what it needs
        run = finish(stage, seconds=60, spread=120)
        counts = stage.far.tell("counts")
        rows = [(who, *spread_of(delays(run, who, counts))) for who in RUN_ID_IN]
    show(("seconds: median (quartiles), longest", "end seen", "task succeeded after that", "together"), rows)


def finish(stage: RealAirflow, seconds: float, spread: float) -> DagRun:
    """Run the Dag, its runs so long."""
    stage.far.tell("plan", seconds=seconds, spread=spread)
    run = stage.airflow.api.trigger(DAG)
    if (state := stage.finish(run, 900)) != "success":
        raise RuntimeError(f"the Dag run ended in {state}")
    return run


def delays(run: DagRun, who: str, counts: dict[str, Any]) -> list[tuple[float, float]]:
    """Return for each task the seconds from its run's end until that was seen, and from there to its success."""
    found = []
    for task in run.tasks():
        if task["task_id"] == who:
            run_id = str(run.xcom(who, RUN_ID_IN[who], task["map_index"]))
            told = counts["told"][run_id]
            found.append((told - counts["ends"][run_id], datetime.fromisoformat(task["end_date"]).timestamp() - told))
    return found


def spread_of(found: list[tuple[float, float]]) -> list[str]:
    """Say how the delays spread, and their sums."""
    columns = [*zip(*found, strict=True), [sum(pair) for pair in found]]
    return [_words(list(column)) for column in columns]


def _words(seconds: list[float]) -> str:
    low, _, high = quantiles(seconds, n=4)
    return f"{median(seconds):.2f} ({low:.2f} to {high:.2f}), {max(seconds):.2f}"


if __name__ == "__main__":
    main()
