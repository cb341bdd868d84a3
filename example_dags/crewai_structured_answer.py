"""The crew's answer must be a `Brief`, and what it says decides which task comes next."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import dag, task
from pydantic import BaseModel

from airflow_provider_crewai.answers import read_answer
from airflow_provider_crewai.operators import CrewKickoffOperator

LONG = 2_000
"""Words."""


class Brief(BaseModel):
    """What the crew must answer. It may answer more."""

    title: str
    headings: list[str]
    words: int


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), tags=["crewai"])
def crewai_structured_answer() -> None:
    """Publish a brief, or have a long one shortened."""
    brief = CrewKickoffOperator(
        task_id="brief",
        inputs={"topic": "Tides", "audience": "sailors"},
        output_type=Brief,
        deferrable=True,
    )

    @task.branch
    def decide(answer: Any) -> str:
        """Choose by the length."""
        return "shorten" if read_answer(answer, Brief).words > LONG else "publish"

    @task
    def publish(answer: Any) -> str:
        """Say what is in it."""
        written = read_answer(answer, Brief)
        return f"{written.title}: {len(written.headings)} sections"

    @task
    def shorten(answer: Any) -> str:
        """Ask for a shorter one; in real life, another crew."""
        return f"{read_answer(answer, Brief).title} is too long"

    decide(brief.output) >> [publish(brief.output), shorten(brief.output)]


crewai_structured_answer()
