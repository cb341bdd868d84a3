"""What a task leaves behind about its batch: the XCom `crew_batch`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.execution_time import comms
from crew_tasks import FAST
from in_memory import Airflow
from jsonschema import Draft202012Validator
from scripted_crew import LOST, Asked, ScriptedCrew, error, failure, success

from airflow_provider_crewai.client.batch_record import ItemState, Left
from airflow_provider_crewai.operators import CrewBatchOperator

if TYPE_CHECKING:
    from conftest import Clock

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "crew_batch.schema.json").read_text())
TOPICS = [{"topic": topic} for topic in ("tides", "winds", "stars", "maps", "knots")]


def batch(**options: Any) -> CrewBatchOperator:
    return CrewBatchOperator(**{"task_id": "briefs", "inputs": TOPICS, "max_concurrency": 2, **FAST, **options})


def checked(value: Any) -> Any:
    """Return what was left behind, once it is seen to keep to its contract."""
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)
    assert set(value) == set(SCHEMA["required"]) == set(SCHEMA["properties"])
    return value


def odd_ones(crew: ScriptedCrew) -> None:
    """Let the run of one topic fail, refuse another, and lose the answer to a third."""

    def script(asked: Asked) -> Any:
        topic = asked.body["inputs"]["topic"]
        crew.story(
            "RUNNING", failure("no tides") if topic == "tides" else success() | {"usage_metrics": {"total_tokens": 7}}
        )
        return {"winds": error(422, "no winds, please"), "stars": LOST}.get(topic)

    crew.always("/kickoff", script)


def test_a_task_leaves_behind_what_became_of_its_items(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    odd_ones(crew)
    ti = airflow.task(batch(allow_failures=3))
    assert ti.finish().state == "success"
    left = checked(ti.xcom("crew_batch"))
    assert left["count"] == {"failed": 1, "refused": 1, "left": 1, "succeeded": 2}
    told = [(each["item"], each["state"], each["kickoff_id"]) for each in left["without_an_answer"]]
    assert [told[0][:2], told[1], told[2]] == [(0, "failed"), (1, "refused", None), (2, "may_have_started", None)]
    assert told[0][2]
    assert (left["items"], left["tokens"], left["runs"], left["expected_end"]) == (5, 14, [], None)
    assert ti.xcom("crew_batch_id") == left["batch_id"]


def test_after_a_failure_it_holds_what_a_person_is_told(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    odd_ones(crew)
    ti = airflow.task(batch())
    outcome = ti.finish()
    left = checked(ti.xcom("crew_batch"))
    assert list(outcome.verdict) == left["said"]
    assert any("Item 0" in line and "no tides" in line for line in left["said"])


def test_while_it_waits_its_log_leads_to_its_page(
    airflow: Airflow, crew: ScriptedCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
    crew.story("RUNNING")
    ti = airflow.task(batch(deferrable=True))
    outcome = ti.run()
    assert outcome.state == "deferred"
    said = checked(ti.xcom("crew_batch"))["said"]
    assert said[-1].startswith("Look: https://airflow.example/crewai/runs/")
    assert all(line in outcome.text for line in said)


def test_it_tells_at_each_wave_how_far_the_batch_is(airflow: Airflow, crew: ScriptedCrew) -> None:
    pushed: list[Any] = []

    def listen(message: Any) -> None:
        if isinstance(message, comms.SetXCom) and message.key == "crew_batch":
            pushed.append(checked(message.value))

    airflow.before = listen
    crew.story("RUNNING", success())
    assert airflow.task(batch()).finish().state == "success"
    done = [each["count"].get("succeeded", 0) for each in pushed]
    assert done == sorted(done)
    assert done[-1] == 5
    assert pushed[0]["runs"] == ["run-1", "run-2"]
    assert pushed[0]["usual_duration"] is None
    assert pushed[1]["expected_end"]


def test_the_schema_names_each_state() -> None:
    assert set(SCHEMA["properties"]["count"]["properties"]) == {state.name.lower() for state in ItemState}
    without = SCHEMA["properties"]["without_an_answer"]["items"]["properties"]["state"]["enum"]
    left = {why.name.lower() for why in Left}
    ended = {state.name.lower() for state in ItemState if state.is_failure and state is not ItemState.LEFT}
    assert set(without) == left | ended
