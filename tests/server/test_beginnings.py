"""However large a value is, no more of it is written than is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_server import PageServer

from airflow_provider_crewai.wire.beginnings import beginning, one_line, title, whole

VALUES = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


class Endless(list[Any]):
    """A list that counts how many of its items are asked for."""

    asked = 0

    def __iter__(self) -> Iterator[Any]:
        for item in super().__iter__():
            self.asked += 1
            yield item


@given(VALUES.filter(lambda value: not isinstance(value, str)), st.integers(min_value=1, max_value=200))
def test_a_beginning_is_that_of_the_whole(value: Any, length: int) -> None:
    assert beginning(value, length) == json.dumps(value, indent=2, ensure_ascii=False)[: length + 1]


def test_no_more_is_written_than_is_shown() -> None:
    value = Endless([1] * 100_000)
    beginning(value, 1000)
    one_line(value, 60)
    title({"topic": value})
    assert value.asked < 2000


@given(VALUES)
def test_a_whole_value_can_be_read_back_and_is_no_page_of_blanks(value: Any) -> None:
    if not isinstance(value, str):
        assert json.loads(whole(value)) == value
        assert len(whole(value)) <= 4 * len(json.dumps(value, ensure_ascii=False))


def nested(value: Any, levels: int) -> Any:
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "inputs",
    [
        {"topic": nested([1] * 60_000, 190)},
        {f"k{number}": nested(1, 190) for number in range(300)},
        {f"k{number}": "v" for number in range(10_000)},
        {"topic": "x" * 122_000},
    ],
    ids=["deep and wide", "many deep ones", "many", "long"],
)
def test_a_page_does_not_grow_with_what_its_runs_were_given(tmp_path: Path, inputs: dict[str, Any]) -> None:
    with PageServer(tmp_path) as server:
        run = server.run(**inputs)
        run.step(0, "a step", None, json.dumps(inputs))
        run.now("SUCCESS", result="", result_json=inputs)
        assert len(server.see("/")) < 10_000
        assert len(server.see(f"/runs/{run.kickoff_id}")) < 300_000
        assert len(server.see(f"/?again={run.kickoff_id}")) < 10 * len(json.dumps(inputs))
        text = server.see(f"/runs/{run.kickoff_id}/text/inputs")
        assert json.loads(text) == inputs


def test_a_run_that_an_earlier_version_kept_at_any_depth_can_be_looked_at(tmp_path: Path) -> None:
    with PageServer(tmp_path) as server:
        run = server.run(topic=nested(1, 900))
        for path in ("/", f"/runs/{run.kickoff_id}"):
            server.see(path)
