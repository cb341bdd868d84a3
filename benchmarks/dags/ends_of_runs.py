"""Runs of a crew and jobs of dbt Cloud, in turn, looked at as often as each other."""

from __future__ import annotations

import pendulum
from airflow.providers.dbt.cloud.operators.dbt import DbtCloudRunJobOperator
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator

START = pendulum.datetime(2026, 1, 1, tz="UTC")
INTERVAL = 5
MANY = 30

with DAG("ends_of_runs", schedule=None, start_date=START):
    CrewKickoffOperator.partial(
        task_id="crew", deferrable=True, poll_interval=INTERVAL, max_poll_interval=INTERVAL
    ).expand(inputs=[{"item": f"item {number}"} for number in range(MANY)])
    DbtCloudRunJobOperator.partial(task_id="dbt", deferrable=True, check_interval=INTERVAL).expand(
        job_id=list(range(1, MANY + 1))
    )
