"""Runs the crew for each of 200 rows of a table, in one task, and joins the answers back to their rows."""

from __future__ import annotations

from typing import Any

import pendulum
from airflow.sdk import Param, dag, task

from airflow_provider_crewai.answers import read_answer
from airflow_provider_crewai.operators import CrewBatchOperator

ROWS = Param(200, type="integer", minimum=1, description="How many rows are worked on. Each is a paid run.")


@dag(schedule=None, start_date=pendulum.datetime(2026, 1, 1, tz="UTC"), tags=["crewai"], params={"rows": ROWS})
def crewai_batch() -> None:
    """Write a brief on each port of a table."""

    @task
    def read_rows(params: dict[str, int]) -> list[dict[str, Any]]:
        """Return the rows; in real life, a query for those that have no brief yet."""
        numbers = range(1, params["rows"] + 1)
        return [{"id": number, "port": f"Port {number}", "readers": "sailors"} for number in numbers]

    @task
    def inputs_of(rows: list[dict[str, Any]]) -> list[dict[str, str]]:
        """Return the crew's inputs, an object for each row."""
        return [{"topic": f"Tides in {row['port']}", "audience": row["readers"]} for row in rows]

    rows = read_rows()
    briefs = CrewBatchOperator(
        task_id="briefs",
        inputs=inputs_of(rows),
        max_concurrency=20,
        allow_failures=0.05,  # a share: up to 10 of 200 rows may stay without an answer
        retries=2,  # a retry runs the crew for those rows alone that have no answer
        deferrable=True,
    )

    @task
    def write_back(rows: list[dict[str, Any]], results: Any) -> int:
        """Join each result to its row: both are in the same order. In real life, this updates the table."""
        done = 0
        for row, result in zip(rows, read_answer(results), strict=True):
            if result["state"] == "succeeded":
                row["brief"] = result["answer"]
                done += 1
            else:
                print(f"Row {row['id']} has no brief ({result['state']}): {result['error']}")
        return done

    write_back(rows, briefs.output)


crewai_batch()
