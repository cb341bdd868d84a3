"""Any value that rendering gives becomes JSON or a CrewError, before anything is sent."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import TEXTS, WILD_TEXTS, is_storable, json_values

from airflow_provider_crewai.client.rendered import (
    as_id,
    as_inputs,
    as_object,
    as_text,
    as_url,
    doubts,
    is_nothing,
    written_texts,
)
from airflow_provider_crewai.client.webhooks import as_human_input_webhook, as_webhooks
from airflow_provider_crewai.wire.codec import kickoff_request
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewError
from airflow_provider_crewai.wire.model import Kickoff
from airflow_provider_crewai.wire.values import MAX_DEPTH, as_json


class Colour(Enum):
    RED = "red"


class Text(str):
    """As a template engine marks what it has made."""

    __slots__ = ()


class Lazy(Sequence[Any]):
    """As Airflow hands over the outputs of a mapped task."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __getitem__(self, index: Any) -> Any:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)


ODD = st.sampled_from(
    [
        datetime(2026, 1, 1, tzinfo=UTC),
        date(2026, 1, 1),
        timedelta(1),
        {1, 2},
        Decimal("1.1"),
        Fraction(1, 3),
        b"bytes",
        bytearray(b"bytes"),
        UUID(int=1),
        Path("/tmp"),  # noqa: S108 - nobody opens it
        Colour.RED,
        Text("a text"),
        object(),
        len,
        iter([1]),
        float("nan"),
        float("inf"),
        1j,
        range(3),
        deque([1]),
        MappingProxyType({"a": 1}),
    ]
)
ANY_TEXTS = st.one_of(
    WILD_TEXTS, st.sampled_from(["None", "", "null", "{}", "[", "{'a': 1}", "LazyXComSequence([2 items])"])
)
RENDERED = st.recursive(
    st.one_of(ODD, json_values(ANY_TEXTS)),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.lists(inner, max_size=3).map(Lazy)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.one_of(ANY_TEXTS, st.integers()), inner, max_size=3)
    ),
    max_leaves=8,
)


def plain(value: Any) -> Iterator[Any]:
    """The values that a rendered one may become, each by one argument."""
    for argument in (
        lambda: as_inputs(value),
        lambda: {"meta": as_object(value, "meta")},
        lambda: {"url": as_url(value, "task_webhook_url")},
        lambda: {"text": as_text(value, "text")},
        lambda: {"id": as_id(value, "restore_from_state_id")},
        lambda: {"human": as_human_input_webhook(value)},
        lambda: {"webhooks": as_webhooks(value)},
        lambda: kickoff_request(Kickoff(inputs=value)).body,
        lambda: kickoff_request(Kickoff(inputs={"a": value})).body,
    ):
        try:
            yield argument()
        except CrewError as error:
            yield error


@pytest.mark.parametrize("value", [UUID(int=1), Path("a.txt"), Decimal("1.1")])
def test_what_its_text_stands_for_is_refused_with_that_cure(value: object) -> None:
    with pytest.raises(CrewError, match=r"pass `str\(…\)`"):
        as_inputs({"a": value})


@given(RENDERED)
def test_any_rendered_value_gives_a_json_body_or_a_crew_error(value: Any) -> None:
    for made in plain(value):
        if isinstance(made, CrewError):
            assert str(made).endswith("Nothing was sent.")
            assert len(str(made)) < 1000
            continue
        assert json.loads(json.dumps(made, allow_nan=False)) == made
        assert is_storable(made)


@given(json_values())
def test_json_stays_the_json_it_was(value: Any) -> None:
    assert repr(as_json(value, "value")) == repr(value)
    assert as_json(Lazy([value, (value,)]), "value") == [value, [value]]


@given(st.dictionaries(TEXTS, json_values(), max_size=3))
def test_an_object_and_its_text_are_the_same_inputs(inputs: Any) -> None:
    assert as_inputs(json.dumps(inputs)) == as_inputs(inputs) == inputs


@given(json_values(st.one_of(TEXTS, st.sampled_from(["None", "{'a': 1}"]))))
def test_what_was_written_is_beyond_doubt_and_a_doubt_is_one_line(value: Any) -> None:
    inputs = {"a": value}
    # A key is never rendered, so one that holds a template was hardly meant.
    assert all("has the key" in doubt and "{{" in doubt for doubt in doubts(inputs, written_texts(inputs)))
    assert all("\n" not in doubt for doubt in doubts(inputs, frozenset()))


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
def test_depth_has_a_bound(depth: int) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    if depth <= MAX_DEPTH:
        assert as_json(value, "inputs") == value
    else:
        with pytest.raises(CrewConfigError, match=r"^inputs nests lists or objects more than \d+ levels deep"):
            as_json(value, "inputs")


@pytest.mark.parametrize("value", [None, "", " ", "None", " None\n"])
def test_nothing_is_nothing_in_every_form(value: Any) -> None:
    assert is_nothing(value)
    assert as_text(value, "x") is as_id(value, "x") is as_url(value, "x") is as_webhooks(value) is None
    assert as_object(value, "x") == {}
    with pytest.raises(CrewConfigError, match="inputs rendered to"):
        as_inputs(value)


@pytest.mark.parametrize("value", [0, False, "0", "none", "nothing", "null"])
def test_what_is_little_is_not_nothing(value: Any) -> None:
    assert not is_nothing(value)


@pytest.mark.parametrize(
    "value", [10**5000, {10**5000: 1}, {"k" * 10**6: {1}}, {1: "one"}, {"\0" * 10**6: 1}], ids=type
)
def test_what_is_huge_is_refused_in_few_words(value: Any) -> None:
    with pytest.raises(CrewConfigError) as refusal:
        as_json({"a": value}, "inputs")
    assert str(refusal.value).startswith(("inputs['a'", "a key of inputs['a'"))
    assert len(str(refusal.value)) < 500
