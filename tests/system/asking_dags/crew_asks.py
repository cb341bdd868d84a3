"""Tasks whose crews ask people: one in rounds, one with outcomes, three at once, and one that only a webhook tells."""

import json
import os
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator

ASKING: dict[str, Any] = {"deferrable": True, "human_input": True, "poll_interval": 1.0}
READERS = ("sailors", "surfers", "swimmers")


def note(context: Any) -> None:
    """Write down what is told when a question opens."""
    told = {"message": context["question"].message, "url": context["action_url"]}
    with Path(os.environ["AIRFLOW_HOME"], f"told-{context['ti'].task_id}").open("a") as notes:
        notes.write(json.dumps(told) + "\n")


with DAG("crew_asks", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")):
    CrewKickoffOperator(
        task_id="rounds",
        crewai_conn_id="crewai_crew",
        inputs={"topic": "Tides", "audience": "everybody"},
        on_question=note,
        **ASKING,
    )
    CrewKickoffOperator(task_id="outcomes", crewai_conn_id="crewai_flow", inputs={"title": "Tides"}, **ASKING)
    CrewKickoffOperator.partial(task_id="mapped", crewai_conn_id="crewai_crew", **ASKING).expand(
        inputs=[{"topic": "Tides", "audience": reader} for reader in READERS]
    )
    CrewKickoffOperator(
        task_id="silent",
        crewai_conn_id="crewai_strict",
        inputs={"topic": "Tides", "audience": "nobody"},
        **ASKING,
    )
