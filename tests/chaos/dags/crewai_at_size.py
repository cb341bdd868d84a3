"""Dags for `scripts/chaos --large`: hundreds of mapped tasks. The topic names the row."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator

TOPIC = "{{ dag_run.conf['topic'] }}"
START = pendulum.datetime(2026, 1, 1, tz="UTC")


def mapped_dag(name: str, count: int, **options: Any) -> None:
    """Make a Dag with one task for each of so many readers."""
    with DAG(f"chaos_{name}", schedule=None, start_date=START):
        arguments = {"task_id": "crew", "deferrable": True, "retries": 1, "retry_delay": 1, **options}
        CrewKickoffOperator.partial(**arguments).expand(inputs=[reader(number) for number in range(count)])


def reader(number: int) -> dict[str, str]:
    """Write for one reader."""
    return {"topic": TOPIC, "audience": f"reader {number}"}


mapped_dag("500", 500, poll_interval=10)
mapped_dag("200", 200)
mapped_dag("100", 100)

with DAG("chaos_100_deadlines", schedule=None, start_date=START):
    # Those with odd numbers wait for runs that never end.
    CrewKickoffOperator.partial(task_id="crew", deferrable=True, retries=0).expand_kwargs(
        [{"inputs": reader(number), "timeout": 150.0 if number % 2 else 3600.0} for number in range(100)]
    )
