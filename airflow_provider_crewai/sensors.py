"""The sensor that waits for a run that something else started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from airflow_provider_crewai.awaiting import AwaitsRun
from airflow_provider_crewai.client.rendered import as_id
from airflow_provider_crewai.client.waits import Wait
from airflow_provider_crewai.client.watch import Ending, Verdict
from airflow_provider_crewai.in_airflow.compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
)
from airflow_provider_crewai.in_airflow.dag_arguments import check_fields
from airflow_provider_crewai.in_airflow.failing import Briefly, fail, fail_as, may_retry
from airflow_provider_crewai.in_airflow.limits import check_limit, deadline_of, try_began
from airflow_provider_crewai.in_airflow.link import run_page_url
from airflow_provider_crewai.in_airflow.own_webhooks import webhook_for_questions
from airflow_provider_crewai.wire.errors import (
    CrewConfigError,
    CrewError,
    CrewRunFailed,
    CrewRunStopped,
    CrewRunTimedOut,
)
from airflow_provider_crewai.wire.model import JSON, Kickoff

SAME_RUN = "A retry looks at the same run again; the sensor starts no run itself."


class CrewStatusSensor(AwaitsRun, BaseSensorOperator):
    """Wait for a run that was started elsewhere, and return its answer.

    If the run failed or was stopped, the sensor is not retried, because a retry would find the same run. It is not
    retried after its timeout, because Airflow never retries a sensor then.

    :param kickoff_id: the run, usually a template or another task's output.
    :param kwargs: see `AwaitsRun` for `crewai_conn_id`, `poll_interval`, `max_poll_interval`,
        `unreachable_timeout`, `deferrable`, `output_type`, `result_path`, `max_xcom_bytes`, `human_input`,
        `assigned_users`, `human_timeout`, `on_human_timeout` and `on_question`. Deployments report a run that waits for
        a human as unknown. Without `human_input` it counts as lost after a minute; with it the sensor waits until the
        timeout. See Airflow's
        `BaseSensorOperator` for `timeout` (seconds), `soft_fail` (skips after the timeout, and when a retry cannot
        help), `never_fail` (skips after any error) and `silent_fail` (errors that may go away do not end it before the
        timeout). The sensor sets its pace by the run's age: `mode` and `poke_interval` have no effect.
    """

    template_fields: Sequence[str] = ("kickoff_id", "crewai_conn_id", "result_path")
    ui_color = "#ffe0d6"
    knows_the_start: ClassVar[bool] = False
    without_a_run: str = "There is no run to wait for"

    def __init__(self, *, kickoff_id: str, **kwargs: Any) -> None:
        # Checked before Airflow makes a timedelta of it, whose error would not name the argument.
        check_limit(kwargs.get("task_id", ""), "timeout", kwargs.get("timeout"), zero=True)
        super().__init__(**kwargs)
        self.kickoff_id = kickoff_id
        if self.is_written_out:
            check_fields(self.task_id, vars(self), self.template_fields)

    def hooks_again(self, context: Context) -> Kickoff:
        """Return a kickoff with the one webhook that the sensor knows: it brings what the crew asks next."""
        return webhook_for_questions(context["ti"], try_began(context))

    @property
    def awaits_human(self) -> bool:
        """Return whether somebody is told when the crew waits for a human."""
        return self.human_input

    @property
    def is_silent(self) -> bool:
        """Return whether the wait goes on until the timeout, in spite of errors that may go away."""
        return bool(self.silent_fail)

    def execute(self, context: Context) -> JSON:
        """Wait for the run.

        :return: the crew's answer.
        """
        with Briefly():
            self._show_page(run_page_url(context), context)
            try:
                self.check_answer_options()
                wait = self.recall(context)
            except CrewError as error:
                self.fail_without_a_run(error, context)
            return self.await_run(context, wait)

    def recall(self, context: Context) -> Wait:
        """Return the run to wait for. Its age counts from the sensor's start, because the sensor knows no other time.

        :raises CrewConfigError: the template did not render to a kickoff_id.
        """
        deadline = deadline_of(self, context, self.timeout)
        return Wait(self._run(), try_began(context), deadline)

    def put_on_record(self, ending: Ending, context: Context) -> bool:  # noqa: ARG002 - the operator's depend on them
        """Return True: every retry finds the run, because the kickoff_id is an argument of the sensor."""
        return True

    def after_a_mismatch(self, kickoff_id: str, context: Context) -> tuple[bool, str]:  # noqa: ARG002 - the operator's
        """Return False: a retry would read the same answer. Say what follows."""
        return False, "The sensor is not retried. Once output_type is right, a clear reads the answer again."

    def finds_again(self, context: Context) -> bool:  # noqa: ARG002 - the operator's depends on it
        """Return True, for the same reason."""
        return True

    def after_no_run(self, error: CrewError) -> str:  # noqa: ARG002 - the operator's depends on it
        """Return nothing: the errors say it themselves."""
        return ""

    def retry_text(self, ending: Ending | None, *, on_record: bool | None) -> str:  # noqa: ARG002 - the operator's
        """Return a sentence that says what a retry will do, or that there is none."""
        if ending is None or ending.verdict is Verdict.SUCCEEDED:
            return SAME_RUN
        over = ending.verdict in (Verdict.TIMED_OUT, Verdict.FAILED, Verdict.STOPPED) or ending.leads_to_no_crew
        if self.never_fail or (self.soft_fail and over):
            option = "never_fail" if self.never_fail else "soft_fail"
            return f"The sensor is skipped, as {option} says; clear it to look again."
        match ending.verdict:
            case Verdict.TIMED_OUT:
                return "The sensor is not retried after its timeout; clear it to look again."
            case Verdict.FAILED | Verdict.STOPPED if not self.has_retry_policy:
                return "The sensor is not retried, because a retry would find the same run; it starts no run itself."
            case Verdict.UNWATCHABLE if ending.leads_to_no_crew and not self.has_retry_policy:
                return "The sensor is not retried; fix the connection, then clear the sensor to look again."
            case _:
                return SAME_RUN

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next.

        With `soft_fail`, Airflow's own sensors skip after their timeout and after an `AirflowFailException`, and retry
        after any other error; with `never_fail` they skip after every error (2.11 to 3.4).
        """
        timed_out = isinstance(error, CrewRunTimedOut)
        # A retry of the operator starts another run; a retry of the sensor would find the same ended run.
        for_good = isinstance(error, CrewRunFailed | CrewRunStopped) or not may_retry(error)
        if self.never_fail or (self.soft_fail and (timed_out or for_good)):
            for said in error.said:
                self.log.warning("%s", said)
            raise AirflowSkipException(str(error)) from error
        if timed_out:
            fail_as(AirflowSensorTimeout, error, self.log)
        if for_good and not self.has_retry_policy:
            fail_as(AirflowFailException, error, self.log)
        fail(error, self.log, has_retry_policy=self.has_retry_policy)

    def _run(self) -> str:
        try:
            kickoff_id = as_id(self.kickoff_id, "kickoff_id")
        except CrewConfigError as error:
            raise CrewConfigError(f"Task {self.task_id!r}: {error} The sensor is not retried.") from None
        if kickoff_id is None:
            raise CrewConfigError(
                f"Task {self.task_id!r}: kickoff_id rendered to {self.kickoff_id!r}. Does the task that starts the run "
                f"push it? Nothing was sent over connection {self.crewai_conn_id!r}. The sensor is not retried."
            )
        return kickoff_id
