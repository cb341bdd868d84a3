"""How does a task return its run's answer? Typed and stored as its author wants, or saved where that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_crewai.client.rendered import as_text
from airflow_provider_crewai.in_airflow.answer_files import check_folder
from airflow_provider_crewai.in_airflow.compat import Context
from airflow_provider_crewai.in_airflow.traces import LeavesTraces
from airflow_provider_crewai.in_airflow.xcom import CREW_RUN
from airflow_provider_crewai.wire.errors import CrewAnswerMismatch, CrewAnswerNotStored
from airflow_provider_crewai.wire.model import JSON, Run

if TYPE_CHECKING:
    from airflow_provider_crewai.client.sync import CrewClient
    from airflow_provider_crewai.client.waits import Wait
    from airflow_provider_crewai.client.watch import Ending


class ReturnsAnswers(LeavesTraces):
    """Base of the tasks that return an answer."""

    output_type: Any
    result_path: str | None
    max_xcom_bytes: int | None

    def put_on_record(self, ending: Ending, context: Context) -> bool | None:
        """Record what a retry must know of the run. Return whether it will find the run; None if recovery is off."""
        raise NotImplementedError

    def after_a_mismatch(self, kickoff_id: str, context: Context) -> tuple[bool, str]:
        """Note that the answer does not fit `output_type`. Return whether a retry runs the crew again, and say so."""
        raise NotImplementedError

    def check_answer_options(self) -> None:
        """Refuse, before money is spent, options by which no answer could be returned.

        :raises CrewConfigError: `output_type` is no type, or `result_path` leads nowhere.
        """
        self.result_path = as_text(self.result_path, "result_path")
        if self.result_path is not None:
            check_folder(self.result_path)
        if self.output_type is not None:
            from airflow_provider_crewai.in_airflow.output_type import adapter_of

            adapter_of(self.output_type)

    def _answer(self, ending: Ending, run: Run, wait: Wait, client: CrewClient, context: Context) -> JSON:
        """Return the answer as the next task gets it. If it cannot be returned so, it is saved: it is paid for."""
        from airflow_provider_crewai.in_airflow.xcom import CREW_ANSWER, hand_over, save

        kickoff_id = ending.kickoff_id
        try:
            return hand_over(self, self._typed(run.answer, kickoff_id), kickoff_id)
        except (CrewAnswerMismatch, CrewAnswerNotStored) as error:
            self._push(CREW_ANSWER, lambda: save(self, run.answer, kickoff_id), context)
            self._explain(error, ending, wait, client, context)
            self.fail(error)

    def _explain(
        self,
        error: CrewAnswerMismatch | CrewAnswerNotStored,
        ending: Ending,
        wait: Wait,
        client: CrewClient,
        context: Context,
    ) -> None:
        from airflow_provider_crewai.client.messages import unusable
        from airflow_provider_crewai.in_airflow.xcom import CREW_ANSWER

        then = self._after_an_unusable_answer(error, ending, context)
        after = f"The whole answer is in this task's XCom {CREW_ANSWER}. {then}"
        look = self._look(wait, context)
        error.said = unusable(error, ending, started_at=self._start(wait), after=after, look=look)
        where = f"connection {self.crewai_conn_id!r}"
        error.args = (f"Run {ending.kickoff_id} succeeded, but its answer cannot be returned ({where}).",)
        self._push(CREW_RUN, lambda: self._left(ending, wait, error.said, client, context), context)

    def _typed(self, answer: JSON, kickoff_id: str) -> JSON:
        if self.output_type is None:
            return answer
        from airflow_provider_crewai.in_airflow.output_type import typed

        return typed(self.output_type, answer, kickoff_id)

    def _after_an_unusable_answer(
        self, error: CrewAnswerMismatch | CrewAnswerNotStored, ending: Ending, context: Context
    ) -> str:
        """Decide whether the task may be retried, and say what a retry will do."""
        if isinstance(error, CrewAnswerMismatch):
            error.rerun, then = self.after_a_mismatch(ending.kickoff_id, context)
            return then
        error.retry_helps = bool(self.put_on_record(ending, context))
        if error.retry_helps:
            return "A retry reads the answer again and stores it; it starts no new run."
        return "The task is not retried, because a retry would pay for a second run."
