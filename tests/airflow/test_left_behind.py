"""What a task leaves behind about its run: the XCom `crew_run`, and metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk._shared.observability.metrics import stats
from airflow.sdk._shared.observability.metrics.base_stats_logger import NoStatsLogger
from crew_tasks import brief, sensor
from in_memory import Airflow, TaskInstance
from jsonschema import Draft202012Validator
from scripted_crew import ScriptedCrew, error, failure, success

from airflow_provider_crewai.client.watch import Verdict
from airflow_provider_crewai.in_airflow import metrics
from airflow_provider_crewai.wire.model import RunState

if TYPE_CHECKING:
    from conftest import Clock

SCHEMA = json.loads((Path(__file__).parents[2] / "docs" / "crew_run.schema.json").read_text())
TOLD = {
    "usage_metrics": {"total_tokens": 1234, "successful_requests": 3},
    "progress": {"completed": 2, "total": 3, "current": "write", "current_agent": "Writer"},
    "execution_origin": "api",
    "events_by_type": {"task_started": 3, "llm_call_started": 9},
}
SUCCESS, FAILURE = success() | TOLD, failure("the model said no") | TOLD
SLOWLY = {"poll_interval": 1, "max_poll_interval": 10}
"""Few looks while a clock jumps over a minute."""

GOING_ON = {"state": "RUNNING"} | TOLD
ENDINGS: dict[str, Any] = {"succeeded": SUCCESS, "failed": FAILURE, "stopped": {"state": "STOPPED"} | TOLD}


def left(ti: TaskInstance) -> dict[str, Any]:
    """Return what the task left behind, once it is seen to keep to its contract."""
    value = ti.xcom("crew_run")
    Draft202012Validator(SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(value)
    assert set(value) == set(SCHEMA["required"]) == set(SCHEMA["properties"])
    return value


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_task_leaves_behind_what_became_of_its_run(
    airflow: Airflow, crew: ScriptedCrew, ending: str, deferrable: bool
) -> None:
    crew.story("RUNNING", ENDINGS[ending])
    ti = airflow.task(brief(deferrable=deferrable))
    ti.finish()
    value = left(ti)
    assert value["duration"] >= 0
    assert value["started_at"] <= value["ended_at"] < value["deadline"]
    assert value["said"]
    assert value | {"duration": 0, "started_at": "", "ended_at": "", "deadline": "", "said": []} == {
        "kickoff_id": "run-1",
        "crew": crew.url,
        "ending": ending,
        "state": ending,
        "is_over": True,
        "said": [],
        "error": {"failed": "the model said no"}.get(ending),
        "started_at": "",
        "ended_at": "",
        "deadline": "",
        "duration": 0,
        "crew_tasks_done": 2,
        "crew_tasks_total": 3,
        "last_crew_task": "write",
        "question": None,
        "usage": TOLD["usage_metrics"],
        "execution_origin": "api",
        "events": TOLD["events_by_type"],
        "try_number": 1,
    }


def test_a_run_that_goes_on_is_not_over(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    crew.story(GOING_ON)
    ti = airflow.task(brief(timeout=60, **SLOWLY))
    ti.finish()
    value = left(ti)
    assert (value["ending"], value["state"], value["is_over"]) == ("timed_out", "running", False)
    assert value["duration"] == pytest.approx(60, abs=5)


def test_a_run_that_was_seen_to_end_stays_over_when_the_deployment_has_forgotten_it(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING", SUCCESS)
    ti = airflow.task(brief(deferrable=True, **SLOWLY))
    ti.run()
    event = ti.fire()
    crew.now("run-1", "NOT FOUND")
    outcome = ti.resume(event)
    assert "The run is over: " in outcome.told
    value = left(ti)
    assert (value["state"], value["is_over"]) == ("succeeded", True)


def test_the_schema_names_each_ending_and_each_state() -> None:
    assert set(SCHEMA["properties"]["ending"]["enum"]) == {
        *(set(Verdict) - {Verdict.ASKS}),
        "may_have_started",
        "not_started",
        None,
    }
    assert set(SCHEMA["properties"]["state"]["enum"]) == set(RunState)


def test_a_deployment_that_tells_little_leaves_little(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success())
    ti = airflow.task(brief())
    ti.finish()
    value = left(ti)
    assert (value["usage"], value["events"], value["execution_origin"], value["crew_tasks_total"]) == (
        {},
        {},
        None,
        None,
    )


def test_each_try_leaves_its_own(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(FAILURE)
    ti = airflow.task(brief(retries=1))
    ti.run()
    assert left(ti)["try_number"] == 1
    crew.story(SUCCESS)
    ti.finish()
    value = left(ti)
    assert (value["kickoff_id"], value["ending"], value["try_number"]) == ("run-2", "succeeded", 2)


def test_a_sensor_leaves_it_too_and_does_not_know_the_start(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", FAILURE)
    ti = airflow.task(sensor())
    ti.finish()
    value = left(ti)
    assert (value["ending"], value["started_at"], value["duration"]) == ("failed", None, None)


def test_an_xcom_that_cannot_be_pushed_hides_no_ending(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(FAILURE)
    ti = airflow.task(brief(wait_for_completion=True))

    def break_down(message: Any) -> None:
        if getattr(message, "key", "") == "crew_run":
            raise ConnectionError("the api-server is away")

    airflow.before = break_down
    outcome = ti.run()
    assert "The crew says: the model said no" in outcome.told
    assert "The XCom crew_run could not be pushed; the run is not affected" in outcome.text


class Counts:
    """Airflow's own metrics, kept here instead of sent."""

    def __init__(self) -> None:
        self.all: dict[str, float] = {}

    def incr(self, stat: str, count: int = 1, *_: Any, **__: Any) -> None:
        self.all[stat] = self.all.get(stat, 0) + count

    def timing(self, stat: str, dt: Any, **_: Any) -> None:
        self.all[stat] = dt

    def __getattr__(self, _: str) -> Any:
        return lambda *_, **__: None


@pytest.fixture
def counts() -> Iterator[dict[str, float]]:
    """What is counted during a test."""
    counting = Counts()
    stats.initialize(factory=lambda: counting, export_legacy_names=False)
    yield counting.all
    stats.initialize(factory=NoStatsLogger, export_legacy_names=False)


def ours(counts: dict[str, float]) -> dict[str, float]:
    return {name: count for name, count in counts.items() if name.startswith("crewai.")}


def test_a_run_is_counted_from_its_start_to_its_end(
    airflow: Airflow, crew: ScriptedCrew, counts: dict[str, float]
) -> None:
    crew.story("RUNNING", SUCCESS)
    airflow.task(brief(deferrable=True)).finish()
    found = ours(counts)
    assert found.pop("crewai.runs.seconds") >= 0
    looks = found.pop("crewai.looks")
    assert looks >= 2
    assert found == {"crewai.runs.started": 1, "crewai.runs.ended.succeeded": 1, "crewai.runs.tokens": 1234}


def test_a_run_that_goes_on_has_no_seconds_and_no_tokens_yet(
    airflow: Airflow, crew: ScriptedCrew, counts: dict[str, float], clock: Clock
) -> None:
    crew.story(GOING_ON)
    airflow.task(brief(timeout=60, **SLOWLY)).finish()
    found = ours(counts)
    assert found["crewai.runs.ended.timed_out"] == 1
    assert not {"crewai.runs.seconds", "crewai.runs.tokens"} & found.keys()


def test_the_readme_names_each_metric() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    ours = {name for name in vars(metrics).values() if isinstance(name, str) and name.startswith("crewai.")}
    said = set(re.findall(r"`(crewai\.(?:runs|looks|calls)[.\w]*)(?:<\w+>)?`", readme))
    assert {name.rstrip(".") for name in said} == ours


class Broken(Counts):
    """Metrics that fail for ours."""

    def incr(self, stat: str, *_: Any, **__: Any) -> None:
        if stat.startswith("crewai."):
            raise RuntimeError(stat)

    timing = incr


def test_broken_metrics_fail_no_task(airflow: Airflow, crew: ScriptedCrew, counts: dict[str, float]) -> None:
    stats.initialize(factory=Broken, export_legacy_names=False)
    crew.story("RUNNING", SUCCESS)
    assert airflow.task(brief(deferrable=True)).finish().state == "success"
    assert not counts


def test_looks_that_fail_are_counted_apart(airflow: Airflow, crew: ScriptedCrew, counts: dict[str, float]) -> None:
    crew.once("/status", error(500, "away"))
    crew.story(SUCCESS)
    airflow.task(brief()).finish()
    assert ours(counts)["crewai.looks.failed"] == 1
