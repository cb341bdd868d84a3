"""Measures what thousands of waiting runs cost a real triggerer and its database.

    python benchmarks/waiting_at_size.py --intervals 30 10 --runs 1000 2000 5000 10000

One task really waits; the others are copies of its rows in the database, each with a run of its own. So the triggerer
is Airflow's, and so are its queries. The slope between the lines says what one more run costs, and the difference
between two intervals what one more look costs.
"""

from __future__ import annotations

import argparse
import json
import time

import psutil
from real_airflow import RealAirflow, cpu_seconds, eventually, real_airflow, show

DAG, TASK = "one_that_waits", "crew"
WINDOW = 30.0
"""Seconds for which each number of runs is measured."""
SETTLING = 10.0
"""Seconds before that, for the triggerer to come to rest."""
SETTINGS = {"triggerer": {"capacity": "100000", "max_trigger_to_select_per_loop": "200"}}
HEADS = (
    "interval s",
    "runs",
    "looks/s",
    "loop: CPU s/s",
    "supervisor",
    "database",
    "loop: MB",
    "supervisor: MB",
    "open files",
    "connections",
    "all begun after s",
)


def main() -> None:
    """Measure each number of runs at each interval, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--intervals", nargs="+", type=float, default=[30.0])
    parser.add_argument("--runs", nargs="+", type=int, default=[1000, 2000, 5000, 10000])
    options = parser.parse_args()
    rows = []
    with real_airflow(DAG, settings=SETTINGS) as stage:
        stage.far.tell("plan", seconds=10**9)
        stage.airflow.api.trigger(DAG).wait_for_task(TASK, "deferred")
        for component in ("scheduler", "dag-processor", "triggerer"):
            stage.airflow.kill(component)
        crowd = Crowd(stage)
        for interval in options.intervals:
            crowd.disperse()
            stage.airflow.start("triggerer")
            rows += [measure(stage, crowd, count, interval) for count in options.runs]
            stage.airflow.start_second("triggerer")
            rows.append(measure(stage, crowd, crowd.count, interval, "in one of two triggerers"))
            stage.airflow.kill("second triggerer")
            stage.airflow.kill("triggerer")
    show(HEADS, rows)


class Crowd:
    """Copies of the one task that waits."""

    def __init__(self, stage: RealAirflow) -> None:
        self.count = 0
        self._far = stage.far
        self._ask = stage.database.ask
        ((self._task, self._trigger),) = self._ask("select id, trigger_id from task_instance")
        ((kwargs,),) = self._ask("select kwargs from trigger where id = %s", (self._trigger,))
        self._kwargs = json.loads(kwargs)
        columns = self._ask("select column_name from information_schema.columns where table_name = 'task_instance'")
        self._columns = [f'"{name}"' for (name,) in columns if name not in {"id", "map_index", "trigger_id"}]

    def disperse(self) -> None:
        """Delete them all."""
        self._ask("delete from task_instance where map_index >= 0")
        self._ask("delete from trigger where id <> %s", (self._trigger,))  # with it would go its task
        self.count = 0

    def grow(self, count: int, interval: float) -> None:
        """Let so many runs wait, and be looked at so often."""
        new = [self._arguments(f"{interval:g}-{number}", interval) for number in range(self.count, count)]
        names, values = ", ".join(self._columns), ", ".join(f"one.{name}" for name in self._columns)
        # In one statement, because the triggerer deletes what no task waits for.
        copy = (
            "with new as (insert into trigger (classpath, kwargs, created_date) "  # noqa: S608 - the database's own names
            "select classpath, unnest(%s::text[]), now() from trigger where id = %s returning id) "
            f"insert into task_instance (id, map_index, trigger_id, {names}) "
            f"select gen_random_uuid(), %s + row_number() over (), new.id, {values} "
            "from task_instance as one, new where one.id = %s"
        )
        self._ask(copy, (new, self._trigger, self.count - 1, self._task))
        self.count = count

    def _arguments(self, run_id: str, interval: float) -> str:
        """Write the arguments of a trigger as Airflow does, for a run that is days old."""
        changes = {"kickoff_id": run_id, "poll_interval": 0.9 * interval, "max_poll_interval": interval}
        changes |= {"started_at": time.time() - 10**6}
        return json.dumps(self._kwargs | changes)


class Meter:
    """Reads what the two processes of a triggerer and the database have used up."""

    def __init__(self, stage: RealAirflow) -> None:
        self.supervisor = stage.airflow.component("triggerer")
        self.loop = max(self.supervisor.children(), key=own)  # the others serve logs
        self._database = stage.database.server
        self._far = stage.far

    def read(self) -> tuple[float, ...]:
        """Return the time, looks so far, and CPU seconds of the loop, the supervisor and the database."""
        looks = self._far.tell("counts")["looks"]
        return (time.monotonic(), looks, own(self.loop), own(self.supervisor), cpu_seconds(self._database))


def own(process: psutil.Process) -> float:
    """Return the CPU seconds of a process alone."""
    spent = process.cpu_times()
    return float(spent.user + spent.system)


def measure(stage: RealAirflow, crowd: Crowd, count: int, interval: float, remark: str = "") -> list[str]:
    """Let so many runs wait; return a line of the table."""
    looked, began = stage.far.tell("counts")["looked"] + count - crowd.count, time.monotonic()
    crowd.grow(count, interval)
    eventually(lambda: stage.far.tell("counts")["looked"] >= looked or None, "all to be looked at", 300, interval=1)
    begun, meter = time.monotonic() - began, Meter(stage)
    time.sleep(SETTLING)
    before = meter.read()
    time.sleep(WINDOW)
    seconds, *spent = (after - first for after, first in zip(meter.read(), before, strict=True))
    rates = [f"{each / seconds:.3f}" for each in spent]
    sizes = [f"{process.memory_info().rss / 1e6:.0f}" for process in (meter.loop, meter.supervisor)]
    sockets = len(meter.loop.net_connections("tcp"))
    files = str(meter.supervisor.num_fds())
    line = [f"{interval:g}", f"{count} {remark}", *rates, *sizes, files, str(sockets), f"{begun:.0f}"]
    print(*line, flush=True)
    return line


if __name__ == "__main__":
    main()
