"""What is known about a run, in plain values. Whoever shows a page fills this in; the page asks for nothing itself.

All moments are epoch seconds, all durations seconds. Nothing here need be trusted: the page escapes every text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_provider_crewai.wire.model import JSON, Progress, Question, RunState

Mark = Literal["done", "now", "waiting", "broken", "next"]
"""How far a crew task is: finished, at work, waiting for a human, begun and never finished, to come."""


@dataclass(frozen=True, slots=True)
class CrewTaskView:
    """A crew task, or a method of a flow.

    :param agent: the role of the agent that works on it.
    :param started_at: when it began, if that is known.
    :param seconds: how long it took, or has taken so far.
    :param tokens: the tokens that it used, if anybody counted them.
    :param output: its output: a text, or any JSON; None if there is none.
    """

    name: str
    mark: Mark
    agent: str | None = None
    started_at: float | None = None
    seconds: float | None = None
    tokens: int | None = None
    output: JSON = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class StoryLine:
    """One thing that happened: started, taken up, retried, cleared, stopped."""

    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Link:
    """Leads elsewhere. A URL that is neither http(s) nor a path of the same host is shown as text."""

    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Something else to know about the run, such as the try of its task, or when it was last looked at."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class RunView:
    """A run as its page shows it. A field that is left out is not shown.

    :param title: what a person calls it.
    :param kickoff_id: None if it is not known.
    :param crew: the crew's name or URL.
    :param word: what stands beside `state`'s colour; by default the state in words.
    :param lines: the verdict: what happened, whether it costs, what a retry and a clear will do.
    :param progress: how far it is.
    :param kicked_off_at: when it was kicked off.
    :param started_at: when it began to work.
    :param deadline: when the task gives up waiting.
    :param crew_tasks: all that is known of its crew tasks, in order, those to come last.
    :param answer: the crew's answer; `answer_json` is the same as JSON.
    :param error: why it failed or was stopped; it may be long.
    :param question: what it asks a human.
    :param usage: counts of tokens and requests, by the API's names.
    :param inputs: the kickoff's inputs, with secrets masked already.
    :param story: what happened so far, the oldest first.
    :param is_live: whether it may still change.
    """

    title: str
    state: RunState
    kickoff_id: str | None = None
    crew: str | None = None
    word: str | None = None
    lines: tuple[str, ...] = ()
    progress: Progress | None = None
    kicked_off_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    deadline: float | None = None
    facts: tuple[Fact, ...] = ()
    crew_tasks: tuple[CrewTaskView, ...] = ()
    answer: JSON = field(default=None, repr=False)
    answer_json: JSON = field(default=None, repr=False)
    error: str | None = field(default=None, repr=False)
    question: Question | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    inputs: JSON = field(default=None, repr=False)
    story: tuple[StoryLine, ...] = ()
    links: tuple[Link, ...] = ()
    is_live: bool = False


@dataclass(frozen=True, slots=True)
class ItemView:
    """An item of a batch that is at work, or that has no answer.

    :param index: its place in the list, from 0.
    :param word: what became of it, in words.
    :param inputs: its inputs, with secrets masked already, if they are known.
    :param error: why it has no answer.
    """

    index: int
    mark: Mark
    word: str
    kickoff_id: str | None = None
    started_at: float | None = None
    inputs: JSON = field(default=None, repr=False)
    error: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class BatchView(RunView):
    """A batch of runs: what `RunView` says of a run holds for the batch as a whole. `kickoff_id` is the batch's own id.

    :param without: items that have no answer, in the order of the inputs; `more_without` how many are not in it.
    :param at_work: items whose runs go on; `more_at_work` how many are not in it.
    """

    without: tuple[ItemView, ...] = ()
    more_without: int = 0
    at_work: tuple[ItemView, ...] = ()
    more_at_work: int = 0
