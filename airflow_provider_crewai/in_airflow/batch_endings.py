"""How a batch ends, and what its task leaves behind: lines in its log, an XCom, its results or an error."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, TypeVar

from airflow_provider_crewai.client.killing import OnKill
from airflow_provider_crewai.client.ledger import Rules
from airflow_provider_crewai.in_airflow.compat import AirflowTaskTimeout, Context
from airflow_provider_crewai.in_airflow.failing import may_retry
from airflow_provider_crewai.in_airflow.returning import ReturnsAnswers
from airflow_provider_crewai.in_airflow.xcom import CREW_BATCH
from airflow_provider_crewai.wire.errors import (
    CrewAnswerNotStored,
    CrewBatchFailed,
    CrewError,
    CrewLedgerError,
    CrewTaskKilled,
    CrewTooLate,
)
from airflow_provider_crewai.wire.model import JSON, JSONObject

if TYPE_CHECKING:
    from airflow_provider_crewai.client.batch_record import BatchRecord
    from airflow_provider_crewai.client.batch_wave import BatchPlan, Wave
    from airflow_provider_crewai.client.flows import Flow
    from airflow_provider_crewai.client.shell import Store
    from airflow_provider_crewai.client.sync import CrewClient
    from airflow_provider_crewai.client.watch import Ending

T = TypeVar("T")


class EndsBatches(ReturnsAnswers):
    """Base of the task that runs a batch: how it tells people and other tasks about it."""

    max_concurrency: int
    allow_failures: float
    durable: bool
    rules: Rules
    kill_policy: OnKill
    _known: BatchRecord | None = None
    """The batch, as far as this process knows it."""

    def store(self, context: Context) -> Store:
        """Return where the record of the task's batch is kept."""
        raise NotImplementedError

    def _drive(self, client: CrewClient, flow: Flow[T], context: Context) -> T:
        """Carry out a flow. If it fails, fail the task and say what is known of the batch."""
        try:
            return client.drive(flow)
        except CrewError as error:
            self._fail_with(error, client, context)
        except AirflowTaskTimeout:
            # Without this, Airflow would count it as a kill, and the runs would be stopped.
            self._fail_with(CrewTooLate("The task's execution_timeout is over."), client, context)

    def _tell(self, record: BatchRecord, context: Context) -> None:
        """Say in the log and in XCom where the batch is."""
        from airflow_provider_crewai.client.batch_messages import progress, slowed, summary

        now, url = time.time(), self.page_url(context)
        look = f"Look: {url}" if url else None
        said = [progress(record, self.max_concurrency, now), *filter(None, [slowed(record, now), look])]
        for told in said:
            self.log.info("%s", told)
        self._push(CREW_BATCH, lambda: summary(record, [], said, self.max_concurrency, now), context)

    def _conclude(self, plan: BatchPlan, step: Wave, client: CrewClient, context: Context) -> JSON:
        from airflow_provider_crewai.client.batch_messages import progress, summary
        from airflow_provider_crewai.in_airflow.xcom import hand_over

        results = self._results(plan, step.record, client, context)
        if (error := self._shortfall(step)) is not None:
            self._end_badly(error, step.record, results, context)
        said = [progress(step.record, self.max_concurrency, time.time())]
        self.log.info("%s", said[0])
        self._push(CREW_BATCH, lambda: summary(step.record, results, said, self.max_concurrency, time.time()), context)
        try:
            returned = hand_over(self, list(results), step.record.batch_id)
        except CrewAnswerNotStored as not_stored:
            not_stored.args = (f"All items of batch {step.record.batch_id} are done, but {not_stored}",)
            self._end_badly(not_stored, step.record, results, context)
        self._note_the_answer(step.record, context)
        return returned

    def _results(self, plan: BatchPlan, record: BatchRecord, client: CrewClient, context: Context) -> list[JSONObject]:
        from airflow_provider_crewai.client.batch_results import results_of
        from airflow_provider_crewai.client.batch_wave import load_outcomes

        return results_of(record, plan.names, self._drive(client, load_outcomes(record), context))

    def _shortfall(self, step: Wave) -> CrewError | None:
        """Return why the task fails, or None if enough items have an answer."""
        from airflow_provider_crewai.client.batch_results import allowed_failures, retry_helps

        record, items = step.record, len(step.record.states)
        where = f"batch {record.batch_id}, connection {self.crewai_conn_id!r}"
        if step.gave_up is not None:
            return self._given_up(record, step.gave_up, where)
        allowed = allowed_failures(self.allow_failures, items)
        if record.failures <= allowed and not record.waiting:
            return None
        late = record.failures <= allowed
        why = (
            f"The time is up, and {len(record.waiting)} of {items} items were not started"
            if late
            else f"{record.failures} of {items} items have no answer, and {allowed} are allowed"
        )
        error = CrewBatchFailed(f"{why} ({where}).", kickoff_id=None)
        error.retry_helps = late or retry_helps(record, self.rules)
        return error

    def _given_up(self, record: BatchRecord, ending: Ending, where: str) -> CrewError:
        from airflow_provider_crewai.client.batch_messages import gave_up
        from airflow_provider_crewai.client.messages import error_of

        error = error_of(ending, where=where)
        error.args = (f"{gave_up(record, ending)} ({where}).",)
        return error

    def _end_badly(
        self, error: CrewError, record: BatchRecord, results: Sequence[JSONObject], context: Context
    ) -> NoReturn:
        from airflow_provider_crewai.client.batch_messages import failed, retry_text, summary

        durable = self.store(context).durable
        if self.durable and not durable and len(record.waiting) < len(record.states):
            # Whatever it was: a retry would pay again for all that was begun.
            error = CrewBatchFailed(str(error), kickoff_id=None)
            error.retry_helps = False
        if isinstance(error, CrewBatchFailed):
            error.reason = _words_of_failed_runs(results)
        after = retry_text(
            record,
            retried=may_retry(error),
            durable=durable,
            on_clear=self.rules.on_clear,
            on_kill=self.kill_policy,
        )
        look = self._where(error, record, results, context)
        error.said = failed(record, results, why=str(error), after=after, look=look)
        now = time.time()
        self._push(CREW_BATCH, lambda: summary(record, results, error.said, self.max_concurrency, now), context)
        self.fail(error)

    def _where(
        self, error: CrewError, record: BatchRecord, results: Sequence[JSONObject], context: Context
    ) -> tuple[str, ...]:
        """Return where to look: at the page, at a run without an answer, or at the crew."""
        from airflow_provider_crewai.client.messages import look_at, look_at_crew

        url = self.page_url(context)
        runs = [str(result["kickoff_id"]) for result in results if result["error"] and result["kickoff_id"]]
        if not runs:
            return look_at_crew(error, url, record.task.crew, self.connection_name)
        return look_at(url, runs[0], self.connection_name, fetch=False)

    def _fail_with(self, error: CrewError, client: CrewClient, context: Context) -> NoReturn:
        """Fail for an error that ended a wave, and say what is known of the batch."""
        if self._known is None or isinstance(error, CrewTaskKilled):
            self.fail_without_a_run(error, context, client)
        self._end_badly(error, self._known, [], context)

    def _note_the_answer(self, record: BatchRecord, context: Context) -> None:
        """Write down that the task returns its results: only a user starts another try after that."""
        with suppress(CrewLedgerError):
            self.store(context).save(replace(record, task=record.task.after_its_answer()).to_json())


def _words_of_failed_runs(results: Sequence[JSONObject]) -> str | None:
    return "\n".join(str(result["error"]) for result in results if result["state"] == "failed") or None
