"""What others see of a run: the task's OpenTelemetry span, and OpenLineage."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.openlineage.extractors.manager import ExtractorManager
from airflow.utils.state import TaskInstanceState
from crew_tasks import brief, sensor
from in_memory import Airflow, TaskInstance
from openlineage.client.serde import Serde
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from scripted_crew import ScriptedCrew, failure, success

USAGE = {"total_tokens": 12, "prompt_tokens": 9, "completion_tokens": 3, "successful_requests": 2, "odd_count": 1}
BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


# ---- the span --------------------------------------------------------------------------------------


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """A span as Airflow's task runner makes it, around what a test does; ended spans are kept here."""
    kept, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    with provider.get_tracer("test").start_as_current_span("worker.brief"):
        yield kept
        trace.get_current_span().end()


def attributes(spans: InMemorySpanExporter) -> dict[str, Any]:
    trace.get_current_span().end()
    (span,) = spans.get_finished_spans()
    return dict(span.attributes or {})


@BOTH_WAYS
def test_the_span_of_the_task_says_which_run_it_was_how_it_ended_and_its_tokens(
    airflow: Airflow, crew: ScriptedCrew, spans: InMemorySpanExporter, deferrable: bool
) -> None:
    crew.story("RUNNING", success() | {"usage_metrics": USAGE})
    airflow.task(brief(deferrable=deferrable)).finish()
    assert attributes(spans) == {
        "crewai.kickoff_id": "run-1",
        "crewai.crew": crew.url,
        "crewai.ending": "succeeded",
        "crewai.usage.total_tokens": 12,
        "crewai.usage.successful_requests": 2,
        "gen_ai.operation.name": "invoke_workflow",
        "gen_ai.usage.input_tokens": 9,
        "gen_ai.usage.output_tokens": 3,
    }


def test_a_failure_is_on_the_span_too(airflow: Airflow, crew: ScriptedCrew, spans: InMemorySpanExporter) -> None:
    crew.now("run-1", failure("the model said no"))
    airflow.task(sensor()).finish()
    assert attributes(spans)["crewai.ending"] == "failed"


@pytest.mark.parametrize("tracing", [None, SimpleNamespace()], ids=["not loaded", "broken"])
def test_tracing_that_is_not_there_or_broken_fails_no_task(
    airflow: Airflow, crew: ScriptedCrew, monkeypatch: pytest.MonkeyPatch, tracing: Any
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", tracing)
    assert airflow.task(brief()).finish().state == "success"


# ---- lineage ---------------------------------------------------------------------------------------


def lineage(ti: TaskInstance, state: TaskInstanceState) -> dict[str, Any]:
    """Return the run facets that OpenLineage's provider takes from a task that ended."""
    task = ti.ran
    dag_run = SimpleNamespace(run_id=ti.run_id)
    found = ExtractorManager().extract_metadata(dag_run, task, state, SimpleNamespace(task=task))
    return {name: Serde.to_dict(facet) for name, facet in found.run_facets.items()}


@BOTH_WAYS
def test_the_lineage_of_a_task_names_its_run_its_crew_and_its_tokens(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.story("RUNNING", success() | {"usage_metrics": USAGE})
    ti = airflow.task(brief(deferrable=deferrable))
    ti.finish()
    facet = lineage(ti, TaskInstanceState.SUCCESS)["crewai_run"]
    assert {name: value for name, value in facet.items() if not name.startswith("_")} == {
        "kickoffId": "run-1",
        "crew": crew.url,
        "ending": "succeeded",
        "isOver": True,
        "usage": USAGE,
    }
    assert facet["_producer"]
    assert facet["_schemaURL"]


def test_the_lineage_of_a_failed_task_says_why(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", failure("the model said no") | {"usage_metrics": USAGE})
    ti = airflow.task(sensor())
    ti.finish()
    facet = lineage(ti, TaskInstanceState.FAILED)["crewai_run"]
    assert (facet["ending"], facet["error"], facet["usage"]) == ("failed", "the model said no", USAGE)


def test_a_task_that_has_no_run_has_no_facet(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief(crewai_conn_id="missing", timeout=0.1))
    assert ti.finish().state == "failed"
    assert lineage(ti, TaskInstanceState.FAILED) == {}
