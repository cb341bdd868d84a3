"""The description of the API for programs (OpenAPI 3.1) and for people: `/openapi.json` and `/docs`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from airflow_provider_crewai.wire.model import JSONObject

_OBJECT: JSONObject = {"type": "object"}
_TEXT: JSONObject = {"type": "string"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint of the API.

    :param path: with its parameters in braces.
    :param does: what it does, in a sentence.
    :param body: the JSON Schemas of the body's fields; those in `needs` must be there.
    :param answers: what each HTTP status means.
    :param is_open: whether it needs no token.
    """

    method: str
    path: str
    does: str
    answers: dict[str, str]
    body: JSONObject | None = None
    needs: tuple[str, ...] = ()
    is_open: bool = False


ENDPOINTS = (
    Endpoint("get", "/inputs", "Names the inputs that the crew or flow takes.", {"200": '`{"inputs": [names]}`'}),
    Endpoint(
        "post",
        "/kickoff",
        "Starts a run, which may cost money. Sent twice, it starts two.",
        {
            "200": '`{"kickoff_id": "…"}`',
            "422": "An input is missing. Nothing was started.",
            "503": "The project is not loaded. Nothing was started; try again after `Retry-After` seconds.",
        },
        {
            "inputs": _OBJECT,
            "meta": _OBJECT,
            "restoreFromStateId": _TEXT,
            "taskWebhookUrl": _TEXT,
            "stepWebhookUrl": _TEXT,
            "crewWebhookUrl": _TEXT,
            "humanInputWebhookUrl": _TEXT,
            "humanInputWebhook": _OBJECT,
            "webhooks": _OBJECT,
        },
    ),
    Endpoint(
        "get",
        "/status/{kickoff_id}",
        "Tells where a run stands, and its result. Read `state`; `status` is a sentence.",
        {"200": "`state` is PENDING, STARTED, RUNNING, PAUSED, SUCCESS, FAILED, REVOKED or NOT FOUND."},
    ),
    Endpoint(
        "get",
        "/runs/{kickoff_id}/events",
        "Streams what happens in a run (Server-Sent Events), after the event that `Last-Event-ID` names.",
        {"200": "`text/event-stream`", "204": "Nothing more will come.", "404": "There is no such run."},
    ),
    Endpoint(
        "post",
        "/resume",
        "Answers a run that waits for a human. A short plain approval sends it on; other words send its task back.",
        {"200": "The answer counts.", "404": "There is no such question.", "409": "It has an answer already."},
        {"executionId": _TEXT, "taskId": _TEXT, "humanFeedback": _TEXT, "isApprove": {"type": "boolean"}},
        ("executionId", "taskId", "humanFeedback"),
    ),
    Endpoint(
        "post",
        "/resume_feedback",
        "Answers a flow that waits for a human, by the `flow_id` in its status.",
        {"200": "The answer counts.", "404": "There is no such flow.", "409": "It does not wait."},
        {"flow_id": _TEXT, "feedback": _TEXT},
        ("flow_id", "feedback"),
    ),
    Endpoint(
        "post",
        "/stop/{kickoff_id}",
        "Stops a run and all its processes.",
        {"200": "It is stopped.", "400": "It had ended already, or there is none."},
    ),
    Endpoint("post", "/chat/start", "Begins a chat with a conversational flow.", {"200": "`session_id`"}),
    Endpoint(
        "post",
        "/chat/{session_id}/message",
        "Says something in a chat. The turn is a run of its own.",
        {
            "200": "`kickoff_id` of the turn",
            "404": "There is no such chat.",
            "409": "`session_busy`",
        },
        {"message": _TEXT},
        ("message",),
    ),
    Endpoint(
        "get",
        "/chat/{session_id}/stream/events",
        "Streams what happens in a chat, after `last_event_id`.",
        {"200": "`text/event-stream`", "404": "There is no such chat."},
    ),
    Endpoint(
        "get",
        "/chat/{session_id}/history",
        "Tells what was said in a chat.",
        {"200": "`messages`, each with `role` and `content`", "404": "There is no such chat."},
    ),
    Endpoint("get", "/inspect", "Says what is served here, and whether one can chat with it.", {"200": "An object."}),
    Endpoint(
        "get",
        "/health",
        "Says whether the server is well.",
        {"200": "It is.", "503": "It does not look after its runs any more."},
        is_open=True,
    ),
)


def openapi(url: str) -> JSONObject:
    """Describe the API.

    :param url: where it is served.
    """
    paths: dict[str, JSONObject] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {"title": "A crew or flow, served by airflow-provider-crewai", "version": "1"},
        "servers": [{"url": url}],
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
        "paths": {**paths},
    }


def _operation(endpoint: Endpoint) -> JSONObject:
    operation: JSONObject = {
        "summary": endpoint.does,
        "responses": {status: {"description": meaning} for status, meaning in endpoint.answers.items()},
    }
    if names := re.findall(r"{(\w+)}", endpoint.path):
        operation["parameters"] = [{"name": name, "in": "path", "required": True, "schema": _TEXT} for name in names]
    if endpoint.body is not None:
        schema: JSONObject = {"type": "object", "properties": endpoint.body, "required": [*endpoint.needs]}
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return operation | ({"security": []} if endpoint.is_open else {})
