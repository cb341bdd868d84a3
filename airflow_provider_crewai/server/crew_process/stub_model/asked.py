"""Reads a request, in the spelling of either API.

The shapes come from crewai's source and from its traffic, versions 1.15.2 to 1.15.30.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


class BadRequest(ValueError):
    """The endpoint does not take this request; the message says why."""


@dataclass(frozen=True)
class Ask:
    """What a request asks for.

    :param messages: (role, text) in order.
    :param tool: the name and parameters' schema of the tool that the answer must call, if any.
    :param schema: the schema that must accept the answer, if any; `{}` takes any JSON object.
    """

    model: str
    messages: list[tuple[str, str]]
    tool: tuple[str, Json] | None
    schema: Json | None

    @classmethod
    def of_chat(cls, body: Json) -> Ask:
        """Read `POST /chat/completions`."""
        wanted = body.get("response_format") or {}
        described = wanted.get("json_schema") or {}
        return cls._of(body, _messages(body.get("messages")), wanted.get("type"), described.get("schema"))

    @classmethod
    def of_responses(cls, body: Json) -> Ask:
        """Read `POST /responses`."""
        said = body.get("input")
        messages = [("user", said)] if isinstance(said, str) else _messages(said)
        if body.get("instructions"):
            messages.insert(0, ("system", str(body["instructions"])))
        wanted = (body.get("text") or {}).get("format") or {}
        return cls._of(body, messages, wanted.get("type"), wanted.get("schema"))

    @classmethod
    def _of(cls, body: Json, messages: list[tuple[str, str]], kind: str | None, schema: Json | None) -> Ask:
        if kind != "json_schema":
            schema = _schema_in(messages) or ({} if kind == "json_object" else None)
        return cls(str(body.get("model") or "model"), messages, _forced(body), schema)

    def words(self) -> int:
        """Return how many words the messages have."""
        return sum(len(text.split()) for _, text in self.messages)

    def last(self) -> str:
        """Return the user's last message."""
        return next((text for role, text in reversed(self.messages) if role == "user"), "")


def _messages(given: object) -> list[tuple[str, str]]:
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given):
        raise BadRequest("a list of messages is required")
    return [(str(one.get("role") or one.get("type")), _text(one.get("content", one.get("output")))) for one in given]


def _text(content: object) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return "" if content is None else str(content)


def _forced(body: Json) -> tuple[str, Json] | None:
    """Return the tool that `tool_choice` forces. When the request holds its result already, the answer is text."""
    tools = [tool.get("function", tool) for tool in body.get("tools") or [] if tool.get("type") == "function"]
    choice = body.get("tool_choice")
    if choice == "required":
        named = tools[:1]
    else:
        name = choice.get("function", choice).get("name") if isinstance(choice, dict) else None
        named = [tool for tool in tools if tool["name"] == name]
    if not named or named[0]["name"] in _called(body):
        return None
    return named[0]["name"], named[0].get("parameters") or {}


def _called(body: Json) -> set[str]:
    said = [one for one in body.get("messages") or body.get("input") or [] if isinstance(one, dict)]
    calls = [call.get("function", {}) for one in said for call in one.get("tool_calls") or []]
    return {str(call.get("name")) for call in calls + [one for one in said if one.get("type") == "function_call"]}


def _schema_in(messages: list[tuple[str, str]]) -> Json | None:
    """Find the schema that crewai writes into a prompt (translations: `formatted_task_instructions`)."""
    for role, text in reversed(messages):
        at = re.search(r"OpenAPI schema:\s*(?=\{)", text) if role in {"system", "user"} else None
        if at:
            with suppress(ValueError):
                found: Json = json.JSONDecoder().raw_decode(text, at.end())[0]
                inner: Json | None = found.get("json_schema", {}).get("schema")
                return inner or found
    return None
