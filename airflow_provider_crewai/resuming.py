"""Give a person's feedback to the run of another task: for review processes of your own (Slack, mail, a form)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.ledger import Claim, Record
from airflow_provider_crewai.client.rendered import as_id, as_text, is_nothing
from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.in_airflow.compat import Context
from airflow_provider_crewai.in_airflow.dag_arguments import ChecksArguments, check_fields
from airflow_provider_crewai.in_airflow.failing import Briefly, fail, may_retry
from airflow_provider_crewai.in_airflow.own_webhooks import webhooks_of
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewError, CrewNothingAsked
from airflow_provider_crewai.wire.model import JSON, Feedback, JSONObject, Question

if TYPE_CHECKING:
    from airflow_provider_crewai.client.shell import Store
    from airflow_provider_crewai.client.sync import CrewClient

NOT_ON_RECORD = (
    "This Airflow has no task state store (3.3 and later have one), and [crewai] ledger_path is not set. If this task "
    "is retried, it cannot know what an earlier try has sent: it looks whether the run still asks."
)


class CrewResumeOperator(ChecksArguments):
    """Give a person's feedback to a run that waits for a human, exactly once, and return what became of it.

    The run is usually that of another task, which waits for it. Retries are safe: what was sent, or may have been, is
    on record and is not sent again, also if a retry finds the question gone. The task fails without a retry if the run
    is over or somebody else answered first, and is retried while the run asks nothing yet.

    :param kickoff_id: the run: a template, or another task's output.
    :param feedback: what the person said, word for word. A crew goes on after "Approved." and works on anything else.
    :param option: instead of or beside `feedback`, what the person chose: `Approve`, `Ask for changes` (needs
        `feedback`), or one of a flow's outcomes.
    :param question: which question is answered, by the `task_id` that a webhook told. Not needed where the run's
        status says what it asks: on the local server, and for flows. A deployment hides what a crew asks, so there it
        is needed.
    :param by: who said it, for the log and the record.
    :param crewai_conn_id: the connection of type `crewai`.
    :param human_input_webhook: the run's webhooks as its kickoff named them, because a crew that goes on without them
        forgets them; so are `task_webhook_url`, `step_webhook_url`, `crew_webhook_url` and `webhooks`. See
        `CrewKickoffOperator`.
    """

    template_fields: Sequence[str] = (
        "kickoff_id",
        "feedback",
        "option",
        "question",
        "by",
        "crewai_conn_id",
        "task_webhook_url",
        "step_webhook_url",
        "crew_webhook_url",
        "human_input_webhook",
        "webhooks",
    )
    ui_color = "#ffe0d6"

    def __init__(
        self,
        *,
        kickoff_id: str,
        feedback: str | None = None,
        option: str | None = None,
        question: str | None = None,
        by: str | None = None,
        crewai_conn_id: str = defaults.CONN_ID,
        task_webhook_url: str | None = None,
        step_webhook_url: str | None = None,
        crew_webhook_url: str | None = None,
        human_input_webhook: str | JSONObject | None = None,
        webhooks: JSONObject | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.kickoff_id = kickoff_id
        self.feedback = feedback
        self.option = option
        self.question = question
        self.by = by
        self.crewai_conn_id = crewai_conn_id
        self.task_webhook_url = task_webhook_url
        self.step_webhook_url = step_webhook_url
        self.crew_webhook_url = crew_webhook_url
        self.human_input_webhook = human_input_webhook
        self.webhooks = webhooks
        self._client: CrewClient | None = None
        if self.is_written_out:
            check_fields(self.task_id, vars(self), self.template_fields)
            if feedback is None and option is None:
                raise ValueError(f"Task {self.task_id!r} has nothing to say: set feedback, option or both.")

    def execute(self, context: Context) -> JSON:
        """Give the feedback.

        :return: an object with `kickoff_id`, `question` and `fate`: `sent`, or `arrived` if its answer was lost.
        """
        with Briefly():
            try:
                return self._given(context)
            except CrewError as error:
                error.said = self._said(error)
                fail(error, self.log, has_retry_policy=getattr(self, "retry_policy", None) is not None)

    def _said(self, error: CrewError) -> tuple[str, ...]:
        from airflow_provider_crewai.client.messages import no_feedback

        run = getattr(error, "kickoff_id", None)
        return no_feedback(error, run, str(self.crewai_conn_id).strip(), retried=may_retry(error))

    def on_kill(self) -> None:
        """Send nothing from now on. Airflow calls this in a signal handler."""
        if self._client is not None:
            self._client.start_nothing()
            self._client.wait_no_longer()

    def _given(self, context: Context) -> JSON:
        from airflow_provider_crewai.client.feedback import Fate
        from airflow_provider_crewai.client.sync import CrewClient
        from airflow_provider_crewai.in_airflow.ledger_store import store_for
        from airflow_provider_crewai.in_airflow.webhook_connections import connected

        store = store_for(context, durable=True)
        if not store.durable and self.retries:
            self.log.warning(NOT_ON_RECORD)
        client = self._client = CrewClient(CrewHook(self.crewai_conn_id).settings, store=store, say=self.log.warning)
        kickoff_id, hooks = self._run(), connected(webhooks_of(self))
        feedback, question = self._what(client, store, kickoff_id, context)
        given = client.give(feedback, question, kickoff_id, hooks)
        if given.fate is Fate.TOO_LATE:
            raise CrewNothingAsked(given.said, kickoff_id=kickoff_id, retry_helps=False)
        self.log.info("%s", given.said)
        return {"kickoff_id": kickoff_id, "question": question.task_id, "fate": given.fate.value}

    def _what(self, client: CrewClient, store: Store, kickoff_id: str, context: Context) -> tuple[Feedback, Question]:
        """Return what to say, and to which question: that of an earlier try, if this is a retry."""
        from airflow_provider_crewai.client.feedback import Note
        from airflow_provider_crewai.client.meant import meant
        from airflow_provider_crewai.in_airflow.ledger_store import claim_of

        claim = claim_of(context, client.connect(), "feedback", store)
        stored = store.load()
        record = None if stored is None else Record.from_json(stored)
        if record is not None and _is_of_this_task(record, claim, kickoff_id) and (note := Note.of(record)):
            asked = Question(note.task_id, flow_id=note.flow_id)
            said = self._feedback(asked)
            return replace(said, question=note.feedback.question, at=note.feedback.at), asked
        asked = meant(client.get_status(kickoff_id), as_text(self.question, "question"))
        said = replace(self._feedback(asked), question=asked.key, at=time.time())
        kept = record.feedback if record is not None and record.kickoff_id == kickoff_id else None
        new = replace(Record.intent(claim, said.at).submitted(kickoff_id), feedback=kept)
        store.save(new.to_json())
        return said, asked

    def _feedback(self, question: Question) -> Feedback:
        from airflow_provider_crewai.client.dialogue import Responded
        from airflow_provider_crewai.client.questions import UnclearResponse, feedback_of, options_of

        text, option, by = self._text(), as_text(self.option, "option"), as_text(self.by, "by")
        if option is None:
            if text is None:
                raise self._refused("feedback and option rendered to nothing.")
            return Feedback("", text, by=by)
        if question.options and option not in options_of(question):
            offered = ", ".join(map(repr, options_of(question)))
            raise self._refused(f"option is {option!r}, but the run offers {offered}.")
        try:
            return feedback_of("", Responded((option,), text or "", by))
        except UnclearResponse as unclear:
            raise self._refused(str(unclear)) from None

    def _refused(self, why: str) -> CrewConfigError:
        return CrewConfigError(f"Task {self.task_id!r}: {why} Nothing was sent.")

    def _text(self) -> str | None:
        """Return the feedback word for word, with the space around it."""
        if isinstance(self.feedback, str) and not is_nothing(self.feedback):
            return self.feedback
        return as_text(self.feedback, "feedback")

    def _run(self) -> str:
        if (kickoff_id := as_id(self.kickoff_id, "kickoff_id")) is None:
            raise self._refused(
                f"kickoff_id rendered to {self.kickoff_id!r}. Does the task that starts the run push it?"
            )
        return kickoff_id


def _is_of_this_task(record: Record, claim: Claim, kickoff_id: str) -> bool:
    """Return whether an earlier try of this task said something to this run, and nobody cleared the task since."""
    if record.kickoff_id != kickoff_id or record.is_of_another_dag_run(claim):
        return False
    return not record.is_cleared(claim)
