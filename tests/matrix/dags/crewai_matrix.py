"""Each way to run a crew, one after the other: what `scripts/matrix` runs on each Airflow and Python."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pendulum
from airflow.providers.common.compat.sdk import DAG, BaseOperator  # the same name on each Airflow

from airflow_provider_crewai.answers import read_answer
from airflow_provider_crewai.decorators import CrewBatchDecoratedOperator
from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.sensors import CrewStatusSensor
from airflow_provider_crewai.wire.model import Kickoff


class Task(CrewKickoffOperator):
    def execute_complete(self, context: Any, event: Any = None, **carried: Any) -> Any:
        context["ti"].xcom_push(key="came back", value=True)
        return super().execute_complete(context, event, **carried)


class Sensor(CrewStatusSensor):
    # Waits for a run that it starts just before: on a slow machine one that another task started has ended by then.

    def execute(self, context: Any) -> Any:
        started = CrewHook().kickoff(Kickoff({"topic": "Matrices", "audience": "matrix"}))
        context["ti"].xcom_push(key="started", value=started)
        return super().execute(context)

    def recall(self, context: Any) -> Any:
        self.kickoff_id = context["ti"].xcom_pull(task_ids=self.task_id, key="started")
        return super().recall(context)

    def execute_complete(self, context: Any, event: Any = None, **carried: Any) -> Any:
        context["ti"].xcom_push(key="came back", value=True)
        return super().execute_complete(context, event, **carried)


class Batch(CrewBatchDecoratedOperator):
    def execute_complete(self, context: Any, event: Any = None, **carried: Any) -> Any:
        context["ti"].xcom_push(key="came back", value=True)
        return super().execute_complete(context, event, **carried)


def listed() -> list[dict[str, str]]:
    return [{"topic": "Matrices", "audience": audience} for audience in ("rows", "columns", "ranks")]


class Recovery(CrewKickoffOperator):
    def await_run(self, context: Any, wait: Any, **seen: Any) -> Any:
        with Path(sys.argv[1] + ".tries").open("a") as tries:
            tries.write(f"{wait.kickoff_id}\n")
        if context["ti"].try_number == 1:
            raise RuntimeError("the first try crashes once its run has started")
        return super().await_run(context, wait, **seen)


class Notes(BaseOperator):
    def execute(self, context: Any) -> None:
        ti = context["ti"]
        left = {name: ti.xcom_pull(task_ids=name) for name in ("sync", "deferrable", "sensor", "recovery", "batch")}
        notes = {name: read_answer(xcom) for name, xcom in left.items()}
        notes["deferrable is in a file"] = "crewai_manifest" in left["deferrable"]
        for name in ("deferrable", "sensor", "batch"):
            notes[f"{name} came back"] = ti.xcom_pull(task_ids=name, key="came back")
        notes["tries"] = Path(sys.argv[1] + ".tries").read_text().split()
        Path(sys.argv[1]).write_text(json.dumps(notes, default=str))


with DAG("matrix", schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC")) as dag:
    inputs, pace = {"topic": "Matrices", "audience": "{{ dag.dag_id }}"}, {"poll_interval": 0.5}
    # Each task whatever became of the one before it.
    sensor = Sensor(task_id="sensor", kickoff_id="as it starts", deferrable=True, **pace)
    typed, kept = {"output_type": dict[str, Any]}, {"result_path": f"file://{os.environ['AIRFLOW_HOME']}/answers"}
    sync = Task(task_id="sync", inputs=inputs, deferrable=False, trigger_rule="all_done", **typed, **pace)
    deferrable = Task(
        task_id="deferrable", inputs=inputs, deferrable=True, trigger_rule="all_done", **kept, max_xcom_bytes=0, **pace
    )
    recovery = Recovery(task_id="recovery", inputs=inputs, retries=1, retry_delay=0, trigger_rule="all_done", **pace)
    batch = Batch(
        task_id="batch", python_callable=listed, max_concurrency=2, deferrable=True, trigger_rule="all_done", **pace
    )
    sensor >> sync >> deferrable >> recovery >> batch >> Notes(task_id="notes", trigger_rule="all_done")

if __name__ == "__main__":
    dag.test()
