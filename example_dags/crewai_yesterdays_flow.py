"""A flow goes on each day where it ended the day before. If the deployment has lost that state, a task says so.

The connection `crewai_flow` leads to a flow that keeps its state and answers how often it has counted, such as:

    @persist()
    class CountingFlow(Flow[Count]):
        @start()
        def count(self) -> int:
            self.state.times += 1
            return self.state.times
"""

from __future__ import annotations

import pendulum
from airflow.sdk import dag, get_current_context, task

from airflow_provider_crewai.operators import CrewKickoffOperator

YESTERDAY = "(ti.xcom_pull(task_ids='check', map_indexes=-1, include_prior_dates=True) or {}).get('kickoff_id')"
"""The run that the task `check` of an earlier Dag run has found in order."""


@dag(
    schedule="@daily",
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    catchup=False,
    # Each day's run needs the one before.
    max_active_runs=1,
    # Each run costs money. So nothing runs until somebody switches the Dag on, whatever the site's default is.
    is_paused_upon_creation=True,
    tags=["crewai"],
)
def crewai_yesterdays_flow() -> None:
    """Count one more each day."""
    count = CrewKickoffOperator(
        task_id="count",
        crewai_conn_id="crewai_flow",
        # None in the first Dag run; then the field is left out.
        restore_from_state_id="{{ " + YESTERDAY + " }}",
        output_type=int,
        deferrable=True,
    )

    @task
    def check(times: int) -> dict[str, int | str]:
        """Compare the answer with the day before's: without that state the flow silently starts from its defaults."""
        ti = get_current_context()["ti"]
        before = ti.xcom_pull(task_ids="check", map_indexes=-1, include_prior_dates=True)
        if before and times <= before["times"]:
            raise ValueError(f"The flow counted {times}, after {before['times']}: its state was lost.")
        return {"times": times, "kickoff_id": ti.xcom_pull(task_ids="count", key="kickoff_id")}

    check(count.output)  # type: ignore[arg-type]  # Airflow resolves it before the task runs


crewai_yesterdays_flow()
