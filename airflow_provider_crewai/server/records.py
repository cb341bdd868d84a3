"""Rows of the database of runs: runs, their steps and their questions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from airflow_provider_crewai.wire.model import JSONObject


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run as it stands, without its inputs, which may be large.

    :param status: the sentence that goes with the state, if there is one.
    :param exit: how its last process ended, if its parent saw that.
    :param lives: how many processes it has had since a human last answered it.
    :param created_at: when it was kicked off, in epoch seconds like the other times.
    :param answer: what the run's process reports, under the API's own keys.
    """

    kickoff_id: str
    state: str
    status: str | None
    pid: int | None
    exit: str | None
    lives: int
    created_at: float
    started_at: float | None
    ended_at: float | None
    answer: JSONObject = field(repr=False)


@dataclass(frozen=True, slots=True)
class Step:
    """A crew task or flow method that a run has begun.

    :param tokens: the tokens that its models' calls used, or None if nobody counted them.
    :param output: its output, or None if there is none yet.
    """

    name: str
    agent: str | None
    started_at: float
    ended_at: float | None
    tokens: int | None
    output: JSONObject | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class StoredQuestion:
    """A question that a run asks a human, as the server reads it.

    :param kind: `task` (a crew task with human_input), `flow` (a method with @human_feedback), `ask` (Flow.ask).
    :param output: what the human should judge.
    :param options: the outcomes that a flow can take, if it names them.
    :param approved: the answer's verdict; None if it gave none, or there is no answer yet.
    """

    question_id: str
    kickoff_id: str
    kind: str
    message: str
    output: str = field(repr=False)
    asked_at: float
    feedback: str | None
    answered_at: float | None
    options: list[str] | None
    approved: bool | None


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """Something that happened in a run.

    :param number: its place in the run's events, from 1.
    :param type: `state`, when the run's state changed, or the type of one of crewai's events.
    :param at: when, in UTC by ISO 8601.
    """

    number: int
    type: str
    at: str
    data: JSONObject = field(repr=False)


def open_questions(questions: Sequence[StoredQuestion]) -> list[StoredQuestion]:
    """Return those of a run's questions that have no answer, the newest last. A flow may ask several at once."""
    return [each for each in questions if each.answered_at is None]


def open_question(questions: Sequence[StoredQuestion]) -> StoredQuestion | None:
    """Return the newest of a run's questions that has no answer, or None."""
    return next(reversed(open_questions(questions)), None)
