"""Decides whether what a run asks is news for its task. A pure object: it gets what was seen, and the time.

The worker opens and closes Required Actions, the trigger watches the run. So the trigger must notice when the worker
has something to do:

    the run asks        the action is open for  a person responded  news?
    ------------------  ----------------------  ------------------  ------------------------------------------------
    a question          none                                        yes: the worker opens an action
    another question    a question                                  yes: answered elsewhere, and asked again
    nothing             a question                                  yes: answered elsewhere
    what was answered   none                                        no, for a minute: the feedback is on its way
    (it does not show)  a question              no                  no: a deployment hides a crew that waits
    any                 a question              yes                 yes: the worker sends the feedback
    any                 a question, overdue                         yes: nobody responded in time
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Self

from airflow_provider_crewai.wire.model import JSONObject, Question, Run, RunState

ON_ITS_WAY = 60.0
"""Seconds for which a run may go on showing a question that was answered. After that it is asked again."""

_HIDES = (RunState.PAUSED, RunState.NOT_FOUND)
"""The states of a run that may wait for a person without saying for what."""


FEEDBACK = "feedback"
"""The name of the form's text field."""

ELSEWHERE = "Answered elsewhere"
TOO_LATE = "Nobody responded in time"
GIVEN_UP = "The task stopped waiting"
OUTDATED = "No longer asked"
CLOSINGS = (ELSEWHERE, TOO_LATE, GIVEN_UP, OUTDATED)
"""What we write as the chosen option into an action that nobody has to respond to any more."""


@dataclass(frozen=True, slots=True)
class Responded:
    """A person's response to a Required Action.

    :param chosen: the options.
    :param text: what the person wrote.
    :param by: who, by the name that Airflow knows.
    :param at: when, epoch seconds.
    """

    chosen: tuple[str, ...]
    text: str = ""
    by: str | None = None
    at: float = 0.0

    @classmethod
    def of(cls, said: Mapping[str, Any]) -> Self | None:
        """Read what Airflow says of a response, or what our trigger repeats of it. None: it is not a person's.

        The keys are Airflow's (`HITLDetail.as_resume_event_payload`, 3.3 and 3.4).
        """
        options = said.get("chosen_options")
        chosen = tuple(map(str, options)) if isinstance(options, list | tuple) else ()
        if not chosen or chosen[0] in CLOSINGS:
            return None
        given = said.get("params_input")
        text = given.get(FEEDBACK) if isinstance(given, Mapping) else None
        return cls(chosen, text if isinstance(text, str) else "", _name(said), _epoch(said.get("responded_at")))

    def to_event(self) -> JSONObject:
        """Return what a trigger's event says of it, so that `of` reads the same."""
        return {
            "chosen_options": list(self.chosen),
            "params_input": {FEEDBACK: self.text},
            "responded_by_user": self.by,
            "responded_at": self.at,
        }


def _name(said: Mapping[str, Any]) -> str | None:
    user = said.get("responded_by_user")
    name = user.get("name") if isinstance(user, Mapping) else user
    return str(name) if name else None


def _epoch(at: Any) -> float:
    if isinstance(at, datetime):
        return at.timestamp()
    return float(at) if isinstance(at, int | float) else 0.0


@dataclass(frozen=True, slots=True)
class Heard:
    """What Airflow knows of a run's questions.

    :param questions: what webhooks said that it asked, the newest last.
    :param responded: a person's response to the open action, if there is one.
    """

    questions: tuple[Question, ...] = ()
    responded: Responded | None = None


@dataclass(slots=True)
class Dialogue:
    """What is said between a run and people.

    :param asked: the key of the question for which an action is open, or None.
    :param given: the key of the question that was answered last, until the run stops showing it.
    :param given_at: when that was, epoch seconds.
    :param deadline: the epoch second until which a person may respond, or None.
    :param also: another id of the run, from the answer to the last resume: it may end under that one alone.
    :param heard: what Airflow knew at the last look.
    :param question: what the run asked when it last showed that, or None.
    :param shows: whether it has shown that at all.
    """

    asked: str | None = None
    given: str | None = None
    given_at: float = 0.0
    deadline: float | None = None
    also: str | None = None
    heard: Heard = field(default_factory=Heard)
    question: Question | None = None
    shows: bool = False

    @property
    def responded(self) -> Responded | None:
        """Return the response to the open action, or None."""
        return self.heard.responded if self.asked is not None else None

    def is_overdue(self, now: float) -> bool:
        """Return whether a person's time is over."""
        return self.asked is not None and self.deadline is not None and now >= self.deadline

    def saw(self, run: Run, now: float) -> bool:
        """Take in a look at a run that may go on. Return whether the worker has something to do."""
        question = self._asks(run)
        shows = question is not None or run.state not in _HIDES
        if question is not None and self._is_on_its_way(question, run, now):
            question = None
        elif shows:
            self.given = None
        if shows:
            self.question, self.shows = question, True
        if self.responded is not None or self.is_overdue(now):
            return True
        return shows and (question.key if question else None) != self.asked

    def _is_on_its_way(self, question: Question, run: Run, now: float) -> bool:
        """Return whether the feedback to a question was sent just now. What a webhook brought never goes away."""
        is_told = question is run.question
        return question.key == self.given and (not is_told or now < self.given_at + ON_ITS_WAY)

    def _asks(self, run: Run) -> Question | None:
        """Return what the run asks: its state says it whole or in part, a webhook says it whole."""
        told, brought = run.question, self.heard.questions[-1] if self.heard.questions else None
        if told is not None and (told.message or told.output or brought is None):
            return told
        return (brought or told) if run.state in _HIDES else None

    def opened(self, question: Question, deadline: float | None) -> None:
        """Note that an action is open for a question."""
        self.asked, self.deadline, self.given = question.key, deadline, None

    def closed(self) -> None:
        """Note that no action is open."""
        self.asked, self.deadline = None, None

    def gave(self, key: str, now: float, also: str | None = None) -> None:
        """Note that a question was answered: the run may still show it.

        :param also: the id under which the run goes on, if the crew named another one.
        """
        self.closed()
        self.given, self.given_at = key, now
        self.also = also or self.also
