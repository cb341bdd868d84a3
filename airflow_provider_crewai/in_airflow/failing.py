"""Turns our errors into Airflow's. The one place that decides whether a task may be retried."""

from __future__ import annotations

from typing import NoReturn

from airflow_provider_crewai.in_airflow.compat import AirflowFailException
from airflow_provider_crewai.wire import errors

NEVER_BETTER = (
    errors.CrewConfigError,
    errors.CrewAuthError,
    errors.CrewInputError,
    errors.CrewNotFound,
    errors.CrewNotACrew,
    errors.CrewQuotaError,
    errors.CrewChangedInputs,
)
"""Errors before a run starts that a retry would meet again: somebody has to fix something first."""

FREE_OR_NEVER = (
    errors.CrewRunAuthLost,
    errors.CrewRunUnwatchable,
    errors.CrewAnswerNotFetched,
    errors.CrewAnswerNotStored,
)
"""Errors while waiting that somebody may fix between two tries: retried only if the retry finds this run and costs
nothing, never for a second run."""


def may_retry(error: errors.CrewError) -> bool:
    """Return whether a retry can help and does no harm."""
    match error:
        case errors.CrewMayHaveStarted() | errors.CrewAnswerMismatch():
            return error.rerun
        case errors.CrewRunError() if isinstance(error, FREE_OR_NEVER):
            return error.retry_helps
        case errors.CrewConnectionUnreadable():
            # Missing, or out of reach for a moment: Airflow does not say which. A retry that reads it costs nothing.
            return True
        case _:
            return not isinstance(error, NEVER_BETTER)


def fail(error: errors.CrewError, *, has_retry_policy: bool) -> NoReturn:
    """Raise the error in the form that makes Airflow retry the task, or not.

    A task with a retry policy (Airflow 3.3+) gets the typed error, because Airflow asks no policy about an
    `AirflowFailException`.

    :raises AirflowFailException: a retry cannot help; the typed error is its cause.
    :raises CrewError: otherwise.
    """
    if has_retry_policy or may_retry(error):
        raise error
    raise AirflowFailException(str(error)) from error
