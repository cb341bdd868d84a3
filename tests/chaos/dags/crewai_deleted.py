"""A Dag whose file `scripts/chaos` deletes while its task waits."""

from __future__ import annotations

from datetime import timedelta

import pendulum
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewKickoffOperator

with DAG("chaos_deleted", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")):
    CrewKickoffOperator(
        task_id="crew",
        inputs={"topic": "{{ dag_run.conf['topic'] }}", "audience": "nobody"},
        deferrable=True,
        retries=2,
        retry_delay=timedelta(seconds=1),
    )
