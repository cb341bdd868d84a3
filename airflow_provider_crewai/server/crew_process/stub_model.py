"""A deterministic stand-in for a language model: an OpenAI-compatible endpoint on loopback, without a model behind it.

The same request gets the same answer, marked `[stub:MODEL]` and saying what it answers. A request for structured
output gets JSON that is valid by its schema, a forced tool gets called, and nothing else is: a crew with tools comes
to an end. What crewai sends was read in its source and seen on the wire, versions 1.15.2 to 1.15.30.
"""

from __future__ import annotations

import base64
import hashlib
import importlib
import json
import math
import os
import re
import signal
import socketserver
import string
import sys
import threading
import zlib
from array import array
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Json = dict[str, Any]

# By https://platform.openai.com/docs/guides/embeddings and the models' cards; other models get OpenAI's most usual.
_DIMENSIONS = {"text-embedding-3-large": 3072, "nomic-embed-text": 768, "mxbai-embed-large": 1024, "all-minilm": 384}
_USUAL_DIMENSIONS = 1536
_SUBJECT_LENGTH = 200
_DEEPEST = 8


class BadRequest(ValueError):
    """The request is not what the endpoint takes; the message says why."""


# ---- what is asked ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """A request in either API's spelling, understood.

    :param messages: (role, text) in order.
    :param tool: the name and parameters' schema of the tool that must be called, if one must.
    :param schema: what the answer must be valid by; `{}` is any JSON object.
    """

    model: str
    messages: list[tuple[str, str]]
    tool: tuple[str, Json] | None
    schema: Json | None

    @classmethod
    def of_chat(cls, body: Json) -> Ask:
        """Understand `POST /chat/completions`."""
        wanted = body.get("response_format") or {}
        described = wanted.get("json_schema") or {}
        return cls._of(body, _messages(body.get("messages")), wanted.get("type"), described.get("schema"))

    @classmethod
    def of_responses(cls, body: Json) -> Ask:
        """Understand `POST /responses`."""
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
        """Return how many words were sent."""
        return sum(len(text.split()) for _, text in self.messages)

    def last(self) -> str:
        """Return what the user said last."""
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
    """Return the tool that `tool_choice` forces, once: asked again with its result, the answer is text."""
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


# ---- what is answered -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    """The answer: text, or a call of a tool with its arguments as JSON."""

    text: str
    tool: str | None = None

    def words(self) -> int:
        """Return how many words are answered."""
        return len(self.text.split())


def answer(ask: Ask) -> Reply:
    """Answer, the same to the same request."""
    mark = f"[stub:{ask.model}]"
    subject = _subject(ask)
    if ask.tool:
        name, parameters = ask.tool
        return Reply(json.dumps(_Filling(parameters, mark, subject, ask.last()).filled()), name)
    text = f"{mark} This stands for the answer to: {subject}"
    if ask.schema == {}:
        text = json.dumps({"answer": text})
    elif ask.schema is not None:
        text = json.dumps(_Filling(ask.schema, mark, subject, ask.last()).filled())
    elif options := re.search(r"\nPossible outcomes: (.*)", ask.last()):
        text = chosen(options[1].split(", "), ask.last())
    elif "READY or NOT READY" in ask.last() or '"READY: ' in ask.last():
        text += "\nREADY: I am ready to execute the task."
    return Reply(_in_the_format_asked_for(ask, text))


def _in_the_format_asked_for(ask: Ask, text: str) -> str:
    """Dress the answer as the last step of ReAct where the prompt asks for that."""
    if any("Final Answer:" in said for role, said in ask.messages if role in {"system", "user"}):
        return f"Thought: I now can give a great answer\nFinal Answer: {text}"
    return text


def _subject(ask: Ask) -> str:
    """Say in a line what is asked: crewai's current task where there is one, and the feedback on the last answer."""
    tasks = [said.group(1) for _, text in ask.messages if (said := re.search(r"Current Task:\s*(.*)", text))]
    feedback = re.search(r"(?:User feedback:|You got human feedback.*\n)\s*(.*)", ask.last())
    subject = tasks[-1] if tasks else next((line for line in ask.last().splitlines() if line.strip()), "nothing")
    if feedback and tasks:
        subject = f"{_shortened(subject)} (after the feedback: {feedback.group(1)})"
    return _shortened(subject)


def _shortened(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= _SUBJECT_LENGTH else f"{text[:_SUBJECT_LENGTH]}…"


_NO = re.compile(
    r"\bno\b|\bnot\b|n't\b|reject|wrong|\bbad|revis|redo|chang|\bfix|den[yi]|declin|cancel|stop|fail|improv|rework"
)
_YES = re.compile(r"\by(?:es|ep)\b|\bok|approv|accept|good|great|fine|lgtm|perfect|correct|agree|publish|ship|pass")


def chosen(options: list[str], prompt: str) -> str:
    """Pick the option that the feedback in a prompt names, or agrees with, else the first.

    The prompt is the one by which crewai has `@human_feedback(emit=…)` collapsed (`human_feedback_collapse`).
    """
    said = re.search(r"Feedback: (.*?)(?:\n\s*Possible outcomes:|\Z)", prompt, re.DOTALL)
    feedback = _spaced(said[1]) if said else ""
    negative = bool(_NO.search(feedback))
    agreeing = [one for one in options if (_NO if negative else _YES).search(_spaced(one))]
    named = [one for one in options if re.search(rf"\b{re.escape(_spaced(one))}\b", feedback)]
    if negative and agreeing:
        # "not approved" names `approved` and means the other one.
        named = [one for one in named if not _YES.search(_spaced(one)) or _NO.search(_spaced(one))]
    if not (negative or _YES.search(feedback)):
        agreeing = []
    return (sorted(named, key=len, reverse=True) or agreeing or options)[0]


def _spaced(text: str) -> str:
    return re.sub(r"[_-]", " ", text.strip().lower())


# ---- structured answers -----------------------------------------------------------------------------------------

_OF_FORMAT = {
    "date": "2000-01-01",
    "date-time": "2000-01-01T00:00:00Z",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "stub@example.com",
    "uri": "https://example.com/stub",
    "url": "https://example.com/stub",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
}
# Where `true` is the unhappy answer: crewai's StepObservation.needs_full_replan, and authors' likewise.
_UNHAPPY = re.compile(r"fail|error|invalid|replan|already|abort|reject|block|retry|revis", re.IGNORECASE)


@dataclass
class _Filling:
    """A value that is valid by a JSON schema; what may be null or a default is that, so that recursion ends."""

    root: Json
    mark: str
    subject: str
    prompt: str
    depth: int = 0

    def filled(self) -> Any:
        return self._value(self.root, "answer")

    def _value(self, schema: Any, name: str) -> Any:
        schema = self._flat(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._one_of(schema)
        if schema.get("default") not in (None, ""):
            return schema["default"]
        self.depth += 1
        made = self._made(_kind(schema), schema, name)
        self.depth -= 1
        return made

    def _made(self, kind: str, schema: Json, name: str) -> Any:
        if kind == "object":
            return self._object(schema)
        if kind == "array":
            return self._array(schema, name)
        if kind in {"integer", "number"}:
            return _number(schema, kind)
        if kind == "boolean":
            return not _UNHAPPY.search(name)
        if kind == "string":
            return self._string(schema, name)
        if kind == "null":
            return None
        raise BadRequest(f"no such type: {kind}")

    def _flat(self, given: Any) -> Json:
        """Resolve `$ref`, `allOf` and alternatives, of which null wins."""
        schema: Json = given if isinstance(given, dict) else {}
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                schema = self._referred(schema["$ref"]) | _without(schema, "$ref")
            elif "allOf" in schema:
                schema = _merged([_without(schema, "allOf"), *map(self._flat, schema["allOf"])])
            elif choices := schema.get("anyOf") or schema.get("oneOf"):
                null: Json = next((one for one in choices if one.get("type") == "null"), choices[0])
                schema = _without(schema, "anyOf", "oneOf") | null
        return schema

    def _referred(self, reference: str) -> Json:
        found: Any = self.root
        for step in reference.removeprefix("#").split("/")[1:]:
            found = found.get(step.replace("~1", "/").replace("~0", "~"), {})
        return dict(found)

    def _one_of(self, schema: Json) -> Any:
        options: list[Any] = schema["enum"]
        if "default" in schema and schema["default"] in options:
            return schema["default"]
        return chosen(options, self.prompt) if all(isinstance(one, str) for one in options) else options[0]

    def _object(self, schema: Json) -> Json:
        named: Json = schema.get("properties") or {}
        wanted = [key for key in named if self.depth < _DEEPEST or key in schema.get("required", [])]
        made = {key: self._value(named[key], key) for key in wanted}
        for number in range(len(made), schema.get("minProperties", 0)):
            made[f"key{number}"] = self._value(schema.get("additionalProperties"), f"key{number}")
        return made

    def _array(self, schema: Json, name: str) -> list[Any]:
        first = [self._value(one, name) for one in schema.get("prefixItems") or []]
        usual = 0 if first or self.depth >= _DEEPEST else 1
        count = min(max(schema.get("minItems", 0), usual), schema.get("maxItems", sys.maxsize))
        items = self._flat(schema.get("items"))
        return first + [self._item(items, name, number) for number in range(len(first), count)]

    def _item(self, schema: Json, name: str, number: int) -> Any:
        """Make one item of several, told apart by its number as far as its schema has room for that."""
        if number and "enum" in schema:
            return schema["enum"][number % len(schema["enum"])]
        made = self._value(schema, f"{name} {number + 1}" if number else name)
        numeric = _kind(schema) in {"integer", "number"}
        return made + number * schema.get("multipleOf", 1) if numeric else made

    def _string(self, schema: Json, name: str) -> str:
        if schema.get("format") in _OF_FORMAT:
            return _OF_FORMAT[schema["format"]]
        if "pattern" in schema:
            return _matching(schema["pattern"])
        text = f"{self.mark} {name}: {self.subject}"
        return text[: schema.get("maxLength")].ljust(schema.get("minLength", 0), ".")


def _kind(schema: Json) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        return "null" if "null" in kind else str(kind[0])
    return str(kind or ("object" if "properties" in schema else "array" if "items" in schema else "string"))


def _without(schema: Json, *keys: str) -> Json:
    return {name: value for name, value in schema.items() if name not in keys}


def _merged(schemas: list[Json]) -> Json:
    made: Json = {}
    for schema in schemas:
        properties = made.get("properties", {}) | schema.get("properties", {})
        required = made.get("required", []) + schema.get("required", [])
        made = made | schema | ({"properties": properties, "required": required} if properties else {})
    return made


def _number(schema: Json, kind: str) -> float:
    step = schema.get("multipleOf", 1)
    bounds = [schema[key] for key in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum") if key in schema]
    near = [math.floor(bound / step) * step + offset for bound in bounds for offset in (0, step, -step)]
    between = [sum(bounds) / len(bounds)] if bounds else []
    fitting = (value for value in [1, 0, *bounds, *near, *between] if _fits(value, schema, step, kind))
    value = next(fitting, 1)
    return int(value) if kind == "integer" else value


def _fits(value: float, schema: Json, step: float, kind: str) -> bool:
    return (
        schema.get("minimum", value) <= value <= schema.get("maximum", value)
        and schema.get("exclusiveMinimum", value - 1) < value < schema.get("exclusiveMaximum", value + 1)
        and (kind == "number" or value == int(value))
        and ("multipleOf" not in schema or math.isclose(value / step, round(value / step)))
    )


# ---- text by a pattern ------------------------------------------------------------------------------------------

_IN_CATEGORY: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda letter: letter.isalnum() or letter == "_",
}


def _matching(pattern: str) -> str:
    """Make a text that a regular expression matches: its shortest, with one of what may be left out or repeated."""
    # The parser moved in Python 3.11; it is the only reader of patterns that the standard library has.
    parser = importlib.import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
    with suppress(re.error):
        made = _spelled(parser.parse(pattern))
        if re.search(pattern, made):
            return made
    return "stub"


def _spelled(parsed: Any) -> str:
    return "".join(_spelled_one(str(operation), value) for operation, value in parsed)


def _spelled_one(operation: str, value: Any) -> str:
    if operation.endswith("REPEAT"):
        least, most, repeated = value
        times: int = max(least, min(1, int(most)))
        return _spelled(repeated) * times
    if operation in {"SUBPATTERN", "ATOMIC_GROUP"}:
        return _spelled(value[-1] if operation == "SUBPATTERN" else value)
    if operation == "BRANCH":
        return _spelled(value[1][0])
    if operation in {"LITERAL", "NOT_LITERAL", "IN", "ANY"}:
        return next((letter for letter in _letters() if _is_among(letter, operation, value)), "")
    return ""


def _letters() -> Iterator[str]:
    yield from string.printable
    yield from map(chr, range(128, sys.maxunicode))


def _is_among(letter: str, operation: str, value: Any) -> bool:
    if operation in {"LITERAL", "NOT_LITERAL"}:
        return (letter == chr(value)) == (operation == "LITERAL")
    if operation == "RANGE":
        return bool(value[0] <= ord(letter) <= value[1])
    if operation == "CATEGORY":
        name = str(value)
        return _IN_CATEGORY[name.replace("_NOT_", "_")](letter) != ("_NOT_" in name)
    if operation == "IN":
        negated = str(value[0][0]) == "NEGATE"
        return negated != any(_is_among(letter, str(inner), one) for inner, one in value[negated:])
    return True


# ---- embeddings -------------------------------------------------------------------------------------------------


def embedding(text: str, dimensions: int) -> list[float]:
    """Return a vector of length one: texts with words in common lie near each other, as a memory's search wants it."""
    vector = [0.0] * dimensions
    for word in re.findall(r"\w+", text.lower()):
        drawn = zlib.crc32(word.encode())
        vector[drawn % dimensions] += 1 if drawn >> 31 else -1
    length = math.sqrt(sum(value * value for value in vector))
    return [value / length for value in vector] if length else [1.0] + [0.0] * (dimensions - 1)


def embeddings_body(body: Json) -> Json:
    """Answer `POST /embeddings`, as floats or as OpenAI's clients ask for it, base64 of little-endian floats."""
    given = body.get("input")
    if not isinstance(given, (str, list)):
        raise BadRequest("'input' is required")
    one = isinstance(given, str) or all(isinstance(token, int) for token in given)  # a text, or a text in tokens
    texts = [str(text) for text in ([given] if one else given)]
    model = str(body.get("model") or "model")
    dimensions = body.get("dimensions") or _DIMENSIONS.get(model.partition(":")[0], _USUAL_DIMENSIONS)
    vectors: list[Any] = [embedding(text, dimensions) for text in texts]
    if body.get("encoding_format") == "base64":
        vectors = [base64.b64encode(array("f", vector).tobytes()).decode() for vector in vectors]
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    words = sum(len(text.split()) for text in texts)
    return {"object": "list", "data": data, "model": model, "usage": {"prompt_tokens": words, "total_tokens": words}}


# ---- POST /chat/completions -------------------------------------------------------------------------------------


def chat_body(ask: Ask, reply: Reply, name: str) -> Json:
    """Answer in the shape of a chat completion."""
    message: Json = {"role": "assistant", "content": None if reply.tool else reply.text, "refusal": None}
    if reply.tool:
        message["tool_calls"] = [_call(reply, name)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
    return _chat(ask, name, "chat.completion", [choice]) | {"usage": _chat_usage(ask, reply)}


def chat_chunks(ask: Ask, reply: Reply, name: str, *, usage: bool) -> Iterator[Json]:
    """Answer in the shape of a streamed chat completion, word by word."""
    deltas: list[Json] = [{"role": "assistant", "content": None if reply.tool else ""}]
    if reply.tool:
        deltas.append({"tool_calls": [{"index": 0, **_call(Reply("", reply.tool), name)}]})
        deltas += [{"tool_calls": [{"index": 0, "function": {"arguments": part}}]} for part in _parts(reply.text)]
    else:
        deltas += [{"content": part} for part in _parts(reply.text)]
    for delta in deltas:
        yield _chunk(ask, name, delta, None)
    yield _chunk(ask, name, {}, _finish(reply))
    if usage:
        yield _chat(ask, name, "chat.completion.chunk", []) | {"usage": _chat_usage(ask, reply)}


def _chunk(ask: Ask, name: str, delta: Json, finish: str | None) -> Json:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _chat(ask, name, "chat.completion.chunk", [choice])


def _chat(ask: Ask, name: str, kind: str, choices: list[Json]) -> Json:
    return {"id": f"chatcmpl-{name}", "object": kind, "created": 0, "model": ask.model, "choices": choices}


def _call(reply: Reply, name: str) -> Json:
    return {"id": f"call_{name}", "type": "function", "function": {"name": reply.tool, "arguments": reply.text}}


def _finish(reply: Reply) -> str:
    return "tool_calls" if reply.tool else "stop"


def _parts(text: str) -> list[str]:
    return re.findall(r"\S+\s*|\s+", text)


def _chat_usage(ask: Ask, reply: Reply) -> Json:
    asked, answered = ask.words(), reply.words()
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


# ---- POST /responses --------------------------------------------------------------------------------------------


def responses_body(ask: Ask, reply: Reply, name: str) -> Json:
    """Answer in the shape of a response."""
    asked, answered = ask.words(), reply.words()
    return {
        "id": f"resp_{name}",
        "object": "response",
        "created_at": 0,
        "status": "completed",
        "model": ask.model,
        "output": [_output(reply, name)],
        "parallel_tool_calls": False,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": answered,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + answered,
        },
    }


def responses_events(ask: Ask, reply: Reply, name: str) -> Iterator[Json]:
    """Answer in the shape of a streamed response, word by word."""
    whole, item = responses_body(ask, reply, name), _output(reply, name)
    begun = whole | {"status": "in_progress", "output": [], "usage": None}
    place = {"item_id": item["id"], "output_index": 0}
    kind = "function_call_arguments" if reply.tool else "output_text"
    place |= {} if reply.tool else {"content_index": 0, "logprobs": []}
    events: list[Json] = [{"type": "response.created", "response": begun}]
    events.append({"type": "response.output_item.added", "output_index": 0, "item": item | _EMPTY[item["type"]]})
    events += [{"type": f"response.{kind}.delta", **place, "delta": part} for part in _parts(reply.text)]
    done = {"arguments": reply.text, "name": reply.tool} if reply.tool else {"text": reply.text}
    events.append({"type": f"response.{kind}.done", **place, **done})
    events.append({"type": "response.output_item.done", "output_index": 0, "item": item})
    events.append({"type": "response.completed", "response": whole})
    yield from ({**event, "sequence_number": number} for number, event in enumerate(events))


_EMPTY: dict[str, Json] = {
    "message": {"status": "in_progress", "content": []},
    "function_call": {"status": "in_progress", "arguments": ""},
}


def _output(reply: Reply, name: str) -> Json:
    if reply.tool:
        called = {"call_id": f"call_{name}", "name": reply.tool, "arguments": reply.text}
        return {"id": f"fc_{name}", "type": "function_call", "status": "completed", **called}
    content = [{"type": "output_text", "text": reply.text, "annotations": [], "logprobs": []}]
    return {"id": f"msg_{name}", "type": "message", "role": "assistant", "status": "completed", "content": content}


# ---- the endpoint -----------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a client on keep-alive waits 40 ms for its answer
    wbufsize = -1  # head and body leave in one piece

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._say({"error": _error(f"no such path: {self.path}")}, HTTPStatus.NOT_FOUND)
        model = {"id": "stub", "object": "model", "created": 0, "owned_by": "stub"}
        return self._say({"object": "list", "data": [model]})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._answer(sent)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            # Whatever a request holds that is not of the API's types ends in one of these; nothing has been sent yet.
            self._say({"error": _error(f"{type(error).__name__}: {error}")}, HTTPStatus.BAD_REQUEST)

    def _answer(self, sent: bytes) -> None:
        body = json.loads(sent)
        name = hashlib.sha256(sent).hexdigest()[:24]
        if self.path == "/v1/embeddings":
            self._say(embeddings_body(body))
        elif self.path == "/v1/chat/completions":
            self._chat(Ask.of_chat(body), name, body)
        elif self.path == "/v1/responses":
            self._responses(Ask.of_responses(body), name, body)
        else:
            self._say({"error": _error(f"no such path: {self.path}")}, HTTPStatus.NOT_FOUND)

    def _chat(self, ask: Ask, name: str, body: Json) -> None:
        reply = answer(ask)
        if not body.get("stream"):
            return self._say(chat_body(ask, reply, name))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = [f"data: {json.dumps(one)}\n\n" for one in chat_chunks(ask, reply, name, usage=usage)]
        return self._stream([*chunks, "data: [DONE]\n\n"])

    def _responses(self, ask: Ask, name: str, body: Json) -> None:
        reply = answer(ask)
        if not body.get("stream"):
            return self._say(responses_body(ask, reply, name))
        events = responses_events(ask, reply, name)
        return self._stream([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events])

    def _say(self, body: Json, status: HTTPStatus = HTTPStatus.OK) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def _stream(self, events: list[str]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in [*events, ""]:
            said = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(said), said))
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the log is the crew's."""


def _error(message: str) -> Json:
    return {"message": message, "type": "invalid_request_error", "param": None, "code": None}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def server_bind(self) -> None:
        # Not http.server's, which asks a name server who 127.0.0.1 is.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a client hang up without a word about it; anything else is told."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def serve(port: int = 0) -> ThreadingHTTPServer:
    """Bind the endpoint on 127.0.0.1; `serve_forever()` of what is returned answers.

    :param port: 0 is any free one.
    :raises OSError: the port is taken.
    """
    return _Server(("127.0.0.1", port), _Handler)


def start() -> tuple[str, int]:
    """Serve from a process of its own, which ends with the last process that holds the returned descriptor.

    The calling process gets no thread and no child, so it may fork and wait as it likes. Forks of it hold the
    descriptor too, also those that start Python anew.

    :returns: the endpoint's base URL, which ends in `/v1`, and the descriptor to keep open.
    :raises OSError: no socket, pipe or process is to be had.
    """
    server = serve()
    read, write = os.pipe()
    between = os.fork()
    if not between:
        # The process between leaves at once: nobody has to wait for the one that serves.
        try:
            if not os.fork():
                _serve_until_alone(server, read)
        finally:
            os._exit(0)
    os.waitpid(between, 0)
    os.close(read)
    server.server_close()
    os.set_inheritable(write, True)
    return f"http://127.0.0.1:{server.server_port}/v1", write


def _serve_until_alone(server: ThreadingHTTPServer, read: int) -> None:
    os.setsid()  # signals for the group of the one that started us are not meant for us
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    _close_all_but(server.fileno(), read)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.read(read, 1)


def _close_all_but(*kept: int) -> None:
    """Close what was inherited, locks and the pipe's other end above all; output stays."""
    begin = 3
    for descriptor in [*sorted(kept), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(begin, descriptor)
        begin = descriptor + 1
