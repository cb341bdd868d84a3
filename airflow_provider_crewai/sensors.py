"""Waiting for a run that something else started."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from airflow_provider_crewai._compat import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
)
from airflow_provider_crewai.awaiting import AwaitsRun, Wait, deadline_of, try_began
from airflow_provider_crewai.client.rendered import as_id
from airflow_provider_crewai.client.watch import Verdict
from airflow_provider_crewai.failing import fail
from airflow_provider_crewai.wire.errors import (
    CrewConfigError,
    CrewError,
    CrewRunFailed,
    CrewRunStopped,
    CrewRunTimedOut,
)
from airflow_provider_crewai.wire.model import JSON
from airflow_provider_crewai.written import check_fields


class CrewStatusSensor(AwaitsRun, BaseSensorOperator):
    """Wait for a run that was started elsewhere, and return its answer.

    It is not retried where the run failed or was stopped, since it starts no other, nor after its timeout, since
    Airflow retries no sensor then.

    :param kickoff_id: the run, usually a template or another task's output.
    :param human_input: whether somebody is told when the crew waits for a human. Deployments report a run
        that waits as unknown, so without this such a run counts as lost after a minute.
    :param kwargs: see `AwaitsRun` for `crewai_conn_id`, `poll_interval`, `max_poll_interval`,
        `unreachable_timeout` and `deferrable`, and Airflow's `BaseSensorOperator` for `timeout` (seconds) and
        `soft_fail`. The sensor paces itself by the run's age: `mode` and `poke_interval` have no effect.
    """

    template_fields: Sequence[str] = ("kickoff_id", "crewai_conn_id")
    ui_color = "#ffe0d6"
    knows_the_start: ClassVar[bool] = False

    def __init__(self, *, kickoff_id: str, human_input: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kickoff_id = kickoff_id
        self.human_input = human_input
        check_fields(self.task_id, vars(self), self.template_fields)

    @property
    def awaits_human(self) -> bool:
        """Whether somebody is told when the crew waits for a human."""
        return self.human_input

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
        deadline = deadline_of(context, self.timeout, self.execution_timeout)
        return Wait(self._run(), try_began(context), deadline)

    def retry_text(self, verdict: Verdict, kickoff_id: str, context: Context) -> str:  # noqa: ARG002 - the operator's
        """Say what a retry will do, or that there is none."""
        if self.soft_fail:
            return "The sensor is skipped, as soft_fail says; clear it to look again."
        match verdict:
            case Verdict.TIMED_OUT:
                return "The sensor is not retried after its timeout; clear it to look again."
            case Verdict.FAILED | Verdict.STOPPED if not self._has_retry_policy:
                return "The sensor is not retried, since a retry would find the same; it starts no run."
            case Verdict.AUTH_LOST | Verdict.UNWATCHABLE if not self._has_retry_policy:
                return "The sensor is not retried; clear it once the connection works, to look again."
            case _:
                return "A retry looks at the same run again; the sensor starts none."

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next."""
        if self.soft_fail:
            raise AirflowSkipException(str(error)) from error
        if isinstance(error, CrewRunTimedOut):
            raise AirflowSensorTimeout(str(error)) from error
        if isinstance(error, CrewRunFailed | CrewRunStopped) and not self._has_retry_policy:
            # The operator's retry starts another run; this one would find the same run ended again.
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
