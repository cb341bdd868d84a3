"""Keeps the crew's answer in object storage, and reads it from there in the next task."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import dag, task

from airflow_provider_crewai.answers import read_answer
from airflow_provider_crewai.operators import CrewKickoffOperator


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), tags=["crewai"])
def crewai_large_answer() -> None:
    """Brief at length."""
    brief = CrewKickoffOperator(
        task_id="brief",
        inputs={"topic": "All tides of the world", "audience": "oceanographers"},
        # In real life, a bucket: s3://connection@bucket/answers/{{ ds }}. A folder does if all workers share it.
        result_path="{{ var.value.get('crewai_answers', 'file:///tmp/crewai-answers') }}/{{ run_id }}",
        # Each answer goes there, however small. Without this, those above 1 MiB do.
        max_xcom_bytes=0,
        deferrable=True,
    )

    @task
    def count(answer: Any) -> int:
        """Read the answer, wherever it is."""
        return len(str(read_answer(answer)))

    count(brief.output)


crewai_large_answer()
