"""One task that waits for a run without an end."""

from __future__ import annotations

import pendulum
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator

with DAG("one_that_waits", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")):
    CrewKickoffOperator(task_id="crew", inputs={"item": "one"}, deferrable=True, timeout=None)
