"""A human answers: what the crew asks is a Required Action of its task, and no slot is taken meanwhile.

The connection leads to a crew with a `Task(human_input=True)`, or to a flow with `@human_feedback`.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pendulum
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator


def tell(context: dict[str, Any]) -> None:
    """Tell where to answer; in real life, one of Airflow's notifiers for Slack or mail."""
    print(f"The crew asks: {context['question'].message} Answer at {context['action_url']}")


with DAG(
    "crewai_human_answers",
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1, tz="UTC"),
    tags=["crewai"],
):
    CrewKickoffOperator(
        task_id="brief",
        crewai_conn_id="crewai_review",
        inputs={"topic": "Tides in Brittany", "audience": "sailors"},
        deferrable=True,
        human_input=True,
        human_timeout=timedelta(days=2),
        on_question=tell,
    )
