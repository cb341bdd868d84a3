"""A function makes the crew's inputs, and the next task reads what the run took."""

from __future__ import annotations

import pendulum
from airflow.sdk import dag, get_current_context, task


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), tags=["crewai"])
def crewai_decorated() -> None:
    """Brief on what another task found."""

    @task
    def region() -> str:
        """Return the region; in real life, a query."""
        return "Brittany"

    @task.crew(deferrable=True, retries=1)  # type: ignore[attr-defined]  # Airflow's types know no provider's decorators
    def brief(region: str) -> dict[str, str]:
        """Return the crew's inputs."""
        return {"topic": f"Tides in {region}", "audience": "sailors"}

    @task
    def report(answer: dict[str, object] | str) -> str:
        """Say how long the run took, and how many tokens."""
        run = get_current_context()["ti"].xcom_pull(task_ids="brief", key="crew_run")
        tokens = run["usage"].get("total_tokens", "no known number of")
        return f"{len(str(answer))} characters after {run['duration']} seconds and {tokens} tokens"

    report(brief(region()))


crewai_decorated()
