"""Which run is waited for? With all that must survive a deferral."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_crewai.client.dialogue import Dialogue
from airflow_provider_crewai.client.watch import Sight
from airflow_provider_crewai.wire.model import Question, RunState


@dataclass(frozen=True, slots=True)
class Wait:
    """A run to wait for, with everything that must survive a deferral. JSON scalars only.

    :param started_at: when it was kicked off, epoch seconds; for a run that something else started, when the waiting
        began.
    :param deadline: epoch second at which we stop waiting, or None.
    :param seen_alive: whether we know that the run exists.
    :param deferrals: how often the task has deferred for it.
    :param last_state: what was last seen of the run, or None.
    :param last_at: when that was, epoch seconds.
    :param human_input: whether a webhook is called when the run waits for a human.
    :param asked: the key of the question for which a Required Action is open, or None; `asked_task` and `asked_flow`
        say where the feedback goes.
    :param given: the key of the question that was answered last, and `given_at` when, epoch seconds.
    :param human_deadline: the epoch second until which a person may respond, or None.
    :param also: another id of the run, from the answer to the last resume.
    """

    kickoff_id: str
    started_at: float
    deadline: float | None
    seen_alive: bool = False
    deferrals: int = 0
    last_state: str | None = None
    last_at: float | None = None
    human_input: bool = False
    asked: str | None = None
    asked_task: str | None = None
    asked_flow: str | None = None
    given: str | None = None
    given_at: float = 0.0
    human_deadline: float | None = None
    also: str | None = None

    @property
    def question(self) -> Question | None:
        """Return the question for which an action is open, as far as it is needed to answer it."""
        return None if self.asked_task is None else Question(self.asked_task, flow_id=self.asked_flow)

    @property
    def dialogue(self) -> Dialogue:
        """Return what is said between the run and people."""
        return Dialogue(self.asked, self.given, self.given_at, self.human_deadline, self.also)

    def after(self, dialogue: Dialogue) -> Wait:
        """Return a copy that notes what was said. A question that is asked or answered is progress."""
        asked = dialogue.question if dialogue.asked is not None else None
        kept = self.question if dialogue.asked == self.asked else asked
        moved = (dialogue.asked, dialogue.given) != (self.asked, self.given)
        return replace(
            self,
            asked=dialogue.asked,
            asked_task=kept.task_id if kept else None,
            asked_flow=kept.flow_id if kept else None,
            given=dialogue.given,
            given_at=dialogue.given_at,
            human_deadline=dialogue.deadline,
            also=dialogue.also,
            deferrals=0 if moved else self.deferrals,
        )

    @property
    def last(self) -> Sight | None:
        """Return what was last seen of the run, or None."""
        if self.last_at is None or self.last_state not in tuple(RunState):
            return None
        return Sight(RunState(self.last_state), self.last_at)

    def seen(self, last: Sight | None) -> Wait:
        """Return a copy that notes what was last seen of the run. None changes nothing."""
        return replace(self, last_state=last.state.value, last_at=last.at) if last else self

    def told(self, event: Mapping[str, Any]) -> Wait:
        """Return a copy that notes what a trigger saw. Its event may come from an older or a newer version."""
        ended = event.get("ending") if event.get("ending") in ENDED else None
        known = replace(self, seen_alive=self.seen_alive or bool(event.get("seen_alive")))
        if (state := event.get("state") or ended) is None:
            return known
        return replace(known, last_state=state, last_at=event.get("at") or time.time())


ENDED = ("succeeded", "failed", "stopped")
"""The endings that are also states of the run."""
