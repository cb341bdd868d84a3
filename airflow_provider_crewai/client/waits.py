"""Which run is waited for? With all that must survive a deferral."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_crewai.client.watch import Sight
from airflow_provider_crewai.wire.model import RunState


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
    """

    kickoff_id: str
    started_at: float
    deadline: float | None
    seen_alive: bool = False
    deferrals: int = 0
    last_state: str | None = None
    last_at: float | None = None
    human_input: bool = False

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
