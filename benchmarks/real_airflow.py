"""A real Airflow for the benchmarks: PostgreSQL, LocalExecutor, a triggerer, and a deployment in a process of its own.

What Airflow costs is read off its processes: the CPU time of each component with all that it has started, and the rows
that the database has written.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "lib"))

from airflow_api import FINAL, DagRun, eventually
from airflow_home import COMPONENTS, PrivateAirflow, Settings
from postgres import Postgres
from processes import cpu_seconds
from stopping import stop_in_order
from timed_server import Far, deployment

DAGS = Path(__file__).parent / "dags"
SETTINGS = {
    "core": {"parallelism": "8", "max_active_tasks_per_dag": "2000", "max_map_length": "10000"},
    # As Airflow has it, unlike the harness: how often an idle scheduler looks counts here.
    "scheduler": {"scheduler_idle_sleep_time": "1", "task_instance_heartbeat_timeout": "300"},
    "triggerer": {"triggerer_health_check_threshold": "60"},
}


@dataclass(frozen=True)
class Spent:
    """What Airflow has used up: wall seconds, CPU seconds by component, and rows written by table."""

    seconds: float
    cpu: Counter[str]
    rows: Counter[str]

    def since(self, earlier: Spent) -> Spent:
        """Return what has been used up since then."""
        rows, cpu = Counter(self.rows), Counter(self.cpu)
        rows.subtract(earlier.rows)
        cpu.subtract(earlier.cpu)
        return Spent(self.seconds - earlier.seconds, cpu, rows)

    @property
    def total(self) -> float:
        """Return the CPU seconds of all components and the database."""
        return sum(self.cpu.values())


@dataclass(frozen=True)
class RealAirflow:
    """Airflow, its database, and the deployment that its crews run on."""

    airflow: PrivateAirflow
    database: Postgres
    far: Far

    def spent(self) -> Spent:
        """Return what it has used up since its start."""
        cpu = Counter({name: cpu_seconds(self.airflow.component(name)) for name in COMPONENTS})
        cpu["database"] = cpu_seconds(self.database.server)
        return Spent(time.monotonic(), cpu, Counter(self.database.rows_written()))

    def finish(self, run: DagRun, patience: float) -> str:
        """Wait until a Dag run has ended, without asking so often that it costs anything; return its state."""

        def ended() -> str | None:
            return state if (state := run.state()) in FINAL else None

        return eventually(ended, f"{run.dag_id} to end", patience, interval=2)


@contextmanager
def real_airflow(*dags: str, settings: Settings = {}) -> Iterator[RealAirflow]:  # noqa: B006 - nobody changes it
    """Start all, with these settings beside ours, and wait until these Dags are known."""
    stop_in_order()
    with tempfile.TemporaryDirectory(prefix="crewai-benchmark-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with deployment(folder) as far, Postgres() as database:
            # The components inherit what they trust.
            os.environ |= {"SSL_CERT_FILE": str(far.certificate), "REQUESTS_CA_BUNDLE": str(far.certificate)}
            place = {"database": {"sql_alchemy_conn": database.url}}
            home = PrivateAirflow(folder / "airflow", DAGS, far.connections, {**SETTINGS, **settings, **place})
            with home as airflow:
                for dag in dags:
                    airflow.api.wait_for_dag(dag)
                yield RealAirflow(airflow, database, far)


def show(heads: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    for cells in (heads, ["---"] * len(heads), *rows):
        print(f"| {' | '.join(map(str, cells))} |")
    print(flush=True)
