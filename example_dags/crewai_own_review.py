"""A review process of your own: people answer in a chat, a mail or a form, and not in Airflow's Required Actions.

While one task waits for the run, another one waits until the run asks a human, and gives it what the people said. If
the crew asks nothing, that branch is skipped. A deployment hides what a crew asks: there your own webhook must tell it.
"""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import DAG, PokeReturnValue, task

from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.operators import CrewKickoffOperator, CrewResumeOperator

with DAG(
    "crewai_own_review",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    tags=["crewai"],
):
    CrewKickoffOperator(
        task_id="brief",
        inputs={"topic": "Tides in Brittany", "audience": "sailors"},
        deferrable=True,
    )

    @task.sensor(poke_interval=2, timeout=60 * 60, mode="reschedule")
    def asked(ti: Any = None) -> PokeReturnValue:
        """Wait until the run asks a human, or is over."""
        kickoff_id = ti.xcom_pull("brief", key="kickoff_id")
        if kickoff_id is None:
            return PokeReturnValue(is_done=False)
        run = CrewHook().get_status(kickoff_id)
        told = (
            {"kickoff_id": kickoff_id, "id": run.question.task_id, "draft": run.question.output} if run.question else {}
        )
        return PokeReturnValue(is_done=bool(told) or run.state.is_final, xcom_value=told)

    @task.short_circuit
    def review(question: dict[str, str] | None) -> dict[str, str]:
        """Ask the people: here, a chat, a mail or a form would show the draft, and return what they say."""
        return {**question, "text": "Approved.", "by": "the editors"} if question else {}

    said = review(asked())
    CrewResumeOperator(
        task_id="answer",
        kickoff_id=said["kickoff_id"],
        question=said["id"],
        feedback=said["text"],
        by=said["by"],
        retries=3,
    )
