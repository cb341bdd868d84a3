"""What does the call of a webhook say? The bodies that a deployment sends, as opposed to those that it answers with.

A body comes from the network, whoever sent it: any bytes give a value or a `CrewProtocolError`, whose text holds
nothing of the body.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

from airflow_provider_crewai.wire import body as bodies
from airflow_provider_crewai.wire import words
from airflow_provider_crewai.wire.codec import fault_of_id
from airflow_provider_crewai.wire.errors import CrewProtocolError
from airflow_provider_crewai.wire.model import JSON, JSONObject, Question
from airflow_provider_crewai.wire.values import storable

LONGEST_OUTPUT = 50_000
"""The most characters that are kept of what a human is to judge: some twenty pages."""

MOST_OPTIONS = 20
"""The most outcomes that a flow can offer."""

STARTS = ("crew_kickoff_started", "flow_started")
"""The events with which a run begins (crewai 1.15, `crewai.events.types`)."""


_URL = re.compile(r"https?://[^\s\x00-\x20]{1,2000}", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the run that asks it.

    :param kickoff_id: the run that the question's kickoff started, also in later rounds.
    """

    kickoff_id: str
    question: Question = field(repr=False)


def read_human_input(body: bytes) -> Asked:
    """Read the call of a `humanInputWebhook`: `{kickoff_id, execution_id, task_id, task_output, meta}`.

    Source: the vendor's skill `call-deployed-crew`, tried live with crewai 1.15.22; the `task_id` is a UUID.

    :raises CrewProtocolError: it is something else.
    """
    call = _object(body)
    if isinstance(call.get("request"), dict):  # the local server tells both kinds to one webhook
        return _flow_asks(call, None)
    task_id = _id(call, "task_id", "taskId")
    output = call.get("task_output", call.get("output"))
    return Asked(
        _id(call, "execution_id", "kickoff_id"),
        Question(task_id, words.line(_text(call.get("message"))), output=_judged(output)),
    )


def read_flow_request(body: bytes) -> Asked:
    """Read what a flow asks: `{"event": "new_request", "request": {id, flow_id, message, …}, "callback_url"}`.

    Sources: the vendor's guide on managing human feedback of flows, and its procurement template, by which the
    `flow_id` is the run's kickoff_id and the request also has the `output` to judge.

    :raises CrewProtocolError: it is something else.
    """
    call = _object(body)
    if call.get("event") != "new_request" or not isinstance(call.get("request"), dict):
        raise CrewProtocolError("the body is no new_request")
    url = call.get("callback_url")
    return _flow_asks(call, url if isinstance(url, str) and _URL.fullmatch(url) else None)


def _flow_asks(call: JSONObject, callback_url: str | None) -> Asked:
    """Return what a flow asks. Its callback URL counts only where the call is signed: somebody's answer goes there."""
    request = call["request"]
    assert isinstance(request, dict)  # noqa: S101 - for mypy: the callers have looked
    flow_id = _id(request, "flow_id")
    offered = request.get("emit_options")
    options = [words.line(_text(each)) for each in (offered if isinstance(offered, list) else [])[:MOST_OPTIONS]]
    question = Question(
        _id(request, "id", "flow_id"),
        words.line(_text(request.get("message"))),
        _judged(request.get("output")),
        tuple(filter(None, options)),
        flow_id,
        callback_url,
    )
    return Asked(flow_id, question)


def read_start(body: bytes) -> str:
    """Read the call that tells of a run's start: streamed events, or a task webhook. Return the run's kickoff_id.

    Sources: the vendor's guides on webhook streaming (`{"events": [{execution_id, type, …}]}`) and on webhooks of a
    task (`{kickoff_id, …}`).

    :raises CrewProtocolError: it names no run.
    """
    call = _object(body)
    events = call.get("events")
    if not isinstance(events, list):
        return _id(call, "kickoff_id", "execution_id")
    first = next((event for event in events if isinstance(event, dict) and event.get("execution_id")), {})
    return _id(first, "execution_id")


def _judged(output: JSON) -> str:
    """Return what a human is to judge: with its line breaks, since it may be Markdown."""
    text = words.printable(_text(output)[: 2 * LONGEST_OUTPUT], keep="\n\t")
    return text if len(text) <= LONGEST_OUTPUT else f"{text[:LONGEST_OUTPUT]}…"


def _object(body: bytes) -> JSONObject:
    try:
        call = bodies.read(bodies.text_of(body))
    except (ValueError, RecursionError):
        raise CrewProtocolError("the body is not JSON") from None
    if not isinstance(call, dict):
        raise CrewProtocolError("the body is not a JSON object")
    return call


def _id(call: JSONObject, *names: str) -> str:
    found = next((call[name] for name in names if call.get(name)), None)
    if not isinstance(found, str) or fault_of_id(found):
        raise CrewProtocolError(f"the body names no {' or '.join(names)}")
    return found


def _text(value: JSON) -> str:
    kept = storable(value)
    if isinstance(kept, str):
        return kept.strip()
    return "" if kept is None else json.dumps(kept, ensure_ascii=False, indent=2)
