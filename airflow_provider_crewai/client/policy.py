"""May this request be sent again, and when? Asked by one-shot calls (`flows.perform`) and by `watch` alike."""

from __future__ import annotations

from airflow_provider_crewai.wire import errors, headers
from airflow_provider_crewai.wire.model import Request

FIRST_BACKOFF = 1.0
"""Seconds before the second attempt, at most."""


def may_have_arrived(error: errors.CrewError) -> bool:
    """Whether the request behind this error may have been carried out.

    A 429 or 503 turned it away, a 4xx refused it, a redirect led elsewhere. Everything else may have
    happened behind the answer that we did not get, or did not understand.
    """
    match error:
        case errors.CrewTransportError():
            return error.sent
        case errors.CrewServerError():
            return error.status != 503  # noqa: PLR2004 - the HTTP status of a service that turned us away
        case errors.CrewProtocolError():
            return True
        case _:
            return False


def may_send_again(request: Request, error: errors.CrewError) -> bool:
    """Whether sending the request again can help, and does no harm.

    A request that is not idempotent is never repeated once it may have arrived.
    """
    if may_have_arrived(error):
        return request.idempotent
    return isinstance(error, errors.CrewTransportError | errors.CrewRateLimited | errors.CrewServerError)


def backoff(attempt: int, *, longest: float, chance: float) -> float:
    """Seconds to wait after the given failed attempt (counted from 1): doubling, with jitter.

    :param longest: the ceiling in seconds.
    :param chance: a random number in [0, 1): attempts of many tasks must not march in step.
    """
    ceiling = min(longest, FIRST_BACKOFF * float(1 << min(attempt - 1, 16)))
    return ceiling * (0.5 + chance / 2)


def retry_after(error: errors.CrewError, now: float) -> float:
    """Seconds that the server asked us to wait, else 0."""
    return headers.retry_after(error.retry_after, now) if isinstance(error, errors.CrewApiError) else 0.0
