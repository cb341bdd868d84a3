"""Dags for `scripts/chaos`: batches of six, three at a time. The topic names the fault."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewBatchOperator

TOPIC = "{{ dag_run.conf['topic'] }}"
READERS = [{"topic": TOPIC, "audience": f"reader {number}"} for number in range(6)]
# On each try the first reader is another's, and there is a new last one.
OTHER_READERS = [{"topic": TOPIC, "audience": f"reader {{{{ ti.try_number + {number} }}}}"} for number in range(6)]


def batch_dag(name: str, **options: Any) -> None:
    """Make a Dag with one batch, retried at once."""
    with DAG(f"chaos_{name}", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")):
        arguments = {"inputs": READERS, "max_concurrency": 3, "retries": 2, "retry_delay": timedelta(seconds=1)}
        CrewBatchOperator(task_id="crew", **arguments | options)


batch_dag("batch", deferrable=True)
batch_dag("batch_sync", deferrable=False)
batch_dag("batch_orphan_rerun", deferrable=True, on_orphaned_kickoff="rerun")
batch_dag("batch_allows_one", deferrable=True, allow_failures=1)
batch_dag("batch_reattach", deferrable=True, on_clear="reattach")
batch_dag("batch_leave", deferrable=True, on_kill="leave")
batch_dag("batch_edited", deferrable=False, inputs=OTHER_READERS)
batch_dag("batch_edited_fail", deferrable=False, inputs=OTHER_READERS, on_changed_inputs="fail")
