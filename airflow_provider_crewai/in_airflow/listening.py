"""What does a trigger do about a run's questions? It hears of them, and closes Required Actions: only it can."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from airflow_provider_crewai.client.dialogue import ELSEWHERE, GIVEN_UP, OUTDATED, TOO_LATE, Dialogue, Heard, Responded
from airflow_provider_crewai.client.watch import Patience, Verdict
from airflow_provider_crewai.in_airflow.compat import RESPONSE_WAKES_TASK, name_among_states, task_states
from airflow_provider_crewai.in_airflow.mailbox import aquestions
from airflow_provider_crewai.in_airflow.required_action import close_action, response_to
from airflow_provider_crewai.wire.model import JSONObject

ATTENTIVE = 10.0
"""The most seconds between two looks while a person may respond, where only our looks notice that."""

_OVER = (Verdict.SUCCEEDED, Verdict.FAILED, Verdict.STOPPED)
_SAID = {
    ELSEWHERE: "Somebody answered the crew elsewhere, or its run has ended.",
    TOO_LATE: "The time that a person has for each question is over.",
    GIVEN_UP: "The task stopped waiting for its run. A retry asks again if the run still does.",
    OUTDATED: "An earlier try of the task asked this.",
}


@dataclass
class Listener:
    """Hears for one trigger what people say.

    :param ti: the trigger's task instance.
    :param dialogue: what was asked and answered so far.
    :param has_mailbox: whether webhooks may bring questions.
    """

    ti: Any
    kickoff_id: str
    dialogue: Dialogue
    log: Any
    has_mailbox: bool = False

    def paced(self, patience: Patience) -> Patience:
        """Return a patience that notices a response soon enough."""
        if RESPONSE_WAKES_TASK or self.dialogue.asked is None:
            return patience
        longest = min(patience.max_poll_interval, max(patience.poll_interval, ATTENTIVE))
        return replace(patience, max_poll_interval=longest)

    async def begin(self, *, outdated: bool) -> None:
        """Close what an earlier try may have left open."""
        if outdated and self.dialogue.asked is None:
            await self._close(OUTDATED)

    async def hear(self) -> Heard:
        """Return what Airflow knows of questions and of a response. What cannot be read now is as it was."""
        questions = await aquestions(self.ti, self.kickoff_id) if self.has_mailbox else ()
        if questions is None:
            questions = self.dialogue.heard.questions
        return Heard(questions, await self._response())

    async def _response(self) -> Responded | None:
        if self.dialogue.asked is None:
            return None
        try:
            responded = await response_to(self.ti)
            # A response wakes a deferred task, and not one that a worker has: then it is for us to say so. If both did,
            # the task would be woken twice.
            if responded is None or not RESPONSE_WAKES_TASK or await self._is_deferred():
                return responded
        except Exception as error:  # noqa: BLE001 - Airflow's errors are of any class, and the next look asks again
            self.log.warning("Airflow does not say whether a person has responded: %r", error)
        return None

    async def _is_deferred(self) -> bool:
        states = await task_states(self.ti.dag_id, [self.ti.task_id], [self.ti.run_id])
        return states.get(self.ti.run_id, {}).get(name_among_states(self.ti)) == "deferred"

    async def end(self, verdict: Verdict) -> JSONObject:
        """Close the action if nobody has to respond any more. Return what to add to the event: a person's response."""
        responded = self.dialogue.responded
        if responded is None and (word := self._closing(verdict)) and not await self._close(word):
            responded = await self._response()
        return responded.to_event() if responded else {}

    def _closing(self, verdict: Verdict) -> str | None:
        dialogue = self.dialogue
        if dialogue.asked is None:
            return None
        if verdict in _OVER:
            return ELSEWHERE
        if verdict is Verdict.TIMED_OUT:
            return GIVEN_UP
        if verdict is not Verdict.ASKS:
            return None  # the worker looks again, and may go on waiting
        key = dialogue.question.key if dialogue.question else None
        return ELSEWHERE if dialogue.shows and key != dialogue.asked else TOO_LATE

    async def _close(self, word: str) -> bool:
        try:
            return await close_action(self.ti, word, _SAID[word])
        except Exception as error:  # noqa: BLE001 - as above; the run matters more
            self.log.warning("The Required Action could not be closed: %r", error)
            return True
