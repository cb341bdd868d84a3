"""Decides when we look at a run again, and when we give up. A pure object: it gets what was seen, and the time.

Only this module decides about polling, so the operator, the trigger and the sensor always behave alike.
"""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass
from typing import TypeGuard

from airflow_provider_crewai.client import defaults, policy
from airflow_provider_crewai.client.dialogue import Dialogue
from airflow_provider_crewai.wire.errors import (
    CrewAnswerTooLarge,
    CrewAuthError,
    CrewConfigError,
    CrewError,
    CrewNotACrew,
    CrewNotFound,
)
from airflow_provider_crewai.wire.model import Run, RunState

GRACE = 60.0
"""Seconds for which a run may be unknown to its deployment before we call it lost."""

LOGIN_GRACE = 60.0
"""Seconds for which the token may be refused before we give up: somebody may be rotating it at this moment."""

LONGEST_ASKED = 3600.0
"""The most seconds between two looks, whatever the server asks for."""

CENTURY = 100 * 365.25 * 86400
"""Seconds. A longer limit or interval means "for ever"; clocks, calendars and JSON cannot hold it."""

PACE = 0.05
"""The next look comes after this part of the run's age, but after `max_poll_interval` at the latest. So by default we
see the end of an hour's run within a minute."""


class Verdict(enum.StrEnum):
    """How our waiting for a run ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    LOST = "lost"
    AUTH_LOST = "auth_lost"
    UNWATCHABLE = "unwatchable"
    TOO_LARGE = "too_large"
    UNANSWERED = "unanswered"
    ASKS = "asks"
    """The run goes on, and so does the waiting: the worker has to open an action, or to send what a person said."""


_VERDICT_OF_STATE = {
    RunState.SUCCEEDED: Verdict.SUCCEEDED,
    RunState.FAILED: Verdict.FAILED,
    RunState.STOPPED: Verdict.STOPPED,
}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how closely to wait. Seconds, fractions allowed.

    :param poll_interval: the shortest wait between two looks.
    :param max_poll_interval: the longest wait.
    :param deadline: the epoch second at which we stop waiting, or None.
    :param unreachable_timeout: how long the API may fail to answer before we give up, or None.
    :param human_input: whether somebody answers when the crew waits for a human. The deployment reports a waiting run
        as `NOT FOUND` (crewai 1.15, 2026-10), so this decides what that word means.
    :param silent: whether we wait until the deadline in spite of errors that may go away (Airflow's `silent_fail`).
    """

    poll_interval: float = defaults.POLL_INTERVAL
    max_poll_interval: float = defaults.MAX_POLL_INTERVAL
    deadline: float | None = None
    unreachable_timeout: float | None = defaults.UNREACHABLE_TIMEOUT
    human_input: bool = False
    silent: bool = False


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look showed of a run. Kept because the next look may show less.

    :param at: when, epoch seconds.
    """

    state: RunState
    at: float


@dataclass(frozen=True, slots=True)
class Again:
    """Look again after this many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ending:
    """The verdict on a run, and the reasons for it.

    :param at: when we reached it, epoch seconds.
    :param run: the last answer about the run, or None if there never was one.
    :param last: what this watch or an earlier one last saw of the run while the deployment knew it.
    :param error: what kept us from looking, if that ended the waiting.
    :param since: since when the API did not answer, refused the token, or did not know the run.
    :param seen_alive: whether the deployment ever knew the run.
    """

    verdict: Verdict
    kickoff_id: str
    at: float
    run: Run | None = None
    error: CrewError | None = None
    since: float | None = None
    seen_alive: bool = False
    last: Sight | None = None

    @property
    def is_unread(self) -> bool:
        """Return whether we saw the run end, but could not fetch its answer."""
        return self.verdict not in _VERDICT_OF_STATE.values() and _is_final(self.last)

    @property
    def lacks_a_reason(self) -> bool:
        """Return whether we saw the run end without success, but could not fetch the reason."""
        return self.is_unread and self.last is not None and self.last.state is not RunState.SUCCEEDED

    @property
    def needs_a_hand(self) -> bool:
        """Return whether somebody has to mend something before the run can be read."""
        return self.is_unread or self.verdict in (Verdict.AUTH_LOST, Verdict.UNWATCHABLE, Verdict.TOO_LARGE)

    @property
    def leads_to_no_crew(self) -> bool:
        """Return whether the connection leads elsewhere: no answer from there was ever about the run."""
        return self.verdict is Verdict.UNWATCHABLE and isinstance(self.error, _NO_CREW)


_NO_CREW = (CrewNotFound, CrewNotACrew)


def _is_final(sight: Sight | None) -> bool:
    return sight is not None and sight.state.is_final


def is_over(step: Again | Ending) -> TypeGuard[Ending]:
    """Return whether the waiting is over. It is not while the worker only has to ask people, or to answer the run."""
    return isinstance(step, Ending) and step.verdict is not Verdict.ASKS


class Watch:
    """Makes all decisions about polling one run.

    :param started_at: when the run was kicked off, epoch seconds; its age sets the pace.
    :param seen_alive: whether we already know that the run exists on this deployment.
    :param last: what another watch last saw of the run, if any.
    :param missing_since: since when the API has not answered, if another watch found that.
    :param denied_since: since when the token has been refused, if another watch found that.
    :param unknown_since: since when the deployment has not known the run, if another watch found that.
    :param dialogue: what people are asked, or None if nobody is.
    """

    def __init__(
        self,
        kickoff_id: str,
        patience: Patience,
        *,
        started_at: float,
        seen_alive: bool = False,
        last: Sight | None = None,
        missing_since: float | None = None,
        denied_since: float | None = None,
        unknown_since: float | None = None,
        dialogue: Dialogue | None = None,
    ) -> None:
        self.kickoff_id = kickoff_id
        self.patience = patience
        self.started_at = started_at
        self.seen_alive = seen_alive
        self.run: Run | None = None
        self.last = last
        self.dialogue = dialogue
        self._misses = 0
        self._queued = 0.0
        self._missing_since = missing_since
        self._denied_since = denied_since
        self._unknown_since = unknown_since

    @property
    def ended(self) -> bool:
        """Return whether the run had ended when it was last seen."""
        return _is_final(self.last)

    def first(self, now: float, chance: float) -> float:
        """Return the seconds to wait before the first look.

        Up to its pace, but not always so long: a triggerer that restarts begins thousands of watches at once.
        """
        shortest, deadline = self.patience.poll_interval, self.patience.deadline
        wait = shortest + (self.pace(now, 0) - shortest) * chance
        return wait if deadline is None else max(0.0, min(wait, deadline - now))

    def saw(self, run: Run, now: float, chance: float) -> Again | Ending:
        """Take in an answer, and return what to do next.

        :param chance: a random number in [0, 1) for the jitter.
        """
        self.run = run
        self._misses, self._missing_since, self._denied_since = 0, None, None
        asks = self.dialogue is not None and not run.state.is_final and self.dialogue.saw(run, now)
        if run.state is RunState.NOT_FOUND:
            return self._end(Verdict.ASKS, now) if asks else self._saw_nothing(now, chance)
        self.last = Sight(run.state, now)
        self.seen_alive, self._unknown_since = True, None
        if run.state.is_final:
            return self._end(_VERDICT_OF_STATE[run.state], now)
        return self._end(Verdict.ASKS, now) if asks else self._go_on(self.pace(now, chance), now)

    def missed(self, error: CrewError, now: float, chance: float, queued: float = 0.0) -> Again | Ending:
        """Take in that no usable answer came. A failed look never says anything about the run.

        :param queued: seconds for which the look waited before it was sent: they are not the API's silence.
        """
        self._queued = 0.0 if self._missing_since is None else self._queued + queued
        if isinstance(error, CrewAnswerTooLarge):
            return self._end(Verdict.TOO_LARGE, now, error)
        if self._is_hopeless(error):
            return self._end(Verdict.UNWATCHABLE, now, error)
        verdict, since, grace = self._trouble(error, now)
        give_up = math.inf if grace is None or self.patience.silent else since + grace + self._queued
        if now >= give_up:
            return self._end(verdict, now, error, since)
        wait = policy.backoff(self._misses, longest=self.patience.max_poll_interval, chance=chance)
        wait = max(wait, self.patience.poll_interval, min(policy.retry_after(error, now), LONGEST_ASKED))
        return self._go_on(min(wait, give_up - now), now, error, since)

    def cut_short(self, now: float) -> Ending:
        """Return the ending for a look that is interrupted because the time is up."""
        return self._end(Verdict.TIMED_OUT, now, since=self._missing_since)

    def pace(self, now: float, chance: float) -> float:
        """Return the seconds until the next look at a run that goes on: a part of its age, within the given bounds."""
        shortest, longest = self.patience.poll_interval, self.patience.max_poll_interval
        interval = min(max(PACE * (now - self.started_at), shortest), longest)
        return max(shortest, interval * (1 - 0.1 * chance))

    def _trouble(self, error: CrewError, now: float) -> tuple[Verdict, float, float | None]:
        """Count one more look without an answer. Return its possible verdict, since when, and how long we allow it."""
        self._misses += 1
        self._missing_since = now if self._missing_since is None else self._missing_since
        if not isinstance(error, CrewAuthError):
            self._denied_since = None
            return Verdict.UNREACHABLE, self._missing_since, self.patience.unreachable_timeout
        self._denied_since = now if self._denied_since is None else self._denied_since
        return Verdict.AUTH_LOST, self._denied_since, LOGIN_GRACE

    def _is_hopeless(self, error: CrewError) -> bool:
        """Return whether somebody has to fix the connection before we can look at the run."""
        if isinstance(error, _NO_CREW):
            # A crew that answered before is being replaced, or is behind a gateway in trouble.
            return self.run is None and not self.seen_alive
        broken = isinstance(error, CrewConfigError) and not policy.out_of_reach(error)
        return broken and not self.patience.silent

    def _saw_nothing(self, now: float, chance: float) -> Again | Ending:
        since = self._unknown_since = now if self._unknown_since is None else self._unknown_since
        wait = self.pace(now, chance)
        if self.patience.silent or (self.patience.human_input and not self.ended):
            return self._go_on(wait, now)
        if now >= since + GRACE:
            return self._end(Verdict.LOST, now, since=since)
        return self._go_on(min(wait, since + GRACE - now), now)

    def _go_on(
        self, wait: float, now: float, error: CrewError | None = None, since: float | None = None
    ) -> Again | Ending:
        deadline = self.patience.deadline
        if deadline is not None and now >= deadline:
            return self._end(Verdict.TIMED_OUT, now, error, since)
        # Never sleep past a deadline: the last look happens at the deadline.
        for limit in (deadline, self.dialogue.deadline if self.dialogue else None):
            if limit is not None and limit > now:
                wait = min(wait, limit - now)
        return Again(wait)

    def unanswered(self, now: float) -> Ending:
        """Return the ending for a run whose question nobody answered in time."""
        return self._end(Verdict.UNANSWERED, now)

    def _end(self, verdict: Verdict, now: float, error: CrewError | None = None, since: float | None = None) -> Ending:
        return Ending(verdict, self.kickoff_id, now, self.run, error, since, self.seen_alive, self.last)
