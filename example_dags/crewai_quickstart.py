"""The shortest way to run a crew from a Dag."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator

with DAG("crewai_quickstart", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), tags=["crewai"]):
    CrewKickoffOperator(
        task_id="brief",
        inputs={"topic": "Durable workflows", "audience": "data engineers"},
        deferrable=True,
    )
