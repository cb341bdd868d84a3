"""Starts one run for each topic, at most two at a time, and reads all answers in one task."""

from __future__ import annotations

import pendulum
from airflow.sdk import dag, task

from airflow_provider_crewai.operators import CrewKickoffOperator


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), tags=["crewai"])
def crewai_fan_out() -> None:
    """Brief on several topics."""

    @task
    def topics() -> list[dict[str, str]]:
        """Return the topics; in real life, a query."""
        return [{"topic": topic, "audience": "analysts"} for topic in ("Tides", "Turbines", "Tariffs")]

    briefs = CrewKickoffOperator.partial(
        task_id="brief",
        deferrable=True,
        # Runs cost money, and deployments have limits. A deferred task still counts here.
        max_active_tis_per_dagrun=2,
    ).expand(inputs=topics())

    @task
    def digest(answers: list[dict[str, object] | str]) -> int:
        """Use all answers: count them, in this example."""
        return len(list(answers))

    digest(briefs.output)


crewai_fan_out()
