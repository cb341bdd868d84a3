"""Turns our errors into Airflow's. The one place that decides whether a task may be retried."""

from __future__ import annotations

from typing import Any, NoReturn

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
    errors.CrewChangedFeedback,
)
"""Errors before a run starts that a retry would meet again: somebody has to fix something first."""

FREE_OR_NEVER = (
    errors.CrewRunAuthLost,
    errors.CrewRunUnwatchable,
    errors.CrewAnswerNotFetched,
    errors.CrewAnswerNotStored,
    errors.CrewNothingAsked,
    errors.CrewBatchFailed,
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


def fail(error: errors.CrewError, log: Any, *, has_retry_policy: bool) -> NoReturn:
    """Raise the error in the form that makes Airflow retry the task, or not, once the log says what it is about.

    A task with a retry policy (Airflow 3.3+) gets the error as it is, because Airflow asks no policy about an
    `AirflowFailException`.

    :raises CrewError: an `AirflowFailException`, too, where a retry cannot help.
    """
    fail_as(None if has_retry_policy or may_retry(error) else AirflowFailException, error, log)


def fail_as(airflows: type[Exception] | None, error: errors.CrewError, log: Any) -> NoReturn:
    """Log an error line by line, and raise it.

    :param airflows: Airflow's own kind of error that it is to be, too.
    """
    for said in error.said:
        log.error("%s", said)
    if airflows:
        # Not as the cause of one of Airflow's: then the log would show two tracebacks and the same text twice.
        kind = type(error)
        error.__class__ = type(kind.__name__, (kind, airflows), {"__module__": kind.__module__})
    # What caused it stands in its lines.
    raise error from None


class Briefly:
    """Keeps our own frames out of the traceback of an error whose lines say it all. A bug keeps its traceback."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, errors.CrewError):
            error.__traceback__ = None
