"""Waiting for a run that something else started."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NoReturn

from airflow_provider_crewai._compat import (
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    Context,
)
from airflow_provider_crewai.awaiting import AwaitsRun, Wait, deadline_of
from airflow_provider_crewai.client.watch import Verdict
from airflow_provider_crewai.failing import fail
from airflow_provider_crewai.wire.errors import CrewError, CrewRunTimedOut
from airflow_provider_crewai.wire.model import JSON


class CrewStatusSensor(AwaitsRun, BaseSensorOperator):
    """Wait for a run that was started elsewhere, and return its answer.

    :param kickoff_id: the run, usually a template or another task's output.
    :param human_input: whether somebody is told when the crew waits for a human. Deployments report a run
        that waits as unknown, so without this such a run counts as lost after a minute.
    :param kwargs: see `AwaitsRun` for `crewai_conn_id`, `poll_interval`, `max_poll_interval`,
        `unreachable_timeout` and `deferrable`, and Airflow's `BaseSensorOperator` for `timeout` (seconds) and
        `soft_fail`. The sensor paces itself by the run's age: `mode` and `poke_interval` have no effect.
    """

    template_fields: Sequence[str] = ("kickoff_id", "crewai_conn_id")
    ui_color = "#ffe0d6"

    def __init__(self, *, kickoff_id: str, human_input: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kickoff_id = kickoff_id
        self.human_input = human_input

    @property
    def awaits_human(self) -> bool:
        """Whether somebody is told when the crew waits for a human."""
        return self.human_input

    def execute(self, context: Context) -> JSON:
        """Wait for the run.

        :return: the crew's answer.
        """
        return self.await_run(context, self.recall(context))

    def recall(self, context: Context) -> Wait:
        """Return the run to wait for; its age is counted from the sensor's start, which is all it knows."""
        deadline = deadline_of(context, self.timeout, self.execution_timeout)
        start = getattr(context["ti"], "start_date", None)
        return Wait(self.kickoff_id, start.timestamp() if start else time.time(), deadline)

    def retry_text(self, verdict: Verdict, kickoff_id: str, context: Context) -> str:  # noqa: ARG002 - the same for all
        """Say what a retry will do."""
        return "A retry looks at the same run again; the sensor starts none."

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next."""
        if self.soft_fail:
            raise AirflowSkipException(str(error)) from error
        if isinstance(error, CrewRunTimedOut):
            raise AirflowSensorTimeout(str(error)) from error
        fail(error, has_retry_policy=getattr(self, "retry_policy", None) is not None)
