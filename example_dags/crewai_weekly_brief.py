"""Runs a crew each Monday, with inputs from the schedule, and uses its answer in the next task."""

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
    # Each run costs money. So nothing runs until somebody switches the Dag on, whatever the site's default is.
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
        """Use the crew's answer: print it and count its letters, in this example."""
        text = str(answer)
        print(text)
        return len(text)

    publish(brief.output)


crewai_weekly_brief()
