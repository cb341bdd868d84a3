"""The only reader and writer of the AOP API: every key, state word and error shape.

Two dialects are read alike: what deployments answer live (crewai 1.15, 2026-10), and what the published
reference documents (docs.crewai.com/en/api-reference, enterprise-api.en.yaml). Any bytes give a value or
a `CrewError`, never another exception.
"""

from __future__ import annotations

import html
import json
import math
import re
from collections.abc import Iterable, Mapping
from typing import NoReturn
from urllib.parse import quote

from airflow_provider_crewai.wire import errors
from airflow_provider_crewai.wire.model import (
    JSON,
    CrewInputs,
    JSONObject,
    Kickoff,
    Progress,
    Question,
    Request,
    Response,
    Resumed,
    Resumption,
    Run,
    RunState,
)

STATUS_PATHS = ("/status/{id}", "/{id}/status")
"""The path every live deployment speaks, then the one the reference named until May 2026."""

_STATES = {
    RunState.PENDING: "pending queued received created scheduled",
    RunState.RUNNING: "started running retry in_progress processing",
    RunState.PAUSED: "paused awaiting_human_feedback pending_human_input waiting_for_human_input",
    RunState.SUCCEEDED: "success succeeded completed complete finished",
    RunState.FAILED: "failed failure error errored timeout timed_out",
    RunState.STOPPED: "revoked stopped cancelled canceled aborted",
    RunState.NOT_FOUND: "not_found",
}
_STATE_OF_WORD = {word: state for state, words in _STATES.items() for word in words.split()}

_STATUS_ERRORS: dict[int, type[errors.CrewApiError]] = {
    400: errors.CrewInputError,
    401: errors.CrewAuthError,
    402: errors.CrewQuotaError,
    403: errors.CrewAuthError,
    404: errors.CrewNotFound,
    408: errors.CrewServerError,
    410: errors.CrewNotFound,
    422: errors.CrewInputError,
    429: errors.CrewRateLimited,
}
_QUOTA = re.compile(
    r"quota|(execution|monthly|plan|usage)s?\W+(\w+\W+)?limit|limit\W+(of|on)\W+(\w+\W+)?execution", re.IGNORECASE
)
_MARKUP = re.compile(r"<(script|style)\b.*?</\1\s*>|<[^<>]*>", re.IGNORECASE | re.DOTALL)
_UNSTORABLE = re.compile(r"\\u(0000|d[89a-f])", re.IGNORECASE)
_DETAIL_LENGTH = 1000


# ---- requests -------------------------------------------------------------------------------------


def inputs_request() -> Request:
    """`GET /inputs`: the names a crew wants; also the usable health check and wake-up call."""
    return Request("GET", "/inputs")


def kickoff_request(kickoff: Kickoff) -> Request:
    """`POST /kickoff`: starts a paid run. There is no idempotency key, so it must never be repeated blindly."""
    body: JSONObject = {"inputs": kickoff.inputs}
    if kickoff.meta is not None:
        body["meta"] = kickoff.meta
    body |= _hooks(kickoff)
    optional: JSONObject = {
        "restoreFromStateId": kickoff.restore_from_state_id,
        "trainingFilename": kickoff.training_filename,
        "generateArtifact": kickoff.generate_artifact,
    }
    body |= {key: value for key, value in optional.items() if value is not None}
    return Request("POST", "/kickoff", body, idempotent=False)


def status_request(kickoff_id: str, path: str = STATUS_PATHS[0]) -> Request:
    """`GET /status/{kickoff_id}`, or the older form when `path` says so. Ids are opaque, so they are quoted."""
    return Request("GET", path.replace("{id}", _quoted(kickoff_id)))


def resume_request(resumption: Resumption) -> Request:
    """`POST /resume` in both spellings at once: live wants camelCase, the reference says snake_case.

    Unknown keys are ignored by the service, and the webhooks are sent again since it forgets them.
    """
    body: JSONObject = {
        "executionId": resumption.kickoff_id,
        "execution_id": resumption.kickoff_id,
        "taskId": resumption.task_id,
        "task_id": resumption.task_id,
        "humanFeedback": resumption.feedback,
        "human_feedback": resumption.feedback,
    }
    if resumption.approve is not None:
        body["isApprove"] = body["is_approve"] = resumption.approve
    return Request("POST", "/resume", body | _hooks(resumption.hooks), idempotent=False)


def stop_request(kickoff_id: str) -> Request:
    """`POST /stop/{kickoff_id}`: not in the published reference (crewAI PR #5208), so best effort only."""
    return Request("POST", f"/stop/{_quoted(kickoff_id)}")


def _quoted(kickoff_id: str) -> str:
    if not _is_an_id(kickoff_id):
        raise errors.CrewConfigError(f"{kickoff_id!r} is not a kickoff_id. Nothing was sent.")
    return quote(kickoff_id, safe="")


def _is_an_id(kickoff_id: str) -> bool:
    # Ids are opaque, but one of dots alone is folded away by every HTTP library and would name another path.
    return isinstance(kickoff_id, str) and kickoff_id.isprintable() and bool(kickoff_id.strip("."))


def _hooks(kickoff: Kickoff) -> JSONObject:
    human = kickoff.human_input_webhook
    hooks: JSONObject = {
        "taskWebhookUrl": kickoff.task_webhook_url,
        "stepWebhookUrl": kickoff.step_webhook_url,
        "crewWebhookUrl": kickoff.crew_webhook_url,
        "humanInputWebhook" if isinstance(human, dict) else "humanInputWebhookUrl": human,
        "webhooks": kickoff.webhooks,
    }
    return {key: value for key, value in hooks.items() if value is not None}


# ---- answers --------------------------------------------------------------------------------------


def read_inputs(response: Response) -> CrewInputs:
    """Read the answer to `GET /inputs`.

    Live it is a list of names. A list of objects and a mapping are tolerated: some clients describe them.

    :raises CrewApiError, CrewProtocolError: the answer is an error, or not what the API promises.
    """
    body = _object(response)
    names = body.get("inputs", [])
    if isinstance(names, dict):
        names = list(names)
    if not isinstance(names, list):
        _unpromised(response, "no list under 'inputs'")
    return CrewInputs(tuple(_unique(filter(None, map(_input_name, names)))))


def read_kickoff(response: Response) -> str:
    """Read the answer to `POST /kickoff`: the run's `kickoff_id`.

    :raises CrewApiError, CrewProtocolError: the answer is an error, or holds no id.
    """
    kickoff_id = _text(_object(response).get("kickoff_id"))
    if not _is_an_id(kickoff_id):
        _unpromised(response, "no usable 'kickoff_id'")
    return kickoff_id


def read_status(kickoff_id: str, response: Response) -> Run:
    """Read the answer to a status request.

    A 404 that speaks of the execution means the same as the live 200 with `NOT FOUND`; any other 404
    says that this deployment does not know the path.

    :raises CrewNotFound: the path is unknown here.
    :raises CrewApiError, CrewProtocolError: the answer is an error, or not what the API promises.
    """
    if response.status in (404, 410) and _is_about_a_run(response):
        return Run(kickoff_id, RunState.NOT_FOUND, word="NOT FOUND", text=_detail(response))
    return _run(kickoff_id, response)


def read_resume(response: Response) -> Resumed:
    """Read the answer to `POST /resume`.

    :raises CrewApiError, CrewProtocolError: the answer is an error, or not what the API promises.
    """
    body = _object(response)
    fields = (_text(body.get(key)) or None for key in ("kickoff_id", "status", "message"))
    return Resumed(*fields)


def read_stop(response: Response) -> bool:
    """Read the answer to `POST /stop`: True if the run was stopped, False if it had already ended.

    :raises CrewUnknownRun: the deployment does not know this one.
    :raises CrewNotFound: it cannot stop runs (404 or 405): the run goes on.
    :raises CrewApiError: any other error.
    """
    if response.status == 400 and (state := _why_not_stopped(response)):
        if state is RunState.NOT_FOUND:
            raise _api_error(response, errors.CrewUnknownRun)
        if state.is_final:
            return False
    if response.status in (404, 405):
        raise _api_error(response, errors.CrewNotFound)
    _raise_for_status(response)
    if response.body.strip():
        _object(response)  # a gateway's page with a 200 stopped nothing
    return True


def _why_not_stopped(response: Response) -> RunState | None:
    said = re.search(r"cannot stop.*state:(.*)", _detail(response), re.IGNORECASE)
    return parse_state(said[1]) if said else None


def _run(kickoff_id: str, response: Response) -> Run:
    body = _object(response)
    word = _text(body.get("state")) or _text(body.get("status"))
    if not word:
        _unpromised(response, "neither 'state' nor 'status'")
    state = parse_state(word)
    # `status` is a sentence where `state` is there, and the state itself in the documented shape.
    text = _text(body.get("status")) if _text(body.get("state")) else None
    return Run(
        kickoff_id=kickoff_id,
        state=state,
        word=word,
        text=text or None,
        error=_failure(body, text) if state in (RunState.FAILED, RunState.STOPPED) else None,
        result=_result(body.get("result")),
        result_json=body.get("result_json"),
        progress=_progress(body),
        question=_question(body.get("human_input")),
        usage=_usage(body.get("usage_metrics")),
        raw=body,
    )


def parse_state(word: str) -> RunState:
    """Normalise a state's spelling: case-blind, with space, `_` and `-` alike. An unknown word is UNKNOWN."""
    return _STATE_OF_WORD.get(re.sub(r"[\s_-]+", "_", word.strip().lower()), RunState.UNKNOWN)


def _failure(body: JSONObject, text: str | None) -> str | None:
    candidates = (text, *(body.get(key) for key in ("error", "error_message", "result")))
    return next((said for said in map(_words, candidates) if said), None)


def _result(result: JSON) -> JSON:
    # The documented shape wraps the text: {"output": …, "tasks": […]}. Live it is the text itself.
    if isinstance(result, dict) and "output" in result and result.keys() <= {"output", "tasks"}:
        return result["output"]
    return result


def _progress(body: JSONObject) -> Progress | None:
    progress = body.get("progress")
    if not isinstance(progress, dict):
        return None
    return Progress(
        completed=_int(progress.get("completed", progress.get("completed_tasks"))),
        total=_int(progress.get("total", progress.get("total_tasks"))),
        current=_text(progress.get("current", body.get("current_task"))) or None,
        current_agent=_text(progress.get("current_agent")) or None,
    )


def _question(question: JSON) -> Question | None:
    if not isinstance(question, dict) or not (task_id := _text(question.get("task_id"))):
        return None
    return Question(task_id, _text(question.get("message")), _text(question.get("output")))


def _usage(usage: JSON) -> Mapping[str, int]:
    if not isinstance(usage, dict):
        return {}
    return {key: count for key, value in usage.items() if (count := _int(value)) is not None}


def _input_name(item: JSON) -> str:
    return _text(item.get("name")) if isinstance(item, dict) else _text(item)


# ---- errors ---------------------------------------------------------------------------------------


def read_error(response: Response) -> errors.CrewApiError | None:
    """Read the answer of any endpoint as the error that it is, or None where it is none."""
    try:
        _raise_for_status(response)
    except errors.CrewApiError as error:
        return error
    return None


def _object(response: Response) -> JSONObject:
    _raise_for_status(response)
    body = _json(response)
    if not isinstance(body, dict):
        _unpromised(response, "not a JSON object")
    return body


def _raise_for_status(response: Response) -> None:
    status = response.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        # Never followed: the token would go to whoever the redirect names.
        raise errors.CrewApiError(
            f"HTTP {status}: redirected to {response.headers.get('location', 'nowhere')}. Redirects are not "
            "followed with the token; set the connection's host to the crew's own URL.",
            status=status,
        )
    kind = _STATUS_ERRORS.get(status)
    if kind is None:
        kind = errors.CrewServerError if status >= 500 else errors.CrewApiError
    if _speaks_of_quota(response) and not (status == 429 and "retry-after" in response.headers):
        # Who says when to come back speaks of a rate, whatever the words.
        kind = errors.CrewQuotaError
    raise _api_error(response, kind)


def _speaks_of_quota(response: Response) -> bool:
    # An input may be named "quota" too, so a complaint about missing inputs is none about the plan.
    detail = _detail(response)
    return 401 < response.status < 500 and bool(_QUOTA.search(detail)) and "missing" not in detail.lower()


def _api_error(response: Response, kind: type[errors.CrewApiError]) -> errors.CrewApiError:
    detail = _detail(response)
    message = f"HTTP {response.status}: {detail}" if detail else f"HTTP {response.status} without a text"
    retry_after = response.headers.get("retry-after")
    return kind(message, status=response.status, detail=detail, retry_after=retry_after)


def _unpromised(response: Response, why: str) -> NoReturn:
    said = _plain(response.body.decode("utf-8", "replace")[:_DETAIL_LENGTH])
    raise errors.CrewProtocolError(f"HTTP {response.status}, but {why}: {said[:200]!r}")


def _is_about_a_run(response: Response) -> bool:
    said = _detail(response).lower()
    return any(word in said for word in ("execution", "kickoff", "task not found"))


def _detail(response: Response) -> str:
    """Return the server's own words, from any of the shapes seen: detail, error, message, text, HTML, nothing."""
    try:
        body = _json(response)
    except errors.CrewProtocolError:
        return _plain(response.body[: 8 * _DETAIL_LENGTH].decode("utf-8", "replace"))
    said = body
    if isinstance(body, dict):
        parts = [_words(body[key]) for key in ("error", "message", "detail", "details") if body.get(key)]
        said = ": ".join(_unique(filter(None, parts))) or _words(body)
    return _plain(_words(said))


def _words(value: JSON) -> str:
    try:
        return _said(value)
    except RecursionError:
        return ""


def _said(value: JSON) -> str:
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, list):
        return "; ".join(filter(None, map(_said, value)))
    if isinstance(value, dict) and isinstance(value.get("msg"), str):
        # FastAPI's validation errors: {"loc": ["body", "executionId"], "msg": "Field required"}
        where = value.get("loc")
        path = ".".join(map(str, where)) + ": " if isinstance(where, list) else ""
        return path + _said(value["msg"])
    return "" if value is None else json.dumps(value, ensure_ascii=False)


def _plain(text: str) -> str:
    # Cut first: looking for markup in a megabyte of "<style>" takes an hour.
    flat = " ".join(html.unescape(_MARKUP.sub(" ", text[: 8 * _DETAIL_LENGTH])).replace("\0", " ").split())
    return flat if len(flat) <= _DETAIL_LENGTH else flat[:_DETAIL_LENGTH] + "…"


def _json(response: Response) -> JSON:
    try:
        # Not `json.loads(bytes)`: that lets lone surrogates through.
        text = response.body.decode(json.detect_encoding(response.body), "replace")
        # NaN and Infinity (which 1e999 is, too) are Python's, not JSON's, and a database would refuse them later.
        body: JSON = json.loads(text, parse_constant=lambda _: None, parse_float=_finite)
        return _storable(body) if _UNSTORABLE.search(text) else body
    except (ValueError, RecursionError):
        # RecursionError: a body of ten thousand brackets is a body too.
        _unpromised(response, "not JSON")


def _finite(digits: str) -> float | None:
    return value if math.isfinite(value := float(digits)) else None


def _storable(value: JSON) -> JSON:
    """Replace lone surrogates and NUL: no log, JSON column or XCom can hold them."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {str(_storable(key)): _storable(item) for key, item in value.items()}
    return value


def _text(value: JSON) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _int(value: JSON) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _unique(items: Iterable[str]) -> Iterable[str]:
    return dict.fromkeys(items)
