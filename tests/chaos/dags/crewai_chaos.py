"""Dags for `scripts/chaos`: one for each way of waiting and of coming back. The topic names the fault."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import pendulum
import structlog
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator

TOPIC = {"topic": "{{ dag_run.conf['topic'] }}", "audience": "{{ dag_run.conf.get('audience', 'nobody') }}"}


class SlowStream:
    """A log stream that takes long over the lines about a run, as a full pipe or a slow disk does."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, line: bytes) -> Any:
        written = self._stream.write(line)
        if b"of 3 done" in line:
            time.sleep(60)
        return written


def write_slowly(_context: Any) -> None:
    """Make the task's log slow from now on."""
    factory = structlog.get_config()["logger_factory"]
    factory.io = SlowStream(factory.io)


def chaos_dag(name: str, **options: Any) -> None:
    """Make a Dag with one task, retried at once."""
    with DAG(f"chaos_{name}", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")):
        arguments = {"inputs": TOPIC, "retries": 2, "retry_delay": timedelta(seconds=1), **options}
        CrewKickoffOperator(task_id="crew", **arguments)


chaos_dag("sync", deferrable=False)
chaos_dag("deferred", deferrable=True)
chaos_dag("orphan_rerun", deferrable=False, on_orphaned_kickoff="rerun")
chaos_dag("reattach", deferrable=True, on_clear="reattach")
chaos_dag("leave", deferrable=True, on_kill="leave")
chaos_dag("asks", deferrable=True, human_input=True)
chaos_dag("unreachable", deferrable=True, unreachable_timeout=6.0, retries=0)
chaos_dag(
    "edited",
    deferrable=False,
    inputs={**TOPIC, "audience": "try {{ ti.try_number }}"},
)
chaos_dag(
    "edited_fail",
    deferrable=False,
    inputs={**TOPIC, "audience": "try {{ ti.try_number }}"},
    on_changed_inputs="fail",
)

chaos_dag("slow_log", deferrable=False, retries=0, pre_execute=write_slowly)

with DAG("chaos_few", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")):
    CrewKickoffOperator.partial(task_id="crew", deferrable=True, retries=1).expand(
        inputs=[{**TOPIC, "audience": f"reader {number}"} for number in range(2)]
    )

with DAG("chaos_mapped", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")):
    CrewKickoffOperator.partial(task_id="crew", deferrable=True, retries=1).expand(
        inputs=[{**TOPIC, "audience": f"reader {number}"} for number in range(50)]
    )
