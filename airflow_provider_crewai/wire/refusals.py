"""What does a server say when it does not do what we asked? Its refusals as errors, with its own words in them.

Statuses and shapes are those of live deployments (crewai 1.15, 2026-10), of the published reference, and of gateways.
The words become printable and short here, and our secrets are removed from them after decoding.
"""

from __future__ import annotations

import json
import re

from airflow_provider_crewai.wire import body as bodies
from airflow_provider_crewai.wire import errors, words
from airflow_provider_crewai.wire.model import JSON, Response

_STATUS_ERRORS: dict[int, type[errors.CrewApiError]] = {
    400: errors.CrewInputError,
    401: errors.CrewAuthError,
    402: errors.CrewQuotaError,
    403: errors.CrewAuthError,
    404: errors.CrewNotFound,
    405: errors.CrewNotFound,
    408: errors.CrewServerError,
    410: errors.CrewNotFound,
    422: errors.CrewInputError,
    429: errors.CrewRateLimited,
    499: errors.CrewServerError,  # a gateway gave the request up after it had passed it on (nginx, gRPC's CANCELLED)
}
_QUOTA = re.compile(
    r"quota|(execution|monthly|plan|usage)s?\W+(\w+\W+)?limit|limit\W+(of|on)\W+(\w+\W+)?execution", re.IGNORECASE
)

_ERROR_BODY = 16 * 1024
"""How many bytes of an error's body we read."""

_DETAIL = 500
"""The most characters that we show of an error."""


def read_error(response: Response) -> errors.CrewApiError | None:
    """Return the error that the answer of any endpoint holds, or None if it is not an error."""
    try:
        raise_for_status(response)
    except errors.CrewApiError as error:
        return error
    return None


def raise_for_status(response: Response) -> None:
    """Do nothing if the answer is a success.

    :raises CrewApiError: it is not; the class says which kind of refusal it is.
    """
    status = response.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        # Never followed: the token would go to the host that the redirect names.
        where = words.line(response.headers.get("location", ""), secrets=response.secrets) or "nowhere"
        raise errors.CrewApiError(
            f"HTTP {status}: redirected to {where}. We do not follow redirects with the token; set the connection's "
            "host to the crew's own URL.",
            status=status,
        )
    kind = _STATUS_ERRORS.get(status)
    if kind is None:
        kind = errors.CrewServerError if status >= 500 else errors.CrewApiError
    detail = detail_of(response)
    if _speaks_of_quota(status, detail) and not (status == 429 and "retry-after" in response.headers):
        # A server that says when to come back means a rate limit, whatever its words.
        kind = errors.CrewQuotaError
    raise api_error(response, kind, detail)


def _speaks_of_quota(status: int, detail: str) -> bool:
    # An input may also be named "quota", so an error about missing inputs is not about the plan.
    return 401 < status < 500 and bool(_QUOTA.search(detail)) and "missing" not in detail.lower()


def api_error(response: Response, kind: type[errors.CrewApiError], detail: str) -> errors.CrewApiError:
    """Make an error of this kind with the server's words in it."""
    message = f"HTTP {response.status}: {detail}" if detail else f"HTTP {response.status} without a text"
    retry_after = response.headers.get("retry-after")
    if retry_after is not None:
        retry_after = words.line(retry_after, secrets=response.secrets)
    return kind(message, status=response.status, detail=detail, retry_after=retry_after)


def unpromised(
    response: Response, why: str, kind: type[errors.CrewProtocolError] = errors.CrewProtocolError
) -> errors.CrewProtocolError:
    """Make the error for an answer that is a success by its status, but not what the API promises."""
    if not response.whole:
        return errors.CrewAnswerTooLarge(
            f"HTTP {response.status}, but the answer is too long to be read here, and its beginning does not hold what "
            "we asked for"
        )
    said = words.line(_plain(bodies.text_of(response.body)), secrets=response.secrets)
    return kind(f"HTTP {response.status}, but {why}: {said!r}")


def is_about_a_run(response: Response) -> bool:
    """Return whether a 404 speaks of a run that the server does not know, and not of a path."""
    said = detail_of(response).lower()
    return any(word in said for word in ("execution", "kickoff", "task not found"))


def detail_of(response: Response) -> str:
    """Return the server's own words, from any shape that we have seen: detail, error, message, text, HTML, nothing."""
    text = bodies.text_of(response.body[:_ERROR_BODY])
    try:
        said = _complaint(bodies.read(text))
    except ValueError:
        said = _complaint(bodies.read_head(text)) or text
    return words.line(_plain(said), _DETAIL, response.secrets)


def _complaint(body: JSON) -> str:
    if not isinstance(body, dict):
        return words_in(body)
    parts = [words_in(body[key]) for key in ("error", "message", "detail", "details") if body.get(key)]
    return ": ".join(dict.fromkeys(filter(None, parts))) or (words_in(body) if body else "")


def _plain(said: str) -> str:
    return bodies.words_of_page(said) if said.lstrip().startswith("<") else said


def words_in(value: JSON) -> str:
    """Return what a value says to a person, whatever its shape."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return "; ".join(filter(None, map(words_in, value)))
    if isinstance(value, dict) and isinstance(value.get("msg"), str):
        # FastAPI's validation errors: {"loc": ["body", "executionId"], "msg": "Field required"}
        where = value.get("loc")
        path = ".".join(map(str, where)) + ": " if isinstance(where, list) else ""
        return path + words_in(value["msg"])
    return "" if value is None else json.dumps(value, ensure_ascii=False)
