"""Two runs of one project side by side: what they were given, what they took, and what came out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import zip_longest

from airflow_provider_crewai.run_page.outputs import SHOWN
from airflow_provider_crewai.run_page.view import CrewTaskView, RunView
from airflow_provider_crewai.server.page.differences import Sides, sides
from airflow_provider_crewai.wire.beginnings import beginning
from airflow_provider_crewai.wire.model import JSON
from airflow_provider_crewai.wire.times import duration

_MOST_INPUTS = 50
_MOST_CREW_TASKS = 50
_BRIEF = 2_000


@dataclass(frozen=True, slots=True)
class Row:
    """Something that both runs have.

    :param cut: whether more of it is there than is shown.
    """

    name: str
    sides: Sides
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """Something that can be measured in both runs, as a person reads it."""

    name: str
    left: str
    right: str
    difference: str


def measures(left: RunView, right: RunView) -> list[Measure]:
    """Return how long the runs and their crew tasks took, and how many tokens they used."""
    wholes = [
        _measure("Time", _seconds(left), _seconds(right), duration),
        _measure("Tokens", left.usage.get("total_tokens"), right.usage.get("total_tokens"), _count),
    ]
    return [each for each in (*wholes, *_of_crew_tasks(left, right)) if each]


def inputs(left: RunView, right: RunView) -> list[Row]:
    """Return the inputs of both, those that differ first."""
    lefts, rights = (view.inputs if isinstance(view.inputs, dict) else {} for view in (left, right))
    names = [*lefts, *(name for name in rights if name not in lefts)][:_MOST_INPUTS]
    rows = [_row(name, lefts.get(name), rights.get(name), _BRIEF) for name in names]
    return sorted(rows, key=lambda row: not row.sides.differ)


def outputs(left: RunView, right: RunView) -> list[Row]:
    """Return the results of both, and what their crew tasks made."""
    pairs = [*zip_longest(left.crew_tasks, right.crew_tasks)][:_MOST_CREW_TASKS]
    made = [
        _row(_name(one, other), one.output if one else None, other.output if other else None, _BRIEF)
        for one, other in pairs
        if (one and one.output) or (other and other.output)
    ]
    return [_row("Result", _answer(left), _answer(right), SHOWN), *made]


def _answer(view: RunView) -> JSON:
    return view.error if view.answer is None and view.answer_json is None else view.answer or view.answer_json


def _row(name: str, left: JSON, right: JSON, most: int) -> Row:
    texts = [beginning(value, most) for value in (left, right)]
    return Row(name, sides(*(text[:most] for text in texts)), any(len(text) > most for text in texts))


def _of_crew_tasks(left: RunView, right: RunView) -> Iterator[Measure | None]:
    for one, other in [*zip_longest(left.crew_tasks, right.crew_tasks)][:_MOST_CREW_TASKS]:
        name, times, tokens = _name(one, other), *_pairs(one, other)
        yield _measure(f"Time of {name}", *times, duration)
        yield _measure(f"Tokens of {name}", *tokens, _count)


def _pairs(
    one: CrewTaskView | None, other: CrewTaskView | None
) -> tuple[tuple[float | None, float | None], tuple[float | None, float | None]]:
    nothing = CrewTaskView("", "next")
    left, right = one or nothing, other or nothing
    return (left.seconds, right.seconds), (left.tokens, right.tokens)


def _name(one: CrewTaskView | None, other: CrewTaskView | None) -> str:
    names = dict.fromkeys(task.name for task in (one, other) if task)
    return " / ".join(names)


def _seconds(view: RunView) -> float | None:
    return view.ended_at - view.started_at if view.ended_at and view.started_at else None


def _measure(name: str, left: float | None, right: float | None, write: Callable[[float], str]) -> Measure | None:
    if left is None and right is None:
        return None
    words = ["-" if value is None else write(value) for value in (left, right)]
    return Measure(name, words[0], words[1], _difference(left, right, write))


def _difference(left: float | None, right: float | None, write: Callable[[float], str]) -> str:
    if left is None or right is None or write(left) == write(right):
        return ""
    share = f" ({(right - left) / left:+.0%})" if left else ""
    return f"{'+' if right > left else '-'}{write(abs(right - left))}{share}"


def _count(value: float) -> str:
    return f"{value:,.0f}"
