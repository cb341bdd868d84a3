"""May this request be sent again, and when? One-shot calls (`flows`) and `watch` both ask here."""

from __future__ import annotations

from airflow_provider_crewai.wire import errors, headers
from airflow_provider_crewai.wire.model import Request

SEE_OTHER = 303
"""What says that a request was carried out, and where to read of it (RFC 9110, section 15.4.4)."""

BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT = 502, 503, 504
"""What a gateway answers for a deployment that sleeps."""

FIRST_BACKOFF = 1.0
"""Seconds before the second attempt, at most."""


def may_have_arrived(error: errors.CrewError) -> bool:
    """Whether the request behind this error may have been carried out.

    A 429 turned it away, a 4xx refused it, a redirect led elsewhere, and a 503 that says when to come back turned it
    away, too. A bare 503 may come from a gateway that has passed the request on (Envoy and Heroku's router say so of
    theirs), and a 303 says that it was carried out. Everything else may have happened behind the answer that we did
    not get, or did not understand.
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
    """Whether sending the request again can help, and does no harm.

    A request that is not idempotent is never repeated once it may have arrived. Whoever asks where no crew answers is
    told so at once; but whoever stops a run knows that a crew is there, and may have met a gateway in an outage.
    """
    if isinstance(error, errors.CrewNotACrew) and request.method == "GET":
        return False
    if may_have_arrived(error):
        return request.idempotent
    turned_away = errors.CrewTransportError | errors.CrewRateLimited | errors.CrewServerError
    return isinstance(error, turned_away) or out_of_reach(error)


def out_of_reach(error: errors.CrewError) -> bool:
    """Whether the connection itself could not be read, which may be so for a moment."""
    return isinstance(error, errors.CrewConnectionUnreadable)


def may_be_asleep(error: errors.CrewError) -> bool:
    """Whether a deployment that answered a question like this, or not at all, may be waking up."""
    if isinstance(error, errors.CrewServerError):
        return error.status in (BAD_GATEWAY, UNAVAILABLE, GATEWAY_TIMEOUT)
    return isinstance(error, errors.CrewTransportError) or out_of_reach(error)


def may_be_kicked_off(error: errors.CrewError) -> bool:
    """Whether a crew that is awake may answer a question like this: one that fails to tell its inputs can run."""
    if may_be_asleep(error) or isinstance(error, errors.CrewAuthError | errors.CrewNotACrew):
        return False
    return isinstance(error, errors.CrewApiError | errors.CrewProtocolError)


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
