"""How a task's arguments become the body of a kickoff, and what is refused before one is sent."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from crew_tasks import FAST, brief
from in_memory import LOGICAL_DATE, Airflow
from scripted_crew import INPUTS, ScriptedCrew, error, success

from airflow_provider_crewai.decorators import crew_task
from airflow_provider_crewai.in_airflow.dag_arguments import check_names, check_values
from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.sensors import CrewStatusSensor
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewInputError


@dataclass
class Topic:
    """A value of somebody's own."""

    name: str


def kickoff_of(airflow: Airflow, crew: ScriptedCrew, task: Any, **life: Any) -> dict[str, Any]:
    outcome = airflow.task(task, **life).finish()
    assert outcome.state == "success", outcome
    return crew.kickoffs[-1]


def test_templates_are_rendered_at_any_depth_and_values_keep_their_json_types(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    inputs = {
        "day": "{{ ds }}",
        "whole": 3,
        "broken": 1.5,
        "flag": True,
        "nothing": None,
        "list": [1, "{{ run_id }}", {"deep": "{{ task.task_id }}"}],
        "object": {"flag": False, "text": "7"},
    }
    assert kickoff_of(airflow, crew, brief(inputs=inputs))["inputs"] == {
        "day": "2026-01-05",
        "whole": 3,
        "broken": 1.5,
        "flag": True,
        "nothing": None,
        "list": [1, "manual__1", {"deep": "brief"}],
        "object": {"flag": False, "text": "7"},
    }


@pytest.mark.parametrize(
    ("template", "inputs"),
    [
        ('{"topic": "{{ ds }}", "pages": 3}', {"topic": "2026-01-05", "pages": 3}),
        ("{{ dag_run.conf['inputs'] | tojson }}", {"topic": "Tides", "nested": {"n": [1, None]}}),
        ("{}", {}),
    ],
)
def test_inputs_may_be_a_template_that_renders_to_a_json_object(
    airflow: Airflow, crew: ScriptedCrew, template: str, inputs: Any
) -> None:
    conf = {"inputs": {"topic": "Tides", "nested": {"n": [1, None]}}}
    assert kickoff_of(airflow, crew, brief(inputs=template), conf=conf)["inputs"] == inputs


def test_no_inputs_are_an_empty_object(airflow: Airflow, crew: ScriptedCrew) -> None:
    assert kickoff_of(airflow, crew, brief(inputs=None))["inputs"] == {}


def test_meta_names_dag_run_task_map_index_try_and_url_beside_the_authors_own(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    body = kickoff_of(airflow, crew, brief(meta={"owner": "{{ task.owner }}"}))
    tags = {"dag_id": "briefs", "run_id": "manual__1", "task_id": "brief", "map_index": -1, "try_number": 1}
    url = body["meta"]["airflow"].pop("url")
    assert url.endswith("/dags/briefs/runs/manual__1/tasks/brief?try_number=1")
    assert body["meta"] == {"owner": "airflow", "airflow": tags}


def test_each_try_names_itself(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story({"state": "FAILED", "status": "no"})
    ti = airflow.task(brief(retries=1))
    ti.finish()
    ti.finish()
    assert [body["meta"]["airflow"]["try_number"] for body in crew.kickoffs] == [1, 2]


def test_webhooks_and_the_state_to_start_from_are_rendered_and_sent(airflow: Airflow, crew: ScriptedCrew) -> None:
    hook = {"url": "https://me.example/{{ ds }}", "authentication": {"strategy": "bearer", "token": "t"}}
    body = kickoff_of(
        airflow,
        crew,
        brief(
            task_webhook_url="https://me.example/task/{{ ds }}",
            step_webhook_url="https://me.example/step",
            crew_webhook_url="https://me.example/crew",
            human_input_webhook=hook,
            webhooks={"events": ["crew_kickoff_failed"], "url": "https://me.example/{{ run_id }}"},
            restore_from_state_id="{{ dag_run.conf['earlier'] }}",
        ),
        conf={"earlier": "run-0"},
    )
    del body["inputs"], body["meta"]
    assert body == {
        "taskWebhookUrl": "https://me.example/task/2026-01-05",
        "stepWebhookUrl": "https://me.example/step",
        "crewWebhookUrl": "https://me.example/crew",
        "humanInputWebhook": {**hook, "url": "https://me.example/2026-01-05"},
        "webhooks": {"events": ["crew_kickoff_failed"], "url": "https://me.example/manual__1"},
        "restoreFromStateId": "run-0",
    }


def test_the_connection_is_a_template_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    airflow.connections = {"crew_of_2026": crew.connection}
    kickoff_of(airflow, crew, brief(crewai_conn_id="crew_of_{{ logical_date.year }}"))


def test_a_mapped_task_starts_one_run_for_each_item_and_each_keeps_its_own_record(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    items = [{"topic": "Tides", "day": "{{ ds }}"}, {"topic": "Turbines"}, {"topic": "Tariffs"}]
    with DAG("fan_out", schedule=None, start_date=LOGICAL_DATE):
        mapped = CrewKickoffOperator.partial(task_id="brief", deferrable=True, **FAST).expand(inputs=items)
    crew.story("RUNNING", {"state": "SUCCESS", "result": "done"})
    instances = [airflow.task(mapped, map_index=index) for index in range(3)]
    assert [ti.finish().state for ti in instances] == ["success"] * 3
    assert [body["inputs"] for body in crew.kickoffs] == [{"topic": "Tides", "day": "2026-01-05"}, *items[1:]]
    assert [body["meta"]["airflow"]["map_index"] for body in crew.kickoffs] == [0, 1, 2]
    assert [ti.record["kickoff_id"] for ti in instances] == ["run-1", "run-2", "run-3"]
    assert [ti.xcom("kickoff_id") for ti in instances] == ["run-1", "run-2", "run-3"]


def given_by_another_task(**arguments: Any) -> CrewKickoffOperator:
    """Make a task whose arguments were written as references, and are what they were resolved to."""
    task = brief(retries=2)
    for name, value in arguments.items():
        setattr(task, name, value)
    return task


NOT_JSON = pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"inputs": {"topic": "Tides", "since": datetime(2026, 1, 1, tzinfo=UTC)}}, "inputs['since'] is a datetime"),
        ({"inputs": {"topic": {"deep": {1, 2}}}}, "inputs['topic']['deep'] is a set"),
        ({"inputs": {"rows": [{}, {"when": timedelta(1)}]}}, "inputs['rows'][1]['when'] is a timedelta"),
        ({"inputs": {"price": Decimal("1.1")}}, "inputs['price'] is a Decimal"),
        ({"inputs": {"scan": b"bytes"}}, "inputs['scan'] is a bytes"),
        ({"inputs": {"topic": Topic("Tides")}}, "inputs['topic'] is a Topic"),
        ({"inputs": "Tides"}, "inputs is a text that is not JSON"),
        ({"inputs": '["Tides"]'}, "inputs is a list"),
        ({"inputs": "7"}, "inputs is the number 7"),
        ({"meta": {"at": datetime(2026, 1, 1, tzinfo=UTC)}}, "meta['at'] is a datetime"),
    ],
    ids=["datetime", "set", "timedelta", "decimal", "bytes", "dataclass", "text", "list", "number", "meta"],
)


@NOT_JSON
def test_what_json_cannot_hold_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], complaint: str) -> None:
    if "Topic" in complaint:
        brief(**arguments)  # Airflow may know how to render it
        return
    with pytest.raises(ValueError, match=r"^Task 'brief': ") as refusal:
        brief(**arguments)
    assert complaint in str(refusal.value)
    with pytest.raises(ValueError, match=r"^Task 'brief': "):
        CrewKickoffOperator.partial(task_id="brief").expand_kwargs([arguments])


@NOT_JSON
def test_what_json_cannot_hold_is_refused_by_name_before_anything_is_sent(
    airflow: Airflow, crew: ScriptedCrew, arguments: dict[str, Any], complaint: str
) -> None:
    ti = airflow.task(given_by_another_task(**arguments))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert isinstance(outcome.error, CrewConfigError)
    assert complaint in outcome.told
    assert "Nothing was sent" in outcome.told
    assert crew.asked == []
    assert ti.record is None


@pytest.mark.parametrize("name", ["webhooks", "human_input_webhook"])
def test_webhooks_that_json_cannot_hold_are_refused_by_name_too(
    airflow: Airflow, crew: ScriptedCrew, name: str
) -> None:
    webhook = {"url": "https://me.example", "since": datetime(2026, 1, 1, tzinfo=UTC)}
    with pytest.raises(ValueError, match=rf"{name}\['since'\] is a datetime"):
        brief(**{name: webhook})
    outcome = airflow.task(given_by_another_task(**{name: webhook})).finish()
    assert outcome.state == "failed"
    assert f"{name}['since'] is a datetime" in outcome.told
    assert crew.asked == []


def test_validation_refuses_a_misspelt_name_and_says_which_was_meant(airflow: Airflow, crew: ScriptedCrew) -> None:
    task = brief(validate_inputs=True, retries=2, inputs={"topik": "Tides", "audience": "sailors"})
    outcome = airflow.task(task).finish()
    assert outcome.state == "failed"
    assert "'topic' instead of 'topik'" in outcome.told
    assert crew.kickoffs == []
    assert [asked.path for asked in crew.asked] == ["/inputs"]


@pytest.mark.parametrize(
    "inputs", [INPUTS, {**INPUTS, "budget": 3}, {"budget": 3}, {}], ids=["all", "one more", "another", "none"]
)
def test_validation_lets_pass_what_is_no_misspelling(
    airflow: Airflow, crew: ScriptedCrew, inputs: dict[str, Any]
) -> None:
    assert kickoff_of(airflow, crew, brief(validate_inputs=True, inputs=inputs))["inputs"] == inputs


def test_validation_names_the_inputs_that_are_missing_in_the_log(airflow: Airflow, crew: ScriptedCrew) -> None:
    outcome = airflow.task(brief(validate_inputs=True, inputs={"topic": "Tides"})).finish()
    assert any("does not give: audience" in line for line in outcome.log)
    assert len(crew.kickoffs) == 1


def test_without_validation_a_misspelt_name_is_sent_as_it_is(airflow: Airflow, crew: ScriptedCrew) -> None:
    assert kickoff_of(airflow, crew, brief(inputs={"topik": "Tides"}))["inputs"] == {"topik": "Tides"}


@pytest.mark.parametrize("validate", [False, True])
def test_the_crew_is_asked_for_its_inputs_once(airflow: Airflow, crew: ScriptedCrew, validate: bool) -> None:
    airflow.task(brief(validate_inputs=validate)).finish()
    assert [asked.path for asked in crew.asked].count("/inputs") == 1


def test_inputs_that_the_crew_refuses_cost_nothing_and_are_not_retried(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", error(422, "Missing inputs: audience"))
    ti = airflow.task(brief(retries=2))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert isinstance(outcome.error, CrewInputError)
    assert "Missing inputs: audience" in outcome.told
    assert ti.record is None


# ---- the state that a flow begins with -------------------------------------------------------------


@pytest.mark.parametrize(("known", "warned"), [(True, False), (False, True)])
def test_a_deployment_that_does_not_know_the_run_to_go_on_from_is_told_of_and_kicked_off_all_the_same(
    airflow: Airflow, crew: ScriptedCrew, known: bool, warned: bool
) -> None:
    if known:
        crew.now("yesterday", success("1"))
    ti = airflow.task(brief(restore_from_state_id="yesterday"))
    outcome = ti.finish()
    assert outcome.state == "success"
    assert crew.kickoffs[0]["restoreFromStateId"] == "yesterday"
    assert (
        "The deployment does not know run yesterday, with whose state the new run shall begin" in outcome.text
    ) is warned


def test_a_look_at_the_run_to_go_on_from_that_fails_keeps_nothing_from_being_started(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.once("/status", error(500, "away"))
    assert airflow.task(brief(restore_from_state_id="yesterday")).finish().state == "success"
    assert len(crew.kickoffs) == 1


# ---- mistakes that are told when the Dag is parsed -----------------------------------------------------

LITERALS: list[Any] = [
    ["topic"],
    ("topic",),
    {"topic"},
    LOGICAL_DATE,
    b"{}",
    7,
    True,
    "Tides",
    "{'topic': 'Tides'}",
    '["Tides"]',
    '"Tides"',
]
LEFT_ALONE: list[Any] = [
    "{{ ti.xcom_pull('x') | tojson }}",
    "{% raw %}x{% endraw %}",
    "<< inputs >>",
    "[[ inputs ]]",
    '{"topic": "Tides"}',
    "{}",
    {},
    {"topic": "{{ ds }}", "rows": [1, 2.5, None, True]},
    None,
]


@pytest.mark.parametrize("inputs", LITERALS, ids=str)
def test_inputs_that_can_never_be_an_object_fail_the_dag_file(inputs: Any) -> None:
    with pytest.raises(ValueError, match=r"^Task 'brief': inputs is "):
        brief(inputs=inputs)
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        with pytest.raises(ValueError, match=r"^Task 'brief': inputs"):
            CrewKickoffOperator.partial(task_id="brief", inputs=inputs).expand(timeout=[1])
        with pytest.raises(ValueError, match=r"^Task 'brief': inputs"):
            CrewKickoffOperator.partial(task_id="brief").expand(inputs=[{"n": 1}, inputs])


@pytest.mark.parametrize("inputs", LEFT_ALONE, ids=str)
def test_inputs_that_may_become_an_object_are_left_alone(inputs: Any) -> None:
    brief(inputs=inputs)
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        CrewKickoffOperator.partial(task_id="brief").expand(inputs=[inputs])


NUMBERS = ("poll_interval", "max_poll_interval", "unreachable_timeout", "timeout", "max_xcom_bytes")
FLAGS = ("deferrable", "durable", "wait_for_completion", "validate_inputs", "human_input")


@pytest.mark.parametrize("name", [*NUMBERS, *FLAGS])
def test_a_number_or_a_flag_that_is_a_text_fails_the_dag_file(name: str) -> None:
    complaint = rf"^Task 'brief': {name} is '5'; set it to "
    with pytest.raises(ValueError, match=complaint):
        brief(**{name: "5"})
    with pytest.raises(ValueError, match=complaint):
        crew_task(task_id="brief", **{name: "5"})(dict)
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        with pytest.raises(ValueError, match=complaint):
            CrewKickoffOperator.partial(task_id="brief", **{name: "5"}).expand(inputs=[{}])
        with pytest.raises(ValueError, match=complaint):
            CrewKickoffOperator.partial(task_id="brief").expand(**{name: ["5"]})


WRONG_PEOPLE: dict[str, dict[str, Any]] = {
    "assigned_users": {"assigned_users": "anna"},
    "an assigned user": {"assigned_users": [{"id": "7"}]},
    "human_timeout": {"human_timeout": 0},
    "on_human_timeout": {"on_human_timeout": ""},
    "on_question": {"on_question": "slack"},
    "a notifier": {"on_question": ["slack"]},
}


@pytest.mark.parametrize("wrong", WRONG_PEOPLE.values(), ids=WRONG_PEOPLE)
def test_a_wrong_argument_about_people_fails_the_dag_file(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    complaint = rf"^Task 'brief': {name} is .*; set it to "
    with pytest.raises(ValueError, match=complaint):
        brief(human_input=True, **wrong)
    with pytest.raises(ValueError, match=complaint):
        CrewStatusSensor(task_id="brief", kickoff_id="run-1", human_input=True, **wrong)
    with DAG("d", schedule=None, start_date=LOGICAL_DATE), pytest.raises(ValueError, match=complaint):
        CrewKickoffOperator.partial(task_id="brief", human_input=True, **wrong).expand(inputs=[{}])


@pytest.mark.parametrize(
    "without",
    [{"assigned_users": ["anna"]}, {"human_timeout": 60}, {"on_human_timeout": "Approve"}, {"on_question": print}],
    ids=lambda given: next(iter(given)),
)
def test_an_argument_about_people_needs_human_input(without: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=rf"^Task 'brief': {next(iter(without))} has no effect without human_input"):
        brief(**without)
    assert brief(human_input=True, **without).human_input


def test_human_input_needs_a_task_that_waits() -> None:
    with pytest.raises(ValueError, match="human_input needs a task that waits"):
        brief(human_input=True, wait_for_completion=False)


def test_a_misspelt_argument_is_told_with_the_one_that_was_meant() -> None:
    told = r"^Task 'brief': \w+ takes no argument input. Did you mean inputs\?$"
    wrong: dict[str, Any] = {"task_id": "brief", "input": {"topic": "Tides"}}
    with pytest.raises(TypeError, match=told):
        CrewKickoffOperator(**wrong)
    with pytest.raises(TypeError, match=told):
        CrewKickoffOperator.partial(**wrong)
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        with pytest.raises(TypeError, match=told):
            CrewKickoffOperator.partial(task_id="brief").expand(input=[{}])
        with pytest.raises(TypeError, match=told):
            CrewKickoffOperator.partial(task_id="brief").expand_kwargs([{"input": {}}])
    with pytest.raises(TypeError, match=r"^Task 'wait': CrewStatusSensor .* kickof_id. Did you mean kickoff_id\?$"):
        CrewStatusSensor(task_id="wait", kickof_id="run-1")  # type: ignore[call-arg]  # the mistake
    with pytest.raises(
        TypeError, match=r"^Task 'f': \w+ takes no argument poll_intervall. Did you mean poll_interval\?$"
    ):
        crew_task(task_id="f", poll_intervall=5)(dict)


def test_an_argument_that_is_like_none_is_named_alone() -> None:
    with pytest.raises(TypeError, match=r"^Task 'brief': CrewKickoffOperator takes no argument zzz\.$"):
        brief(zzz=1)


def test_what_another_task_gives_to_a_mapped_one_is_judged_when_it_runs(airflow: Airflow, crew: ScriptedCrew) -> None:
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        mapped = CrewKickoffOperator.partial(task_id="brief", retries=2, **FAST).expand(inputs=[{"n": 1}])
    mapped.expand_input.value["inputs"] = [{"since": LOGICAL_DATE}]
    outcome = airflow.task(mapped, map_index=0).finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert "inputs['since'] is a datetime" in outcome.told


def test_checking_names_and_values_costs_microseconds() -> None:
    brief()
    began = time.process_time()
    for _ in range(1000):
        check_names(CrewKickoffOperator, "brief", FAST)
        check_values("brief", FAST)
    assert time.process_time() - began < 0.1
