"""What does a worker do about a run's questions? It sends what a person said, and opens Required Actions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

from airflow_provider_crewai.client import defaults, policy
from airflow_provider_crewai.client.dialogue import Dialogue, Heard, Responded
from airflow_provider_crewai.client.feedback import Fate, Note, pending
from airflow_provider_crewai.client.ledger import Record
from airflow_provider_crewai.client.questions import Asker, UnclearResponse, feedback_of, form_of, options_of
from airflow_provider_crewai.in_airflow.compat import KEEPS_FIRST_FORM, Context
from airflow_provider_crewai.in_airflow.limits import Limit, seconds_of
from airflow_provider_crewai.in_airflow.mailbox import questions
from airflow_provider_crewai.in_airflow.people import Notifiers, notifiers, users
from airflow_provider_crewai.in_airflow.required_action import action_url, open_action
from airflow_provider_crewai.wire.errors import (
    CrewError,
    CrewFeedbackInDoubt,
    CrewLedgerError,
    CrewRateLimited,
    CrewServerError,
    CrewTaskKilled,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import Feedback, Kickoff, Question, RunState

if TYPE_CHECKING:
    from airflow_provider_crewai.client.shell import Store
    from airflow_provider_crewai.client.sync import CrewClient
    from airflow_provider_crewai.client.waits import Wait
    from airflow_provider_crewai.client.watch import Ending, Watch

TIME_IS_UP = "human_timeout"
"""Who says what is said when nobody responds in time."""


class AsksPeople(Protocol):
    """What a task says about its questions."""

    task_id: str
    human_input: bool
    assigned_users: Any
    human_timeout: Limit
    on_human_timeout: str
    on_question: Notifiers

    @property
    def has_mailbox(self) -> bool:
        """Return whether webhooks may bring questions to the task."""

    @property
    def log(self) -> Any:
        """Return the task's logger."""

    def page_url(self, context: Context) -> str | None:
        """Return the URL of a page about the task's run, or None."""


@dataclass
class Asking:
    """One stay of a task in its worker, as far as it is about questions.

    :param client: talks to the crew, and keeps the record of the task's run.
    :param wait: the run, and what was asked and answered before.
    :param hooks: returns the kickoff whose webhooks a crew wants again with each answer.
    :param store: keeps that record.
    """

    task: AsksPeople
    client: CrewClient
    wait: Wait
    context: Context
    hooks: Callable[[], Kickoff]
    store: Store

    def __post_init__(self) -> None:
        self.dialogue: Dialogue = self.wait.dialogue
        if self.task.has_mailbox:
            self.client.hear = self._hear
        self._word: str | None = None
        if self.context["ti"].try_number > 1 and self.dialogue.also is None and (note := Note.of(self._record())):
            self.dialogue.also = note.also

    def _hear(self) -> Heard | None:
        found = questions(self.context, self.wait.kickoff_id)
        return None if found is None else Heard(found)

    def take(self, event: dict[str, Any]) -> None:
        """Send at once what a person has responded, as Airflow or our trigger says."""
        responded = Responded.of(event)
        question, key = self.wait.question, self.dialogue.asked
        if responded is None:
            return
        if question is None or key is None:
            self.task.log.info("Run %s was given this response before, or asks nothing now.", self.wait.kickoff_id)
            return
        self._send(responded, key, question)

    def settle(self, watch: Watch) -> Ending | None:
        """Do what the last look asks for. Return the ending if nobody responded in time and the task fails then."""
        now, question = time.time(), self.dialogue.question
        if not self.dialogue.shows:
            self._take_up_unseen(watch)
            return None
        if self.dialogue.asked is not None and (question is None or question.key != self.dialogue.asked):
            self.task.log.info("Run %s no longer asks this: it was answered elsewhere.", self.wait.kickoff_id)
            self.dialogue.closed()
        if question is None:
            return None
        if self.dialogue.is_overdue(now):
            if (option := self._option_in_the_end(question)) is None:
                return watch.unanswered(now)
            self._send(Responded((option,), by=TIME_IS_UP, at=now), question.key, question)
        elif self._is_free():
            self._take_up(question)
        if self._is_free():
            self._open(_with_crew_task(question, watch), now)
        return None

    def _is_free(self) -> bool:
        """Return whether no action is open and no feedback is on its way."""
        return self.dialogue.asked is None and self.dialogue.given is None

    def _take_up(self, question: Question) -> None:
        """Send what a person said to this question before, if it is not known to have arrived."""
        left = pending(self._record())
        if left is not None and left[0].question == question.key:
            self._deliver_what_is_left(left[0], question)

    def _take_up_unseen(self, watch: Watch) -> None:
        """Send what a person said in an earlier try to a run that hides what it asks: no look shows that again."""
        hides = watch.run is not None and watch.run.state is RunState.NOT_FOUND
        if hides and self._is_free() and self.context["ti"].try_number > 1 and (left := pending(self._record())):
            self._deliver_what_is_left(*left)

    def _deliver_what_is_left(self, feedback: Feedback, question: Question) -> None:
        self.task.log.info("The response %r is on record, and not known to have arrived.", feedback.text)
        self._deliver(feedback, question)

    def _record(self) -> Record | None:
        try:
            stored = self.store.load()
            return None if stored is None else Record.from_json(stored)
        except CrewLedgerError:  # whoever needs the record says so
            return None

    def _option_in_the_end(self, question: Question) -> str | None:
        option = self.task.on_human_timeout
        if option == defaults.ON_HUMAN_TIMEOUT:
            return None
        if option not in options_of(question):
            self.task.log.warning("on_human_timeout is %r, but the options are %s.", option, options_of(question))
            return None
        return option

    # -- what a person said -----------------------------------------------------------------------------

    def _send(self, responded: Responded, key: str, question: Question) -> None:
        by = responded.by or "A person"
        try:
            feedback = feedback_of(key, responded)
        except UnclearResponse as missing:
            self._ask_again(f"{by} chose {responded.chosen[0]!r}, but nothing was sent: {missing}")
            return
        self.task.log.info(
            "%s chose %r. Sending to run %s: %s", by, responded.chosen[0], self.wait.kickoff_id, feedback.text
        )
        self._deliver(feedback, question)

    def _deliver(self, feedback: Feedback, question: Question) -> None:
        try:
            given = self.client.give(
                feedback, self._in_full(question, feedback.question), self.wait.kickoff_id, self.hooks()
            )
        except CrewTaskKilled:
            raise
        except CrewFeedbackInDoubt as doubt:
            self._ask_again(str(doubt))
        except CrewError as error:
            self._failed(feedback, error)
        else:
            say = self.task.log.warning if given.fate is Fate.TOO_LATE else self.task.log.info
            say("%s", given.said)
            self._gave(feedback, given.also)

    def _in_full(self, question: Question, key: str) -> Question:
        """Return the question with where the feedback goes: only the webhook that brought it says that."""
        heard = self.client.hear()
        return next((each for each in heard.questions if each.key == key), question) if heard else question

    def _gave(self, feedback: Feedback, also: str | None = None) -> None:
        self.dialogue.gave(feedback.question, time.time(), also)

    def _failed(self, feedback: Feedback, error: CrewError) -> None:
        why = str(error).rstrip(".")
        passes = isinstance(error, CrewTransportError | CrewServerError | CrewRateLimited) or policy.out_of_reach(error)
        if passes and not self._is_brought(feedback.question):
            self.task.log.warning(
                "The response could not be sent to run %s (%s). It is on record, and is sent as soon as the run can be "
                "reached: %s",
                self.wait.kickoff_id,
                why,
                feedback.text,
            )
            self._gave(feedback)
        else:
            self._ask_again(f"The response {feedback.text!r} was not sent: {why}.")

    def _is_brought(self, key: str) -> bool:
        """Return whether only a webhook tells the question: no later look shows that it is still open."""
        heard = self.client.hear()
        return heard is not None and any(each.key == key for each in heard.questions)

    def _ask_again(self, word: str) -> None:
        self.task.log.warning("Run %s: %s", self.wait.kickoff_id, word)
        self._word = word
        self.dialogue.closed()
        self.dialogue.given = None

    # -- what the run asks ------------------------------------------------------------------------------

    def _open(self, question: Question, now: float) -> None:
        limit = self.task.human_timeout
        patience = None if limit is None else seconds_of(limit)
        asker = Asker(
            self.wait.kickoff_id,
            self.client.crew,
            self.task.page_url(self.context),
            patience,
            self.task.on_human_timeout,
            keeps_first_form=KEEPS_FIRST_FORM,
        )
        ti = self.context["ti"]
        try:
            open_action(ti, form_of(question, asker, now, self._word), users(self.task.assigned_users))
        except Exception as error:  # noqa: BLE001 - whatever it is, the run goes on and may be answered elsewhere
            self.task.log.warning("No Required Action could be opened; answer the run elsewhere: %r", error)
            self.dialogue.gave(question.key, now)  # tried again after a minute
            return
        self._word = None
        self.dialogue.opened(question, None if patience is None else now + patience)
        self.task.log.warning("Run %s waits for a person. Respond here: %s", self.wait.kickoff_id, action_url(ti))
        self._notify(question, action_url(ti))

    def _notify(self, question: Question, url: str) -> None:
        context = {**self.context, "question": question, "action_url": url}
        for notifier in notifiers(self.task.on_question):
            try:
                notifier(context)
            except Exception as error:  # noqa: BLE001 - a notifier must not fail a task whose run is paid for
                self.task.log.warning("A notifier of on_question failed; the question is open: %r", error)


def _with_crew_task(question: Question, watch: Watch) -> Question:
    """Add which crew task asks, as the run's progress says: no question names it."""
    at_work = watch.run.progress.current if watch.run and watch.run.progress else None
    return question if question.crew_task or not at_work else replace(question, crew_task=at_work)
