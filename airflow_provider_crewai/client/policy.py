"""Decides whether and when a request may be sent again. One-shot calls (`flows`) and `watch` both ask it."""

from __future__ import annotations

from airflow_provider_crewai.wire import errors, headers
from airflow_provider_crewai.wire.model import Request

SEE_OTHER = 303
"""Says that a request was carried out, and where to read about it (RFC 9110, section 15.4.4)."""

BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT = 502, 503, 504
"""What a gateway answers for a deployment that is asleep."""

FIRST_BACKOFF = 1.0
"""The most seconds before the second attempt."""


def may_have_arrived(error: errors.CrewError) -> bool:
    """Return whether the request behind this error may have been carried out.

    It was not carried out after a 4xx (except 408 and 499), a redirect elsewhere, or a 503 that says when to come back,
    or if no byte of it was sent. A bare 503 may come from a gateway that has passed the request on (Envoy and Heroku's
    router say that of theirs). A 303 says that the request was carried out. In every other case we got no answer, or
    one that leaves it open, so the request may have been carried out.
    """
    match error:
        case errors.CrewTransportError():
            return error.sent
        case errors.CrewServerError():
            return not (error.status == UNAVAILABLE and headers.wait_asked(error.retry_after, 0.0) is not None)
        case errors.CrewProtocolError():
            return True
        case errors.CrewApiError():
            return error.status == SEE_OTHER
        case _:
            return False


def may_send_again(request: Request, error: errors.CrewError) -> bool:
    """Return whether sending the request again can help and does no harm.

    A request that is not idempotent is never repeated once it may have arrived. A question to a server that is not a
    crew fails at once. But a caller who stops a run knows that a crew is there, and may only have met a gateway during
    an outage.
    """
    if isinstance(error, errors.CrewNotACrew) and request.method == "GET":
        return False
    if may_have_arrived(error):
        return request.idempotent
    turned_away = errors.CrewTransportError | errors.CrewRateLimited | errors.CrewServerError
    return isinstance(error, turned_away) or out_of_reach(error)


def out_of_reach(error: errors.CrewError) -> bool:
    """Return whether the connection itself could not be read, which may pass after a moment."""
    return isinstance(error, errors.CrewConnectionUnreadable)


def may_be_asleep(error: errors.CrewError) -> bool:
    """Return whether a deployment that gave this answer, or none, may be waking up."""
    if isinstance(error, errors.CrewServerError):
        return error.status in (BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT)
    return isinstance(error, errors.CrewTransportError) or out_of_reach(error)


def may_be_kicked_off(error: errors.CrewError) -> bool:
    """Return whether the crew is awake in spite of this error: a crew may fail to list its inputs and still run."""
    if may_be_asleep(error) or isinstance(error, errors.CrewAuthError | errors.CrewNotACrew):
        return False
    return isinstance(error, errors.CrewApiError | errors.CrewProtocolError)


def backoff(attempt: int, *, longest: float, chance: float) -> float:
    """Return the seconds to wait after a failed attempt (counted from 1): doubling, with jitter.

    :param longest: the most seconds.
    :param chance: a random number in [0, 1), so that many tasks do not try at the same moments.
    """
    ceiling = min(longest, FIRST_BACKOFF * float(1 << min(attempt - 1, 16)))
    return ceiling * (0.5 + chance / 2)


def retry_after(error: errors.CrewError, now: float) -> float:
    """Return the seconds that the server asked us to wait, or 0."""
    return headers.retry_after(error.retry_after, now) if isinstance(error, errors.CrewApiError) else 0.0
