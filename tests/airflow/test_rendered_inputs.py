"""What Airflow's rendering makes of a task's arguments, as people write them, and what of it is sent or refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow.sdk.exceptions import AirflowFailException
from crew_tasks import FAST, brief, sensor
from in_memory import LOGICAL_DATE, Airflow
from scripted_crew import ScriptedCrew

from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.sensors import CrewStatusSensor

GIVEN: dict[str, Any] = {
    "numbers": [1, 2],
    "letters": ["a", "b", "c"],
    "one": {"n": 1},
    "none": None,
    "text": "None",
    "json": '{"a": 1}',
}


@task
def numbers() -> list[int]:
    return GIVEN["numbers"]


@task
def letters() -> list[str]:
    return GIVEN["letters"]


@task
def one() -> dict[str, int]:
    return GIVEN["one"]


@task
def none() -> None:
    return None


@task
def square(x: int) -> dict[str, int]:
    return {"n": x * x}


def squares() -> Any:
    return square.expand(x=numbers())


Arguments = Callable[[], dict[str, Any]]


def run(airflow: Airflow, arguments: Arguments, *, native: bool = False, **life: Any) -> Any:
    """Run a task in a Dag whose other tasks have pushed what `GIVEN` says."""
    with DAG("d", schedule=None, start_date=LOGICAL_DATE, render_template_as_native_obj=native):
        ti = airflow.task(brief(**arguments()), **life)
    for name, value in GIVEN.items():
        airflow.xcoms[("d", ti.run_id, name, -1), "return_value"] = value
    for index, number in enumerate(GIVEN["numbers"]):
        airflow.xcoms[("d", ti.run_id, "square", index), "return_value"] = {"n": number * number}
    return ti.finish()


def refused(outcome: Any, crew: ScriptedCrew, *words: str) -> None:
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    for word in words:
        assert word in outcome.told
    assert "Nothing was sent" in outcome.told
    assert crew.kickoffs == []


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        (lambda: {"inputs": one()}, {"n": 1}),
        (lambda: {"inputs": {"x": {"y": [one(), {"z": numbers()}]}}}, {"x": {"y": [{"n": 1}, {"z": [1, 2]}]}}),
        (lambda: {"inputs": {"parts": squares()}}, {"parts": [{"n": 1}, {"n": 4}]}),
        (lambda: {"inputs": {"parts": squares().map(lambda each: each["n"])}}, {"parts": [1, 4]}),
        (
            lambda: {"inputs": {"parts": [numbers().zip(letters(), fillvalue="-")]}},
            {"parts": [[[1, "a"], [2, "b"], ["-", "c"]]]},
        ),
        (lambda: {"inputs": {"parts": numbers().concat(letters())}}, {"parts": [1, 2, "a", "b", "c"]}),
        (lambda: {"inputs": "{{ ti.xcom_pull(task_ids='one') | tojson }}"}, {"n": 1}),
        (lambda: {"inputs": "{{ dag_run.conf['inputs'] | tojson }}"}, {"topic": "Tides"}),
        (lambda: {"inputs": {"maybe": none()}}, {"maybe": None}),
        (lambda: {"inputs": {"tuple": (1, "{{ ds }}")}}, {"tuple": [1, "2026-01-05"]}),
    ],
    ids=["output", "deep", "mapped", "map", "zip", "concat", "tojson", "conf", "null inside", "tuple"],
)
def test_what_other_tasks_give_is_sent_as_json(
    airflow: Airflow, crew: ScriptedCrew, arguments: Arguments, inputs: Any
) -> None:
    outcome = run(airflow, arguments, conf={"inputs": {"topic": "Tides"}})
    assert outcome.state == "success", outcome
    assert [body["inputs"] for body in crew.kickoffs] == [inputs]
    assert "Python" not in outcome.text


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        (lambda: {"inputs": "{{ ti.xcom_pull(task_ids='one') }}"}, {"n": 1}),
        (
            lambda: {"inputs": {"all": "{{ ti.xcom_pull(task_ids=['numbers', 'letters']) }}"}},
            {"all": [[1, 2], ["a", "b", "c"]]},
        ),
        (lambda: {"inputs": "{{ dag_run.conf['inputs'] }}"}, {"topic": "Tides"}),
    ],
    ids=["whole", "several tasks", "conf"],
)
def test_native_rendering_gives_values(airflow: Airflow, crew: ScriptedCrew, arguments: Arguments, inputs: Any) -> None:
    outcome = run(airflow, arguments, native=True, conf={"inputs": {"topic": "Tides"}})
    assert outcome.state == "success", outcome
    assert crew.kickoffs[0]["inputs"] == inputs


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
@pytest.mark.parametrize(
    "arguments",
    [
        lambda: {"inputs": none()},
        lambda: {"inputs": "{{ ti.xcom_pull(task_ids='none') }}"},
        lambda: {"inputs": "{{ ti.xcom_pull(task_ids='none') | tojson }}"},
        lambda: {"inputs": "{{ dag_run.conf.get('inputs', '') }}"},
        lambda: {"inputs": "{{ ti.xcom_pull(task_ids='text') }}"},
    ],
    ids=["output", "template", "tojson", "empty", "the text None"],
)
def test_inputs_that_rendered_to_nothing_are_refused(
    airflow: Airflow, crew: ScriptedCrew, arguments: Arguments, native: bool
) -> None:
    outcome = run(airflow, arguments, native=native)
    refused(outcome, crew, "connection 'crewai_default'", "inputs rendered to ", "gave nothing", "leave inputs out")


@pytest.mark.parametrize("arguments", [{}, {"inputs": None}, {"inputs": {}}], ids=["left out", "None", "empty"])
def test_an_author_may_give_no_inputs(airflow: Airflow, crew: ScriptedCrew, arguments: dict[str, Any]) -> None:
    outcome = airflow.task(CrewKickoffOperator(task_id="brief", **FAST, **arguments)).finish()
    assert outcome.state == "success"
    assert crew.kickoffs[0]["inputs"] == {}


def test_an_item_of_a_mapped_task_that_is_nothing_is_refused(airflow: Airflow, crew: ScriptedCrew) -> None:
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        mapped = CrewKickoffOperator.partial(task_id="brief", **FAST).expand(inputs=[{"n": 1}, None])
    assert airflow.task(mapped, map_index=0).finish().state == "success"
    crew.kickoffs.clear()
    refused(airflow.task(mapped, map_index=1).finish(), crew, "inputs rendered to None")


@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
@pytest.mark.parametrize("given", ["{{ ti.xcom_pull(task_ids='none') }}", "", " None ", None])
def test_nothing_in_an_optional_field_is_absent(
    airflow: Airflow, crew: ScriptedCrew, given: str | None, native: bool
) -> None:
    fields = (
        "meta",
        "task_webhook_url",
        "step_webhook_url",
        "crew_webhook_url",
        "human_input_webhook",
        "webhooks",
        "restore_from_state_id",
    )
    assert run(airflow, lambda: dict.fromkeys(fields, given), native=native).state == "success"
    assert set(crew.kickoffs[0]) == {"inputs", "meta"}
    assert set(crew.kickoffs[0]["meta"]) == {"airflow"}


@pytest.mark.parametrize(
    "template",
    [
        "{{ ti.xcom_pull(task_ids='one') }}",
        "{{ params }}",
        "{{ ti.xcom_pull(task_ids=['one']) }}",
        "{{ ti.xcom_pull(task_ids=['none']) }}",
    ],
)
def test_inputs_in_pythons_writing_are_refused_with_the_cure(
    airflow: Airflow, crew: ScriptedCrew, template: str
) -> None:
    outcome = run(airflow, lambda: {"inputs": template, "params": {"topic": "Tides"}})
    refused(outcome, crew, "as Python writes it", "| tojson", ".output", "render_template_as_native_obj=True")


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ ti.xcom_pull(task_ids='one') }}", "as Python writes it"),
        ("Of {{ ti.xcom_pull(task_ids='one') }}, that", "as Python writes it"),
        ("{{ ti.xcom_pull(task_ids=['letters']) }}", "as Python writes it"),
        ("{{ ti }}", "as Python writes it"),
        ("{{ ti.xcom_pull(task_ids='none') }}", "rendered to the text 'None'"),
    ],
    ids=["whole", "in a sentence", "list", "an object of Airflow's", "None"],
)
def test_a_text_inside_the_inputs_that_a_template_was_hardly_meant_to_give_is_sent_with_a_warning(
    airflow: Airflow, crew: ScriptedCrew, template: str, words: str
) -> None:
    outcome = run(airflow, lambda: {"inputs": {"rows": [template]}})
    assert outcome.state == "success"
    assert f"inputs['rows'][0] {'rendered' if 'rendered' in words else 'holds'}" in outcome.text
    assert words in outcome.text


def test_a_key_that_holds_a_template_is_sent_with_a_warning(airflow: Airflow, crew: ScriptedCrew) -> None:
    outcome = run(airflow, lambda: {"inputs": {"rows": [{"{{ ds }}": 1}]}})
    assert outcome.state == "success"
    assert "inputs has the key '{{ ds }}', which is sent unchanged: Airflow renders values, not keys" in outcome.text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (lambda: {"inputs": "{{ ti.xcom_pull(task_ids='json') | tojson }}"}, "leave `| tojson` out"),
        (
            lambda: {"inputs": "[{% for n in (1, 2) %}{\"n\": 1}{{ ',' if n == 1 }}{% endfor %}]"},
            "`.partial(…).expand(inputs=…)` makes a task for each item",
        ),
        (lambda: {"inputs": '{"topic": "{{ dag_run.conf.said }}"}'}, "Pass an object (its texts may be templates)"),
    ],
    ids=["JSON twice", "a list of objects", "a quote in JSON"],
)
def test_inputs_that_are_no_object_are_refused_with_the_cure(
    airflow: Airflow, crew: ScriptedCrew, arguments: Arguments, words: str
) -> None:
    refused(run(airflow, arguments, conf={"said": 'say "aye"'}), crew, words)


@pytest.mark.parametrize("text", ["{'a': 1}", "None", "['a', 'b']", "{{ ds }}", "(as 'x' says)", '["a", null]'])
def test_what_an_author_wrote_is_beyond_doubt(airflow: Airflow, crew: ScriptedCrew, text: str) -> None:
    outcome = run(airflow, lambda: {"inputs": {"text": text}})
    assert outcome.state == "success"
    assert "inputs['text']" not in outcome.text


def test_the_words_of_a_lazy_sequence_are_never_sent(airflow: Airflow, crew: ScriptedCrew) -> None:
    outcome = run(
        airflow,
        lambda: {"inputs": {"all": "All: {{ dag_run.conf['lazy'] }}"}},
        conf={"lazy": "LazyXComSequence([2 items])"},
    )
    refused(outcome, crew, "inputs['all'] holds 'LazyXComSequence([2 items])' instead of the values")


@pytest.mark.parametrize(
    ("given", "sent"),
    [(20261127, "20261127"), ("run-1", "run-1"), (" run-1\n", "run-1"), ("{{ 20261127 }}", "20261127")],
)
@pytest.mark.parametrize("native", [False, True], ids=["text", "native"])
def test_an_id_is_what_it_spells(airflow: Airflow, crew: ScriptedCrew, given: Any, sent: str, native: bool) -> None:
    assert run(airflow, lambda: {"restore_from_state_id": given}, native=native).state == "success"
    assert crew.kickoffs[0]["restoreFromStateId"] == sent
    crew.now(sent, {"state": "SUCCESS", "result": "done"})
    with DAG("e", schedule=None, start_date=LOGICAL_DATE, render_template_as_native_obj=native):
        ti = airflow.task(sensor(kickoff_id=given))
    assert ti.finish().state == "success"
    assert crew.looks[-1] == sent


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("run\x1b[31m-1", "holds a control character"),
        ("a line\nrun-1", "holds a control character"),
        (
            "x" * 300,
            "it is a text of 300 characters; if it comes from a task that waits for its crew, pass `task.output['kickoff_id']`",
        ),
        ({"title": "Tides"}, "it is an object"),
        (
            '{"title": "Tides"}',
            "it is an object or a list, written as a text; if it comes from a task that waits for its crew, pass",
        ),
        ("['run-1', 'run-2']", "it is an object or a list, written as a text"),
        ('"run-1"', "it is a text that was written as JSON; leave `| tojson` out"),
        (["run-1", "run-2"], "it is a list of 2; `.partial(…).expand("),
        (1e16, "native rendering read it as 1e+16; pass `task.output`"),
        (True, "native rendering read it as True"),
    ],
    ids=["escape", "lines", "answer", "object", "JSON", "a list as Python writes it", "tojson", "list",
         "float", "bool"],
)  # fmt: skip
def test_what_is_no_id_is_said_to_be_what_it_is(airflow: Airflow, crew: ScriptedCrew, given: Any, words: str) -> None:
    refused(
        run(airflow, lambda: {"restore_from_state_id": given}), crew, "restore_from_state_id is not a kickoff_id", words
    )
    refused(
        airflow.task(sensor(kickoff_id=given)).finish(), crew, "Task 'answer': kickoff_id is not a kickoff_id", words
    )


HALF = "\ud800"
UNSTORABLE = [
    ({"inputs": {"rows": [{"a": "x\0"}]}}, "inputs['rows'][0]['a'] holds a NUL character"),
    ({"inputs": {"a": HALF}}, "inputs['a'] holds half a character"),
    ({"inputs": {"a\0": 1}}, "a key of inputs holds a NUL character"),
    ({"inputs": {"a": ("x", "\0")}}, "inputs['a'][1] holds a NUL character"),
    ({"inputs": "{{ ds }}\0"}, "inputs holds a NUL character"),
    ({"inputs": {"share": float("nan")}}, "inputs['share'] is nan"),
    ({"inputs": {"share": float("-inf")}}, "inputs['share'] is -inf"),
    ({"inputs": {1: "one"}}, "inputs has a int as a key"),
    ({"meta": {"a": "\0"}}, "meta['a'] holds a NUL character"),
    ({"webhooks": {"url": "\0"}}, "webhooks['url'] holds a NUL character"),
    ({"crewai_conn_id": "x\0"}, "crewai_conn_id holds a NUL character"),
    ({"restore_from_state_id": HALF}, "restore_from_state_id holds half a character"),
]


def deep() -> Any:
    itself: list[Any] = []
    itself.append(itself)
    return itself


@pytest.mark.parametrize(
    ("arguments", "words"), [*UNSTORABLE, ({"inputs": {"a": deep()}}, "inputs nests lists or objects")]
)
def test_what_nothing_can_store_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match="Task 'brief': ") as refusal:
        CrewKickoffOperator(task_id="brief", **arguments)
    assert words in str(refusal.value)


@pytest.mark.parametrize(("arguments", "words"), UNSTORABLE)
def test_it_is_refused_in_mapped_tasks_too(arguments: dict[str, Any], words: str) -> None:
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        for partial in (
            lambda: CrewKickoffOperator.partial(task_id="brief", **arguments).expand(timeout=[1, 2]),
            lambda: CrewKickoffOperator.partial(task_id="brief").expand_kwargs([arguments]),
        ):
            with pytest.raises(ValueError, match="Task 'brief': ") as refusal:
                partial()
            assert words in str(refusal.value)
        with pytest.raises(ValueError, match=r"kickoff_id\[1\] holds a NUL character"):
            CrewStatusSensor.partial(task_id="s").expand(kickoff_id=["run-1", "\0"])


def test_references_are_not_touched_when_the_dag_is_parsed() -> None:
    with DAG("d", schedule=None, start_date=LOGICAL_DATE):
        CrewKickoffOperator(task_id="a", inputs={"x": [squares().zip(letters())]}, meta=one())
        CrewKickoffOperator.partial(task_id="b").expand(inputs=squares())
        CrewKickoffOperator.partial(task_id="c").expand_kwargs(numbers().map(lambda n: {"inputs": {"n": n}}))
        CrewStatusSensor(task_id="s", kickoff_id=one())


@pytest.mark.parametrize("rendered", ["x\0", HALF, "\ud83d"])
def test_what_nothing_can_store_is_refused_when_a_template_gives_it(
    airflow: Airflow, crew: ScriptedCrew, rendered: str
) -> None:
    outcome = run(airflow, lambda: {"inputs": {"a": "{{ dag_run.conf['a'] }}"}}, conf={"a": rendered})
    refused(outcome, crew, "inputs['a'] holds ")


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
@pytest.mark.parametrize("given", [" 2026 ", 2026, "{{ 2026 }}\n"])
def test_the_id_of_a_connection_is_what_it_spells(
    airflow: Airflow, crew: ScriptedCrew, given: Any, deferrable: bool
) -> None:
    airflow.connections = {"2026": crew.connection}
    crew.story("RUNNING", {"state": "SUCCESS", "result": "done"})
    with DAG("d", schedule=None, start_date=LOGICAL_DATE, render_template_as_native_obj=True):
        ti = airflow.task(brief(crewai_conn_id=given, deferrable=deferrable))
    assert ti.finish().state == "success"


@pytest.mark.parametrize("given", [None, "", "None", "{{ none }}"])
def test_no_other_connection_is_taken_where_none_is_named(airflow: Airflow, crew: ScriptedCrew, given: Any) -> None:
    refused(airflow.task(brief(crewai_conn_id=given)).finish(), crew, "crewai_conn_id rendered to ")
    assert airflow.task(sensor(crewai_conn_id=given)).finish().state == "failed"
    assert crew.asked == []
