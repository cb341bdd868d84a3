"""A task that expects a type returns JSON that the type loads again, or fails and says why; it never pays twice for it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException
from airflow.serialization.serialized_objects import DagSerialization
from crew_tasks import FAST, brief, sensor
from hypothesis import example, given
from hypothesis import strategies as st
from in_memory import Airflow
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, TypeAdapter
from scripted_crew import ScriptedCrew, success
from typing_extensions import TypedDict

from airflow_provider_crewai.answers import read_answer
from airflow_provider_crewai.decorators import crew_task
from airflow_provider_crewai.in_airflow.output_type import typed
from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.retries import CrewRetryPolicy
from airflow_provider_crewai.wire.errors import CrewAnswerMismatch

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


class Section(BaseModel):
    heading: str
    pages: int = 1


class Brief(BaseModel):
    title: str
    written: date
    sections: list[Section] = []


@dataclass
class Card:
    title: str
    tags: set[str]


class Row(TypedDict):
    n: int


class Aliased(BaseModel):
    title: str = Field(validation_alias="Title", serialization_alias="heading")


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    on: date


class Login(BaseModel):
    key: SecretStr


def loud(text: str) -> str:
    if not text.isupper():
        raise KeyError(text)
    return text


ANSWER = {"title": "Tides", "written": "2026-01-05", "sections": [{"heading": "Ebb"}]}
TYPED = {"title": "Tides", "written": "2026-01-05", "sections": [{"heading": "Ebb", "pages": 1}]}
IN_A_BLOCK = f"Here it is:\n\n```json\n{json.dumps(ANSWER, indent=1)}\n```\n\nThe end."


@BOTH_WAYS
@pytest.mark.parametrize(
    ("text", "result_json"),
    [
        ("A text.", ANSWER),
        (json.dumps(ANSWER), None),
        (f"\n {json.dumps(ANSWER)}\n", None),
        (IN_A_BLOCK, None),
        (f"```\nnot json\n```\n{IN_A_BLOCK}", None),
        (f"```json {json.dumps(ANSWER)}```", None),
        (f"```\n{json.dumps(ANSWER)}", None),
    ],
    ids=["result_json", "plain", "space around", "block", "second block", "one line", "block not closed"],
)
def test_the_answer_is_read_from_result_json_else_from_json_in_the_text(
    airflow: Airflow, crew: ScriptedCrew, text: str, result_json: Any, deferrable: bool
) -> None:
    crew.story("RUNNING", success(text, result_json))
    ti = airflow.task(brief(output_type=Brief, deferrable=deferrable))
    assert ti.finish().state == "success"
    assert ti.answer == TYPED
    assert read_answer(ti.answer, Brief) == Brief(
        title="Tides", written=date(2026, 1, 5), sections=[Section(heading="Ebb")]
    )


@pytest.mark.parametrize(
    ("output_type", "answer"),
    [
        (Brief, ANSWER),
        (list[Brief], [ANSWER]),
        (Card, {"title": "Tides", "tags": ["a"]}),
        (Row, {"n": "7"}),
        (Aliased, {"Title": "Tides"}),
        (Login, {"key": "s3cret"}),
        (dict[str, int], {"a": 1}),
        (Literal["yes", "no"], "yes"),
        (Brief | None, None),
        (int, "42"),
        (str, "A text of its own."),
        (str, "42"),
        (Annotated[int, Field(gt=0)], 3),
    ],
    ids=repr,
)
def test_whatever_a_type_adapter_takes_loads_again_what_the_task_returned(
    airflow: Airflow, crew: ScriptedCrew, output_type: Any, answer: Any
) -> None:
    crew.story(success(answer) if isinstance(answer, str) else success("null", answer))
    ti = airflow.task(brief(output_type=output_type))
    assert ti.finish().state == "success"
    adapter = TypeAdapter(output_type)
    assert adapter.validate_python(ti.answer) == adapter.validate_json(json.dumps(answer)) or answer == "42"
    assert read_answer(ti.answer, output_type) == adapter.validate_python(ti.answer)


def test_a_type_that_cannot_load_what_it_writes_leaves_the_crews_own_json() -> None:
    assert typed(Strict, {"on": "2026-01-05"}, "run-1") == {"on": "2026-01-05"}
    assert read_answer({"on": "2026-01-05"}, Strict).on == date(2026, 1, 5)
    assert typed(Login, {"key": "s3cret"}, "run-1") == {"key": "s3cret"}


@BOTH_WAYS
def test_a_mismatch_names_the_fields_keeps_the_answer_and_is_not_retried(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    wrong = {"title": "Tides", "written": "soon", "sections": [{"heading": "Ebb"}, {"pages": "many"}]}
    crew.story("RUNNING", success("A text.", wrong))
    ti = airflow.task(brief(output_type=Brief, retries=3, deferrable=deferrable))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    for words in (
        "Run run-1 succeeded, but its answer does not fit output_type Brief: written: Input should be a valid date",
        "sections.1.heading: Field required; sections.1.pages: Input should be a valid integer",
        "The whole answer is in this task's XCom crew_answer.",
        "The task is not retried. Once output_type is right, a clear runs the crew again, or reads this answer again if",
    ):
        assert words in outcome.told
    assert ti.xcom("crew_answer") == wrong
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("I could not do it.", "it is a text without JSON (the answer: Input should be an object)"),
        ('{"title": "Ti', "it is a text without JSON"),
        ("```json\n{}\n```", "title: Field required; written: Field required"),
        ("42", "the answer: Input should be an object"),
        ("[" * 5_000, "it is a text without JSON"),
    ],
    ids=["prose", "cut off", "empty object", "number", "deep"],
)
def test_a_text_without_the_json_is_a_mismatch(airflow: Airflow, crew: ScriptedCrew, text: str, why: str) -> None:
    crew.story(success(text))
    ti = airflow.task(brief(output_type=Brief))
    outcome = ti.finish()
    assert why in outcome.told
    assert ti.xcom("crew_answer") == text


@given(
    st.lists(st.sampled_from(["```", "json", "\n", " ", "[", "]", '"', "{}", "1", "\\", "a", "\ud800"]), max_size=12)
)
@example(["```json\n", '{"title": "```", "written": "2026-01-05"}', "\n```"])
def test_any_text_fits_or_is_a_mismatch(parts: list[str]) -> None:
    with suppress(CrewAnswerMismatch):
        assert read_answer(typed(Brief, "".join(parts), "run-1"), Brief).title == "```"


@pytest.mark.parametrize("part", ["```", "```[", "```\n", '```"', "```1``` ", '```{"a":'])
def test_a_text_four_times_as_long_takes_about_four_times_the_effort(part: str) -> None:
    def seconds(times: int) -> float:
        began = time.process_time()
        with pytest.raises(CrewAnswerMismatch):
            typed(Brief, part * times, "run-1")
        return time.process_time() - began

    assert seconds(20_000) < 10 * seconds(5_000)


def test_many_misfits_are_told_in_few_words(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success("A text.", [{"n": "x" * 10_000}] * 500))
    outcome = airflow.task(brief(output_type=list[Row])).finish()
    assert "; and 495 more." in outcome.told
    assert len(outcome.told) < 1_500


def test_an_error_of_the_authors_own_validator_is_a_mismatch_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success("quiet"))
    outcome = airflow.task(brief(output_type=Annotated[str, AfterValidator(loud)])).finish()
    assert "KeyError: 'quiet'" in outcome.told
    assert "succeeded, but" in outcome.told


def test_a_clear_after_the_type_was_corrected_reads_the_same_answer_with_reattach(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story(success("A text.", {"n": 1}))
    task = brief(output_type=Brief, on_clear="reattach")
    ti = airflow.task(task)
    outcome = ti.finish()
    assert "a clear reads this answer again" in outcome.told
    task.output_type = Row
    ti.clear()
    assert ti.finish().state == "success"
    assert (ti.answer, len(crew.kickoffs)) == ({"n": 1}, 1)


def test_the_crew_runs_again_where_the_author_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success("A text.", {"m": 1}))
    ti = airflow.task(brief(output_type=Row, on_output_mismatch="rerun", retries=1))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert "A retry runs the crew again, as on_output_mismatch says." in outcome.told
    crew.story(success("A text.", {"n": 2}))
    outcome = ti.finish()
    assert outcome.state == "success"
    assert "does not fit, and on_output_mismatch is 'rerun'" in outcome.text
    assert (ti.answer, len(crew.kickoffs), crew.stops) == ({"n": 2}, 2, [])


@pytest.mark.parametrize(("policy", "kickoffs"), [("fail", 1), ("rerun", 2)])
def test_a_retry_policy_sees_the_mismatch_and_pays_no_second_time_by_itself(
    airflow: Airflow, crew: ScriptedCrew, policy: Any, kickoffs: int
) -> None:
    crew.story(success("A text.", {"m": 1}))
    ti = airflow.task(brief(output_type=Row, on_output_mismatch=policy, retries=1, retry_policy=CrewRetryPolicy()))
    outcome = ti.finish()
    assert isinstance(outcome.error, CrewAnswerMismatch)
    assert outcome.state == ("failed" if policy == "fail" else "up_for_retry")
    ti.finish()  # whoever retries it, by whatever policy
    assert len(crew.kickoffs) == kickoffs


def test_a_sensor_reads_the_type_and_does_not_look_again_after_a_mismatch(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", success("A text.", ANSWER))
    ti = airflow.task(sensor(output_type=Brief))
    assert ti.finish().state == "success"
    assert ti.answer == TYPED
    outcome = airflow.task(sensor(task_id="again", output_type=Card, retries=2)).finish()
    assert outcome.state == "failed"
    assert "tags: Field required" in outcome.told
    assert "a clear reads the answer again" in outcome.told


class NoType:
    pass


@pytest.mark.parametrize("output_type", [NoType, "Undefined", list[NoType], 3], ids=repr)
def test_what_is_no_type_is_refused_before_money_is_spent(
    airflow: Airflow, crew: ScriptedCrew, output_type: Any
) -> None:
    outcome = airflow.task(brief(output_type=output_type, retries=2)).finish()
    assert outcome.state == "failed"
    assert "which pydantic cannot read" in outcome.told
    assert crew.kickoffs == []


def test_a_type_that_is_broken_while_the_run_goes_on_costs_no_answer(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success("A text.", ANSWER))
    task = brief(output_type=Brief, deferrable=True)
    ti = airflow.task(task)
    ti.run()
    task.output_type = NoType
    outcome = ti.resume(ti.fire())
    assert "succeeded, but output_type is NoType, which pydantic cannot read" in outcome.told
    assert ti.xcom("crew_answer") == ANSWER


def test_a_task_that_does_not_wait_has_no_answer_to_type() -> None:
    with pytest.raises(
        ValueError, match="wait_for_completion=False does not wait for it; give output_type to the Crew"
    ):
        brief(output_type=Brief, wait_for_completion=False)


def test_what_airflow_cannot_keep_stays_a_text_that_the_type_reads(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success("A text.", {"__type": 2**70}))
    ti = airflow.task(brief(output_type=dict[str, int]))
    assert ti.finish().state == "success"
    assert read_answer(ti.answer, dict[str, int]) == {"__type": 2**70}


def test_each_value_of_a_typed_answer_can_be_an_xcom_of_its_own(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success(json.dumps(ANSWER)))
    ti = airflow.task(brief(output_type=Brief, multiple_outputs=True))
    assert ti.finish().state == "success"
    assert ti.xcom("sections") == [{"heading": "Ebb", "pages": 1}]


def test_mapped_and_decorated_tasks_read_the_type_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success(json.dumps(ANSWER)))
    with DAG("d", schedule=None):
        mapped = CrewKickoffOperator.partial(task_id="mapped", output_type=Brief, **FAST).expand(inputs=[{"a": 1}])
        decorated = crew_task(task_id="decorated", output_type=Brief, **FAST)(lambda: {"a": 1})().operator
    for task, index in ((mapped, 0), (decorated, -1)):
        ti = airflow.task(task, map_index=index)
        assert ti.finish().state == "success"
        assert ti.answer == TYPED


def test_a_dag_with_types_is_stored_the_same_each_time_and_without_them() -> None:
    def stored() -> str:
        with DAG("d", schedule=None, default_args={"output_type": Brief}) as dag:
            brief(task_id="a", output_type=Brief, result_path="file:///x/{{ ds }}")
            for name, kind in {"b": Brief, "c": list[Brief], "d": Annotated[str, AfterValidator(loud)]}.items():
                CrewKickoffOperator.partial(task_id=name, output_type=kind).expand(inputs=[{"a": 1}])
        written = DagSerialization.to_dict(dag)
        assert set(DagSerialization.from_dict(written).task_dict) == set("abcd")
        return json.dumps(written["dag"]["tasks"], sort_keys=True)

    assert stored() == stored()
    assert " at 0x" not in stored()
    assert "output_type" not in json.dumps(json.loads(stored())[0])
    assert "file:///x/{{ ds }}" in stored()
