"""Tasks in every state that a page of a run can show. `topic_crew.py` says what becomes of a topic."""

import pendulum
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_provider_crewai.operators import CrewBatchOperator, CrewKickoffOperator

START = pendulum.datetime(2026, 1, 1, tz="UTC")

with DAG("crew_pages", schedule=None, start_date=START):
    for topic in ("fails", "runs", "asks", "succeeds", "vanishes", "hostile", "forgotten"):
        CrewKickoffOperator(
            task_id=topic,
            inputs={"topic": topic, "api_key": "sk-do-not-show"},
            human_input_webhook="https://example.com/hook" if topic == "asks" else None,
            deferrable=True,
        )
    CrewKickoffOperator(task_id="late", inputs={"topic": "runs"}, timeout=4, deferrable=False)
    CrewKickoffOperator.partial(task_id="mapped", deferrable=True).expand(
        inputs=[{"topic": "runs"}, {"topic": "fails"}]
    )
    CrewBatchOperator(
        task_id="batch_runs",
        inputs=[{"topic": topic} for topic in (*["succeeds"] * 6, "fails", *["runs"] * 5)],
        max_concurrency=4,
        deferrable=True,
    )
    CrewBatchOperator(
        task_id="batch_fails",
        inputs=[{"topic": topic, "api_key": "sk-do-not-show"} for topic in ("succeeds", "fails", "hostile")],
        deferrable=True,
    )
    EmptyOperator(task_id="not_ours")
