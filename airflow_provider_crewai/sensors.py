"""Waiting for a run that something else started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from airflow_provider_crewai.awaiting import AwaitsRun, Wait, check_limit, deadline_of, try_began
from airflow_provider_crewai.client.rendered import as_id
from airflow_provider_crewai.client.watch import Ending, Verdict
from airflow_provider_crewai.in_airflow.compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
)
from airflow_provider_crewai.in_airflow.dag_arguments import check_fields
from airflow_provider_crewai.in_airflow.failing import fail, may_retry
from airflow_provider_crewai.wire.errors import (
    CrewConfigError,
    CrewError,
    CrewRunFailed,
    CrewRunStopped,
    CrewRunTimedOut,
)
from airflow_provider_crewai.wire.model import JSON


class CrewStatusSensor(AwaitsRun, BaseSensorOperator):
    """Wait for a run that was started elsewhere, and return its answer.

    It is not retried where the run failed or was stopped, since it starts no other, nor after its timeout, since
    Airflow retries no sensor then.

    :param kickoff_id: the run, usually a template or another task's output.
    :param human_input: whether somebody is told when the crew waits for a human. Deployments report a run
        that waits as unknown, so without this such a run counts as lost after a minute; with it, until the timeout.
    :param kwargs: see `AwaitsRun` for `crewai_conn_id`, `poll_interval`, `max_poll_interval`,
        `unreachable_timeout` and `deferrable`, and Airflow's `BaseSensorOperator` for `timeout` (seconds),
        `soft_fail` (skips after the timeout, and where a retry cannot help), `never_fail` (skips after any error)
        and `silent_fail` (nothing that may get better ends it before the timeout). The sensor paces itself by the
        run's age: `mode` and `poke_interval` have no effect.
    """

    template_fields: Sequence[str] = ("kickoff_id", "crewai_conn_id")
    ui_color = "#ffe0d6"
    knows_the_start: ClassVar[bool] = False

    def __init__(self, *, kickoff_id: str, human_input: bool = False, **kwargs: Any) -> None:
        # Before Airflow makes a timedelta of it, which complains of what it cannot hold without naming it.
        check_limit(kwargs.get("task_id", ""), "timeout", kwargs.get("timeout"), zero=True)
        super().__init__(**kwargs)
        self.kickoff_id = kickoff_id
        self.human_input = human_input
        check_fields(self.task_id, vars(self), self.template_fields)

    @property
    def awaits_human(self) -> bool:
        """Whether somebody is told when the crew waits for a human."""
        return self.human_input

    @property
    def is_silent(self) -> bool:
        """Whether what may get better ends no wait before the timeout."""
        return bool(self.silent_fail)

    def execute(self, context: Context) -> JSON:
        """Wait for the run.

        :return: the crew's answer.
        """
        try:
            wait = self.recall(context)
        except CrewError as error:
            self.fail(error)
        return self.await_run(context, wait)

    def recall(self, context: Context) -> Wait:
        """Return the run to wait for; its age is counted from the sensor's start, which is all it knows.

        :raises CrewConfigError: what was rendered is no kickoff_id.
        """
        deadline = deadline_of(self, context, self.timeout)
        return Wait(self._run(), try_began(context), deadline)

    def put_on_record(self, ending: Ending, context: Context) -> bool:  # noqa: ARG002 - the operator's depend on them
        """Return that a retry will find the run: the sensor is given its kickoff_id each time."""
        return True

    def retry_text(self, ending: Ending, *, on_record: bool | None) -> str:  # noqa: ARG002 - the operator's
        """Say what a retry will do, or that there is none."""
        over = ending.verdict in (Verdict.TIMED_OUT, Verdict.FAILED, Verdict.STOPPED) or ending.leads_to_no_crew
        if self.never_fail or (self.soft_fail and over):
            option = "never_fail" if self.never_fail else "soft_fail"
            return f"The sensor is skipped, as {option} says; clear it to look again."
        match ending.verdict:
            case Verdict.TIMED_OUT:
                return "The sensor is not retried after its timeout; clear it to look again."
            case Verdict.FAILED | Verdict.STOPPED if not self._has_retry_policy:
                return "The sensor is not retried, since a retry would find the same; it starts no run."
            case Verdict.UNWATCHABLE if ending.leads_to_no_crew and not self._has_retry_policy:
                return "The sensor is not retried; clear it once the connection works, to look again."
            case _:
                return "A retry looks at the same run again; the sensor starts none."

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next.

        Airflow's own sensors skip with `soft_fail` after their timeout and after an `AirflowFailException`, and retry
        after any other error; with `never_fail` they skip after all of them (2.11 to 3.4).
        """
        timed_out = isinstance(error, CrewRunTimedOut)
        # The operator's retry starts another run; this one would find the same run ended again.
        for_good = isinstance(error, CrewRunFailed | CrewRunStopped) or not may_retry(error)
        if self.never_fail or (self.soft_fail and (timed_out or for_good)):
            self.log.warning("%s", error)
            raise AirflowSkipException(str(error)) from error
        if timed_out:
            raise AirflowSensorTimeout(str(error)) from error
        if for_good and not self._has_retry_policy:
            raise AirflowFailException(str(error)) from error
        fail(error, has_retry_policy=self._has_retry_policy)

    @property
    def _has_retry_policy(self) -> bool:
        return getattr(self, "retry_policy", None) is not None

    def _run(self) -> str:
        try:
            kickoff_id = as_id(self.kickoff_id, "kickoff_id")
        except CrewConfigError as error:
            raise CrewConfigError(f"Task {self.task_id!r}: {error} It is not retried.") from None
        if kickoff_id is None:
            raise CrewConfigError(
                f"Task {self.task_id!r}: kickoff_id rendered to {self.kickoff_id!r}; does the task that starts the run "
                f"push it? Nothing was looked at over connection {self.crewai_conn_id!r}. It is not retried."
            )
        return kickoff_id
