"""Measures what the queries of a triggerer cost the database, up to 100,000 waiting tasks.

    python benchmarks/trigger_queries.py

About once a second each triggerer asks for its own tasks, and deletes the triggers that no task in all of Airflow
waits for. Both are Airflow's own code here, on a database with nothing but waiting tasks.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts" / "lib"))

from postgres import Postgres
from processes import cpu_seconds
from real_airflow import show

OWN = 5_000
"""So many of the tasks are the triggerer's own, or all where there are fewer."""
ROUNDS = 20
WAITING = """
with new as (insert into trigger (classpath, kwargs, created_date, triggerer_id)
             select 'a.Trigger', repeat('x', 600), now(), case when n < %s then 1 else 2 end
             from generate_series(%s, %s) as n returning id)
insert into task_instance (id, map_index, trigger_id, task_id, dag_id, run_id, state, pool, queue, try_number,
                           max_tries, pool_slots, span_status, updated_at)
select gen_random_uuid(), id, id, 'crew', 'a_dag', 'a_run', 'deferred', 'default_pool', 'default', 1, 1, 1, '', now()
from new
"""


def main() -> None:
    """Measure each number of tasks, and print a table."""
    with tempfile.TemporaryDirectory() as home, Postgres() as database:
        os.environ |= {"AIRFLOW_HOME": home, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database.url}
        os.environ |= {"AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
        from airflow.utils.db import initdb

        initdb()
        rows, before = [], 0
        for count in (1_000, 10_000, 100_000):
            # Dags and Dag runs are left out, so nothing may ask for them.
            database.ask("set session_replication_role = replica; " + WAITING, (OWN, before, count - 1))
            database.ask("analyze")
            before = count
            rows.append((f"{count:,}", *measure(database)))
    show(("waiting tasks", "ms of CPU: its own tasks", "unused triggers", "ms to wait for both"), rows)


def measure(database: Postgres) -> list[str]:
    """Return what a round of a triggerer costs the database, and how long it takes."""
    from airflow.models.trigger import Trigger

    def own() -> None:
        Trigger.assign_unassigned(1, OWN, 30)
        Trigger.ids_for_triggerer(1)

    own()
    Trigger.clean_unused()
    started, spent = time.monotonic(), [cpu_seconds(database.server)]
    for step in (own, Trigger.clean_unused):
        for _ in range(ROUNDS):
            step()
        spent.append(cpu_seconds(database.server))
    seconds = time.monotonic() - started
    parts = [after - first for first, after in pairwise(spent)]
    return [f"{1000 * each / ROUNDS:.1f}" for each in (*parts, seconds)]


if __name__ == "__main__":
    main()
