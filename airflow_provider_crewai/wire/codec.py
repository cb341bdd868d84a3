"""Reads and writes the bodies of the AOP API: only this module knows its keys and state words.

It reads two dialects: what deployments answer live (crewai 1.15, 2026-10), and what the published reference documents
(docs.crewai.com/en/api-reference, enterprise-api.en.yaml). Any bytes give a value or a `CrewError`, never another
exception.

An answer (an id, a result) is never changed. Texts for people (a state, a step, a question) become printable
and short here, once, and our secrets are removed from them after decoding.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from urllib.parse import quote

from airflow_provider_crewai.wire import body as bodies
from airflow_provider_crewai.wire import errors, words
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
from airflow_provider_crewai.wire.refusals import (
    api_error,
    detail_of,
    is_about_a_run,
    raise_for_status,
    unpromised,
    words_in,
)
from airflow_provider_crewai.wire.values import as_json, storable

STATUS_PATHS = ("/status/{id}", "/{id}/status")
"""The path of every live deployment, then the one that the reference named until May 2026."""

_STATES = {
    RunState.PENDING: "pending queued received created scheduled",
    RunState.RUNNING: "started running retry in_progress processing",
    RunState.PAUSED: "paused awaiting_human_feedback pending_human_input waiting_for_human_input",
    RunState.SUCCEEDED: "success succeeded completed complete finished",
    RunState.FAILED: "failed failure error errored timeout timed_out",
    RunState.STOPPED: "revoked stopped cancelled canceled aborted",
    RunState.NOT_FOUND: "not_found",
}
_STATE_OF_WORD = {word: state for state, spelt in _STATES.items() for word in spelt.split()}

_OF_A_RUN = frozenset(
    {"state", "result", "result_json", "progress", "usage_metrics", "last_step", "last_executed_task", "current_task"}
)
"""Keys that only an answer about a run has; any answer may have `status` and `error`."""

_PATH = re.compile(r"(?:/[\w.~%-]++)++/?", re.ASCII)
"""A path on the same host, with nothing in it that a browser could understand otherwise. Read in one pass."""

_LONGEST_PATH = 500
"""Characters of such a path, at most."""

_LINE_BREAKS = "\n\r\x0b\x0c\x85\u2028\u2029"

MAX_ID = 256
"""The most characters of an id. Real ids are UUIDs or have 24 characters; servers refuse a path of some thousand."""

_MAX_COUNT = 2**53
"""A larger number is not a count, and differs between programming languages."""

_MAX_USAGE = 20
"""How many figures of a run's usage we keep; crewai has seven."""

_MAX_OPTIONS = 50
"""How many options of a question we keep; a flow names a handful."""

_MAX_EVENT_TYPES = 60
"""How many types of events we keep; crewai 1.15 has some fifty."""


# ---- requests -------------------------------------------------------------------------------------


def inputs_request() -> Request:
    """`GET /inputs`: the names that a crew wants. It also serves as health check and wake-up call."""
    return Request("GET", "/inputs")


def kickoff_request(kickoff: Kickoff) -> Request:
    """`POST /kickoff`: starts a paid run. There is no idempotency key, so it must never be repeated blindly.

    :raises CrewConfigError: JSON cannot hold a part of it; the message names the path.
    """
    body: JSONObject = {"inputs": kickoff.inputs}
    if kickoff.meta is not None:
        body["meta"] = kickoff.meta
    if kickoff.restore_from_state_id is not None:
        body["restoreFromStateId"] = kickoff.restore_from_state_id
    body |= _hooks(kickoff)
    return Request("POST", "/kickoff", _as_json(body), idempotent=False, secrets=_credentials(kickoff))


def status_request(kickoff_id: str, path: str = STATUS_PATHS[0]) -> Request:
    """`GET /status/{kickoff_id}`, or the older form when `path` says so. Ids are opaque, so they are quoted."""
    return Request("GET", path.replace("{id}", _quoted(kickoff_id)), long_answer=True)


def resume_request(resumption: Resumption) -> Request:
    """`POST /resume` in both spellings at once: the live service wants camelCase, the reference says snake_case.

    The service ignores unknown keys. We send the webhooks again, because it forgets them.

    :raises CrewConfigError: JSON cannot hold a part of it; the message names the path.
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
    body |= _hooks(resumption.hooks)
    return Request("POST", "/resume", _as_json(body), idempotent=False, secrets=_credentials(resumption.hooks))


def feedback_request(flow_id: str, feedback: str) -> Request:
    """`POST /resume_feedback`: answers the flow that waits under this id (docs-platform.crewai.com, 2026-11).

    The id is the same in each round, so it must not be repeated blindly: it would answer the next question.

    :raises CrewConfigError: JSON cannot hold the feedback.
    """
    return Request("POST", "/resume_feedback", _as_json({"flow_id": flow_id, "feedback": feedback}), idempotent=False)


def callback_request(url: str, feedback: str) -> Request:
    """`POST callback_url`: answers a flow where the webhook of its question says (docs.crewai.com, HITL workflows).

    :raises CrewConfigError: JSON cannot hold the feedback.
    """
    body = _as_json({"feedback": feedback, "source": "airflow"})
    return Request("POST", "", body, idempotent=False, secrets=(url,), url=url)


def stop_request(kickoff_id: str) -> Request:
    """`POST /stop/{kickoff_id}`: not in the published reference (crewAI PR #5208), so best effort only."""
    return Request("POST", f"/stop/{_quoted(kickoff_id)}")


def _as_json(body: JSONObject) -> JSONObject:
    return {key: as_json(value, key) for key, value in body.items()}


def _quoted(kickoff_id: str) -> str:
    if fault := fault_of_id(kickoff_id):
        shown = words.line(str(kickoff_id), 60)
        raise errors.CrewConfigError(f"{shown!r} is not a kickoff_id: it {fault}. Nothing was sent.")
    return quote(kickoff_id, safe="")


def fault_of_id(kickoff_id: str) -> str | None:
    """Return why a text cannot be a kickoff_id, as in "it …", or None if it can.

    Ids are opaque. But every HTTP library folds away an id of dots alone, so it would name another path. And an id with
    a control character forges lines wherever it is logged.
    """
    if fault := _unsendable(kickoff_id):
        return fault
    return (
        None if len(kickoff_id) <= MAX_ID else f"has {len(kickoff_id):,} characters, but at most {MAX_ID} are allowed"
    )


def _unsendable(kickoff_id: str) -> str | None:
    if not isinstance(kickoff_id, str):
        return "is not a text"
    if not kickoff_id.strip(". "):
        return "holds only dots" if kickoff_id.strip() else "is empty"
    if words.is_an_order(kickoff_id):
        return "holds a command for log viewers"
    sign = next((sign for sign in kickoff_id if not sign.isprintable()), None)
    if sign is None:
        return None
    return f"holds {'a line break' if sign in _LINE_BREAKS else f'the invisible character U+{ord(sign):04X}'}"


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


def _credentials(kickoff: Kickoff) -> tuple[str, ...]:
    """Return the tokens and passwords of webhooks, because a deployment may repeat a body that it refuses."""
    hooks = (kickoff.human_input_webhook, kickoff.webhooks)
    signed = (hook.get("authentication") for hook in hooks if isinstance(hook, dict))
    found = (each.get(key) for each in signed if isinstance(each, dict) for key in ("token", "password"))
    return tuple(text for text in found if isinstance(text, str) and len(text) >= words.SHORTEST_SECRET)


# ---- answers --------------------------------------------------------------------------------------


def read_inputs(response: Response) -> CrewInputs:
    """Read the answer to `GET /inputs`.

    The live service sends a list of names. We also accept a list of objects and a mapping: some clients describe them.

    :raises CrewApiError, CrewProtocolError: the answer is an error, or not what the API promises.
    """
    body = _object(response)
    if "inputs" not in body:
        raise unpromised(response, "nothing under 'inputs'", errors.CrewNotACrew)
    names = body["inputs"] or []
    if not isinstance(names, list | dict):
        raise unpromised(response, "no list under 'inputs'")
    cleaned = (words.line(_input_name(item), secrets=response.secrets) for item in names)
    return CrewInputs(tuple(dict.fromkeys(filter(None, cleaned))))


def read_kickoff(response: Response) -> str:
    """Read the answer to `POST /kickoff`: the run's `kickoff_id`, unchanged.

    The caller checks whether the id is short enough to use: by then, the kickoff has been paid for.

    :raises CrewApiError, CrewProtocolError: the answer is an error, or holds no id.
    """
    kickoff_id = _id(_object(response).get("kickoff_id"))
    if fault := _unsendable(kickoff_id):
        raise unpromised(response, f"no usable 'kickoff_id': it {fault}")
    return kickoff_id


def read_status(kickoff_id: str, response: Response) -> Run:
    """Read the answer to a status request.

    A 404 that mentions the execution means the same as the live 200 with `NOT FOUND`. Any other 404 means that this
    deployment does not know the path.

    :raises CrewNotFound: this deployment does not know the path.
    :raises CrewNotACrew: the server there is not a crew. A gateway's page during an outage looks the same, so a caller
        who has seen the run alive goes on waiting.
    :raises CrewAnswerTooLarge: only the beginning was read, and the state is not in it.
    :raises CrewApiError, CrewProtocolError: the answer is an error, or not what the API promises.
    """
    if response.status in (404, 410) and is_about_a_run(response):
        return Run(kickoff_id, RunState.NOT_FOUND, word="NOT FOUND", text=detail_of(response))
    return _run(kickoff_id, response)


def read_resume(response: Response) -> Resumed:
    """Read the answer to `POST /resume`.

    :raises CrewApiError, CrewProtocolError: the answer is an error, or not what the API promises.
    """
    body = _object(response)
    kickoff_id = _id(body.get("kickoff_id"))
    status, message = (_line(body.get(key), response) for key in ("status", "message"))
    return Resumed(None if fault_of_id(kickoff_id) else kickoff_id, status, message)


def read_callback(response: Response) -> Resumed:
    """Read the answer to a `callback_url`. Its body is not documented: none will do, and any JSON object.

    :raises CrewApiError, CrewProtocolError: the answer is an error, or a gateway's page.
    """
    raise_for_status(response)
    return read_resume(response) if response.body.strip() else Resumed()


def read_stop(response: Response) -> bool:
    """Read the answer to `POST /stop`: True if the run was stopped, False if it had already ended.

    :raises CrewUnknownRun: the deployment does not know this run.
    :raises CrewNotFound: the deployment cannot stop runs (404 or 405), so the run goes on.
    :raises CrewApiError: any other error.
    """
    if response.status in (400, 409) and (state := _why_not_stopped(response)):
        if state is RunState.NOT_FOUND:
            raise api_error(response, errors.CrewUnknownRun, detail_of(response))
        if state.is_final:
            return False
    if response.status in (404, 405):
        raise api_error(response, errors.CrewNotFound, detail_of(response))
    raise_for_status(response)
    if response.body.strip():
        body = _object(response)  # a gateway's page with a 200 stopped nothing
        state = parse_state(_text(body.get("status")))
        if body.get("success") is False or body.get("error") or state in (RunState.FAILED, RunState.NOT_FOUND):
            raise api_error(response, errors.CrewApiError, detail_of(response))
    return True


def _why_not_stopped(response: Response) -> RunState | None:
    said = re.search(r"cannot stop.*state:\W*(?:\w+\.)?([\w -]+)", detail_of(response), re.IGNORECASE)
    return parse_state(said[1]) if said else None


def _run(kickoff_id: str, response: Response) -> Run:
    body = _object(response)
    word = _line(body.get("state"), response) or _line(body.get("status"), response)
    state = parse_state(word or "")
    if not word or (state is RunState.UNKNOWN and not body.keys() & _OF_A_RUN):
        raise unpromised(response, "it does not say the state of a run", errors.CrewNotACrew)
    run = Run(
        kickoff_id=kickoff_id,
        state=state,
        word=word,
        text=_line(body.get("status"), response) if _text(body.get("state")) else None,
        progress=_progress(body, response),
        question=_question(body, state, response),
        usage=_counts(body.get("usage_metrics"), response, _MAX_USAGE),
        origin=_line(body.get("execution_origin"), response),
        page=_page(body.get("run_page")),
        events=_counts(body.get("events_by_type"), response, _MAX_EVENT_TYPES),
    )
    if not response.whole:
        return run
    if state is RunState.SUCCEEDED:
        return _with_answer(run, body, response)
    if state in (RunState.FAILED, RunState.STOPPED):
        return _with_reason(run, body, response.secrets)
    return run  # what the run has written so far is not its answer, so we do not keep it


def _with_answer(run: Run, body: JSONObject, response: Response) -> Run:
    came = (_result(body.get("result")), body.get("result_json"))
    result, result_json = kept = (storable(came[0]), storable(came[1]))
    remarks = []
    if any(isinstance(value, bodies.Source) for value in came):
        remarks.append(f"is nested more than {bodies.MAX_DEPTH} levels deep, so its JSON is returned as a text")
    if bodies.is_garbled(response.body):
        remarks.append("is not in UTF-8; what cannot be read is replaced with U+FFFD")
    if kept != came:
        remarks.append("holds characters that no database can hold; they are replaced with U+FFFD")
    run = replace(run, result=result, result_json=result_json)
    shown = run.answer if isinstance(run.answer, str) else json.dumps(run.answer, ensure_ascii=False)
    if words.scrub(shown, response.secrets) != shown:
        remarks.append(
            "holds a secret of the connection. The answer is returned unchanged, so everyone who sees it sees the "
            "secret: renew the secret, and make sure that the crew cannot learn it"
        )
    return replace(run, remarks=tuple(remarks))


def _with_reason(run: Run, body: JSONObject, secrets: tuple[str, ...]) -> Run:
    # With a `state`, `status` is a sentence. Without one (the documented shape), `status` is the state itself.
    keys = ("status", "error", "error_message", "result")
    candidates = (body.get(key) for key in (keys if _text(body.get("state")) else keys[1:]))
    given = [said for said in map(words_in, candidates) if said]
    if not given:
        return run
    # Some deployments repeat the state here; others give the reason.
    said = next((said for said in given if parse_state(said) is RunState.UNKNOWN), given[0])
    reason = words.scrub("\n".join(map(words.printable, said.splitlines())), secrets)
    return replace(run, error=words.paragraphs(reason) or None, reason=reason)


def parse_state(word: str) -> RunState:
    """Return the state that a word means, in any case, with a space, `_` or `-`. An unknown word is UNKNOWN."""
    return _STATE_OF_WORD.get(re.sub(r"[\s_-]+", "_", word.strip().lower()), RunState.UNKNOWN)


def _result(result: JSON) -> JSON:
    # The documented shape wraps the text: {"output": …, "tasks": […]}. The live service sends the text itself.
    if isinstance(result, dict) and "output" in result and result.keys() <= {"output", "tasks"}:
        return result["output"]
    return result


def _progress(body: JSONObject, response: Response) -> Progress | None:
    progress = body.get("progress")
    if not isinstance(progress, dict):
        return None
    return Progress(
        completed=_count(progress.get("completed", progress.get("completed_tasks"))),
        total=_count(progress.get("total", progress.get("total_tasks"))),
        current=_line(progress.get("current", body.get("current_task")), response),
        current_agent=_line(progress.get("current_agent"), response),
    )


def _question(body: JSONObject, state: RunState, response: Response) -> Question | None:
    """Read what a run asks: the local server tells it all, a deployment only which flow waits."""
    flow_id = _usable_id(body.get("flow_id")) if state is RunState.PAUSED else None
    told = body.get("human_input")
    told = told if isinstance(told, dict) else {}
    if (task_id := _usable_id(told.get("task_id")) or flow_id) is None:
        return None
    return Question(
        task_id,
        _line(told.get("message"), response) or "",
        words.document(_text(told.get("output")), secrets=response.secrets),
        _options(told.get("options"), response),
        flow_id,
        others=_others(told.get("others")),
    )


def _others(given: JSON) -> tuple[str, ...]:
    told = [each for each in given[:_MAX_OPTIONS] if isinstance(each, dict)] if isinstance(given, list) else []
    return tuple(task_id for each in told if (task_id := _usable_id(each.get("task_id"))))


def _options(given: JSON, response: Response) -> tuple[str, ...]:
    options = (_line(each, response) for each in given[:_MAX_OPTIONS]) if isinstance(given, list) else ()
    return tuple(option for option in options if option)


def _usable_id(value: JSON) -> str | None:
    return None if fault_of_id(found := _id(value)) else found


def _page(path: JSON) -> str | None:
    # A path alone: no deployment says where else a link in Airflow leads.
    is_path = isinstance(path, str) and len(path) <= _LONGEST_PATH and _PATH.fullmatch(path)
    return str(path) if is_path else None


def _counts(given: JSON, response: Response, most: int) -> Mapping[str, int]:
    if not isinstance(given, dict):
        return {}
    counts = ((_line(key, response), _count(value)) for key, value in islice(given.items(), most))
    return {key: count for key, count in counts if key and count is not None}


def _input_name(item: JSON) -> str:
    return _text(item.get("name")) if isinstance(item, dict) else _text(item)


def _line(value: JSON, response: Response) -> str | None:
    return words.line(_text(value), secrets=response.secrets) or None


def _id(value: JSON) -> str:
    return value if isinstance(value, str) else _text(value)


def _object(response: Response) -> JSONObject:
    raise_for_status(response)
    text = bodies.text_of(response.body)
    if not response.whole:
        return bodies.read_head(text)
    try:
        body = bodies.read(text)
    except ValueError:
        # A crew may stop in the middle of an object, but it never sends a page.
        broken = text.lstrip("\ufeff \t\r\n").startswith("{")
        kind = errors.CrewProtocolError if broken else errors.CrewNotACrew
        raise unpromised(response, "not JSON", kind) from None
    if not isinstance(body, dict):
        raise unpromised(response, "not a JSON object", errors.CrewNotACrew)
    return body


def _text(value: JSON) -> str:
    if isinstance(value, str):
        return value.strip()
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else ""


def _count(value: JSON) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > _MAX_COUNT:
        return None
    return int(value)
