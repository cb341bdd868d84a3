"""The same many items twice: a mapped task for each, and one batch task for all."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, get_current_context, task

from airflow_provider_crewai.operators import CrewBatchOperator, CrewKickoffOperator

START = pendulum.datetime(2026, 1, 1, tz="UTC")
ARGUMENTS = {"task_id": "crew", "deferrable": True}


@task
def items() -> list[dict[str, str]]:
    """List as many items as the Dag run's conf asks for."""
    return [{"item": f"item {number}"} for number in range(get_current_context()["dag_run"].conf["items"])]


with DAG("mapped", schedule=None, start_date=START):
    CrewKickoffOperator.partial(**ARGUMENTS).expand(inputs=items())

with DAG("batch", schedule=None, start_date=START):
    CrewBatchOperator(**ARGUMENTS, inputs=items(), max_concurrency=100)
