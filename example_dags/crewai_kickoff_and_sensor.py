"""Starts a run in one task and waits for it in another, with other work in between."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG, task

from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.sensors import CrewStatusSensor

with DAG(
    "crewai_kickoff_and_sensor",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    tags=["crewai"],
):
    start = CrewKickoffOperator(
        task_id="start",
        inputs={"topic": "Harbour traffic", "audience": "port authorities"},
        wait_for_completion=False,
    )

    @task
    def meanwhile() -> str:
        """Do something else while the crew works."""
        return "other work"

    answer = CrewStatusSensor(
        task_id="answer",
        kickoff_id=start.output,  # type: ignore[arg-type]  # Airflow resolves it before the task runs
        timeout=2 * 60 * 60,
        deferrable=True,
    )

    start >> meanwhile() >> answer
