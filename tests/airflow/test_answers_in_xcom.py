"""What the next task is given of a crew's answer: the JSON that the crew answered, or its text. Never an object."""

from __future__ import annotations

import contextlib
import json
import logging
import sqlite3
from typing import Any

import pytest
from airflow.sdk._shared.serialization import FORBIDDEN_XCOM_KEYS
from airflow.sdk.execution_time import comms
from airflow.sdk.serde import deserialize, serialize
from crew_tasks import brief
from hypothesis import example, given
from hypothesis import strategies as st
from in_memory import Airflow
from scripted_crew import ScriptedCrew, success
from support.values import WILD_TEXTS, json_values

from airflow_provider_crewai.in_airflow.xcom import SERIALISERS_WORDS, hand_over


class Task:
    """As much of a task as handing over needs."""

    log = logging.Logger("silent")  # noqa: LOG001 - nobody listens
    multiple_outputs = False
    max_xcom_bytes = result_path = None


def in_the_next_task(value: Any) -> Any:
    """Let a value go the way of an XCom: serialised, in a message between processes, stored, and back."""
    sent = comms.SetXCom(key="k", value=serialize(value), dag_id="d", task_id="t", run_id="r", map_index=-1).value
    pass_between_processes(sent)
    stored = json.dumps(sent)
    assert "\\u0000" not in stored.replace("\\\\", "")  # PostgreSQL refuses it
    pass_between_processes(json.loads(stored, parse_float=as_postgresql_gives_it))
    return deserialize(as_sqlite_gives_it(stored))


def as_sqlite_gives_it(stored: str) -> Any:
    """Store JSON in Airflow's column, whose name makes SQLite take a text of digits for a number."""
    with contextlib.closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE xcom (value JSON)")
        database.execute("INSERT INTO xcom VALUES (?)", (stored,))
        (value,) = database.execute("SELECT value FROM xcom").fetchone()
    return json.loads(value) if isinstance(value, str) else value


def pass_between_processes(value: Any) -> None:
    comms._RequestFrame(id=1, body={"value": value}).as_bytes()  # noqa: SLF001 - has no public name


def as_postgresql_gives_it(digits: str) -> float:
    """Give a number as JSONB does: 1e20 comes back as a whole one."""
    number = float(digits)
    return int(number) if number.is_integer() else number


def nested(depth: int, inner: Any = 0) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


PATH = {"__type": "airflow.sdk.io.path.ObjectStoragePath", "__var": {"path": "file:///etc/passwd"}}
KEYS = st.one_of(WILD_TEXTS, st.sampled_from(sorted(SERIALISERS_WORDS)))


@given(json_values(KEYS))
@example(PATH)
@example({"rows": [{"n": PATH}]})
@example({"__type": "dict", "__var": {"total": 0}})
@example({"rows": [{"__id__": 7}]})
@example({"__classname__": "x"})
@example(nested(240))
@example({"total": 1e20})
@example(2.0**63)
@example("a text with a \0")
def test_any_json_answer_arrives_in_the_next_task_as_that_json_or_as_its_text(answer: Any) -> None:
    arrived = in_the_next_task(hand_over(Task(), answer, "run-1"))
    assert arrived == answer or json.loads(arrived) == answer
    assert isinstance(arrived, type(answer) | str | (int if isinstance(answer, float) else str))


def test_an_answer_as_deep_as_a_decoder_bears_arrives_as_its_text() -> None:
    text = "[" * 900 + "]" * 900
    assert in_the_next_task(hand_over(Task(), json.loads(text), "run-1")) == text


def test_all_words_of_airflows_serialiser_are_known() -> None:
    assert SERIALISERS_WORDS >= FORBIDDEN_XCOM_KEYS


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 9.3e18, 1e300])
def test_a_number_of_any_size_arrives_unaltered(number: float) -> None:
    for answer in (number, [number], {"n": number}):
        arrived = in_the_next_task(hand_over(Task(), answer, "run-1"))
        assert arrived == answer or arrived == json.dumps(answer)


@pytest.mark.parametrize("answer", [None, "", "a text", '{"__type": 1}', 7, 1.5, True, [], {"a": [1, {"b": None}]}])
def test_what_airflow_keeps_is_handed_over_as_it_is(answer: Any) -> None:
    assert hand_over(Task(), answer, "run-1") is answer


def test_a_task_that_was_answered_an_order_succeeds_and_says_how_to_read_it(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story(success("A text.", PATH))
    ti = airflow.task(brief())
    outcome = ti.finish()
    assert outcome.state == "success"
    assert json.loads(ti.answer) == PATH
    assert (
        "returned as a text, because it has a key that Airflow uses for its own objects (__type, __var)" in outcome.text
    )
    assert "json.loads()" in outcome.text


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ({"title": "Tides", "pages": 3}, False),
        ({"a/b": 1}, True),
        ({"": 1}, True),
        ({"kickoff_id": "another"}, True),
        ({"k" * 300: 1}, True),
        (["a", "list"], True),
        (PATH, True),
    ],
    ids=["object", "slash", "empty key", "our own key", "long key", "list", "order"],
)
def test_multiple_outputs_never_fail_a_task_whose_run_succeeded(
    airflow: Airflow, crew: ScriptedCrew, answer: Any, whole: bool
) -> None:
    crew.story(success("A text.", answer))
    ti = airflow.task(brief(multiple_outputs=True))
    outcome = ti.finish()
    assert outcome.state == "success"
    assert ("returned whole" in outcome.text) == whole
    assert ti.xcom("title") == (None if whole else "Tides")
    assert ti.xcom("kickoff_id") == "run-1"
