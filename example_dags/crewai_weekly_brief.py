"""A crew that runs each Monday, with inputs from the schedule, and a task that uses its answer."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import dag, task

from airflow_provider_crewai.operators import CrewKickoffOperator


@dag(
    schedule="0 6 * * 1",
    start_date=pendulum.datetime(2026, 1, 5, tz="UTC"),
    catchup=False,
    max_active_runs=1,
    # Each run costs money: it starts by itself only once somebody has switched it on, whatever the site's default.
    is_paused_upon_creation=True,
    params={"audience": "the data team"},
    tags=["crewai"],
)
def crewai_weekly_brief() -> None:
    """Brief the team each week."""
    brief = CrewKickoffOperator(
        task_id="brief",
        inputs={"topic": "The week before {{ data_interval_end | ds }}", "audience": "{{ params.audience }}"},
        meta={"owner": "data-platform"},
        validate_inputs=True,
        timeout=timedelta(hours=2),
        retries=2,
        deferrable=True,
    )

    @task
    def publish(answer: dict[str, object] | str) -> int:
        """Use the crew's answer: here, print it and count its letters."""
        text = str(answer)
        print(text)
        return len(text)

    publish(brief.output)


crewai_weekly_brief()
