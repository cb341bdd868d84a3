"""`@task.crew`, `@task.crew_batch`: the function's inputs reach the crew, and the task is one that runs a crew in all else."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from airflow.sdk import DAG, task
from crew_tasks import FAST, worker_dies_at
from in_memory import Airflow
from scripted_crew import INPUTS, ScriptedCrew, success

from airflow_provider_crewai.decorators import crew_batch_task, crew_task
from airflow_provider_crewai.wire.model import Kickoff

OTHER = {**INPUTS, "topic": "Tides"}
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def decorated(function: Any, *arguments: Any, **options: Any) -> Any:
    """Make the task of a decorated function in a Dag of its own."""
    with DAG("tides", schedule=None, start_date=BEGINNING):
        return crew_task(**{"task_id": "brief", **FAST, **options})(function)(*arguments).operator


def inputs() -> dict[str, Any]:
    return dict(INPUTS)


def test_the_crew_gets_the_inputs_that_the_function_returns(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success("all about tides"))
    ti = airflow.task(decorated(lambda topic: {**INPUTS, "topic": topic}, "Tides"))
    assert ti.finish().state == "success"
    assert [body["inputs"] for body in crew.kickoffs] == [OTHER]
    assert ti.xcom("return_value") == "all about tides"
    assert ti.xcom("kickoff_id") == "run-1"


def test_a_kickoff_replaces_the_arguments_of_the_task(airflow: Airflow, crew: ScriptedCrew) -> None:
    told = Kickoff(OTHER, crew_webhook_url="https://example.test/crew", meta={"team": "data"})
    ti = airflow.task(decorated(lambda: told, meta={"team": "nobody"}))
    assert ti.finish().state == "success"
    (body,) = crew.kickoffs
    assert body["inputs"] == OTHER
    assert body["crewWebhookUrl"] == "https://example.test/crew"
    assert body["meta"]["team"] == "data"


def test_a_human_whom_the_kickoff_names_is_waited_for_after_a_deferral(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    told = Kickoff(OTHER, human_input_webhook="https://example.test/human")
    ti = airflow.task(decorated(lambda: told, deferrable=True))
    assert ti.run().state == "deferred"
    assert ti.trigger().patience.human_input
    ti.task.human_input_webhook = None  # Airflow comes back to a task made anew from the Dag's file
    crew.now("run-1", "RUNNING")
    assert ti.resume({}).state == "deferred"
    assert ti.trigger().patience.human_input


def test_what_json_cannot_hold_is_refused_before_money_is_spent(airflow: Airflow, crew: ScriptedCrew) -> None:
    outcome = airflow.task(decorated(lambda: {"when": BEGINNING})).run()
    assert outcome.state == "failed"
    assert "inputs['when'] is a datetime" in outcome.told
    assert crew.kickoffs == []


@pytest.mark.parametrize("returned", [None, "", [1]])
def test_no_inputs_are_refused(airflow: Airflow, crew: ScriptedCrew, returned: Any) -> None:
    outcome = airflow.task(decorated(lambda: returned)).run()
    assert outcome.state == "failed"
    assert "inputs" in outcome.told
    assert crew.kickoffs == []


def test_a_retry_takes_up_the_run_although_the_function_is_called_again(airflow: Airflow, crew: ScriptedCrew) -> None:
    calls = []

    def counted() -> dict[str, Any]:
        calls.append(1)
        return dict(INPUTS)

    crew.story("RUNNING")
    ti = airflow.task(decorated(counted, retries=1))
    airflow.before = worker_dies_at("SetXCom", 2)  # the first is the link's
    assert ti.run().state == "up_for_retry"
    airflow.before = None
    crew.now("run-1", "RUNNING", success())
    assert ti.finish().state == "success"
    assert len(calls) == 2
    assert len(crew.kickoffs) == 1


def test_the_return_type_of_the_function_is_not_taken_for_that_of_the_answer() -> None:
    assert decorated(inputs).multiple_outputs is False
    assert decorated(inputs, multiple_outputs=True).multiple_outputs is True


def test_inputs_beside_the_function_are_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(TypeError, match=r"@task.crew takes no inputs: inputs\(\) returns them"):
        decorated(inputs, inputs=INPUTS)


def test_it_can_be_expanded_and_overridden() -> None:
    with DAG("tides", schedule=None, start_date=BEGINNING) as dag:

        @crew_task(task_id="brief", retries=2)
        def brief(topic: str, audience: str) -> dict[str, str]:
            return {"topic": topic, "audience": audience}

        brief.partial(audience="sailors").expand(topic=["Tides", "Wind"])
        brief.override(task_id="other", poll_interval=5)("Waves", "surfers")
    assert dag.get_task("brief").partial_kwargs["retries"] == 2
    assert dag.get_task("other").poll_interval == 5


def test_airflow_knows_it_as_task_crew(airflow: Airflow) -> None:
    assert task.crew is crew_task  # type: ignore[attr-defined]  # Airflow's types know no provider's


# ---- @task.crew_batch -------------------------------------------------------------------------------


def listed(*topics: str) -> list[dict[str, Any]]:
    return [{**INPUTS, "topic": topic} for topic in topics]


def batched(function: Any, *arguments: Any, **options: Any) -> Any:
    """Make the task of a function that returns a list, in a Dag of its own."""
    with DAG("tides", schedule=None, start_date=BEGINNING):
        made = crew_batch_task(**{"task_id": "briefs", "max_concurrency": 2, **FAST, **options})(function)
        return made(*arguments).operator


def topics(crew: ScriptedCrew) -> list[str]:
    return [kickoff["inputs"]["topic"] for kickoff in crew.kickoffs]


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_the_crew_is_run_for_each_item_of_the_list_from_one_call(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    calls: list[str] = []

    def fewer_each_time(*given: str) -> list[dict[str, Any]]:
        calls.extend(given)
        return listed(*given)[: len(given) - len(calls) // len(given) + 1]

    crew.story("RUNNING", success("An answer."))
    ti = airflow.task(batched(fewer_each_time, "tides", "winds", "stars", deferrable=deferrable))
    assert ti.finish().state == "success"
    assert topics(crew) == ["tides", "winds", "stars"]
    assert [result["answer"] for result in ti.answer] == ["An answer."] * 3
    assert calls == ["tides", "winds", "stars"]


def test_a_retry_calls_the_function_again_and_keeps_what_is_done(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success())
    lists = [listed("tides", "winds"), listed("winds", "stars")]
    ti = airflow.task(batched(lambda: lists.pop(0), retries=1))
    airflow.before = worker_dies_at("SetXCom", 4)  # its last, after both runs
    assert ti.run().state == "up_for_retry"
    airflow.before = None
    assert ti.finish().state == "success"
    assert topics(crew) == ["tides", "winds", "stars"]


@pytest.mark.parametrize("returned", [None, {"topic": "Tides"}, [1]])
@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_what_is_no_list_of_inputs_is_refused(
    airflow: Airflow, crew: ScriptedCrew, returned: Any, deferrable: bool
) -> None:
    outcome = airflow.task(batched(lambda: returned, deferrable=deferrable)).run()
    assert outcome.state == "failed"
    assert "inputs" in outcome.told
    assert crew.kickoffs == []


def test_arguments_of_a_batch_are_checked_when_the_dag_is_parsed() -> None:
    with pytest.raises(TypeError, match=r"@task.crew_batch takes no inputs: listed\(\) returns them"):
        batched(listed, inputs=[])
    with pytest.raises(TypeError, match="Did you mean max_concurrency"):
        batched(listed, max_concurency=3)


def test_airflow_knows_it_as_task_crew_batch(airflow: Airflow) -> None:
    assert task.crew_batch is crew_batch_task  # type: ignore[attr-defined]  # Airflow's types know no provider's
