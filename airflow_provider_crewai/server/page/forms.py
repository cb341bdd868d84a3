"""The forms of the page: the fields that it shows, and what a person sent."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request

from airflow_provider_crewai.server import json_bodies
from airflow_provider_crewai.server.page.sessions import door_of
from airflow_provider_crewai.server.project import Description
from airflow_provider_crewai.wire.beginnings import whole
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.secret_names import is_secret, without_secrets

MAX_FORM = 10 * 1024 * 1024
MAX_LOGIN = 16 * 1024
"""The most bytes of the login's form, which anybody may send."""

_FIELD = "input."
_MOST_OPTIONS = 200
_NOTHING_KNOWN: JSONObject = {"type": None, "description": None, "minimum": None, "maximum": None}


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A request that the gate has let through.

    :param session: the browser's session; empty before the login.
    :param form: the fields that it sent.
    """

    request: Request
    session: str
    form: dict[str, list[str]] = field(repr=False)

    @property
    def door(self) -> str:
        """The path that begins all links of the answer."""
        return door_of(self.request)

    def said(self, name: str) -> str:
        """Return a field of the form, with plain line feeds: HTML forms send a carriage return before each."""
        return self.form.get(name, [""])[0].replace("\r\n", "\n")


@dataclass(frozen=True, slots=True)
class Field:
    """An input to fill in.

    :param kind: `secret`, `choice`, `number`, `json` (a list or an object), `text`; `any` if nothing says its type.
    :param is_json: whether what is filled in is read as JSON.
    :param options: what a choice can be, as it is sent.
    :param schema: what else is known: `description`, `minimum`, `maximum`, and `type`.
    """

    name: str
    text: str
    kind: str
    is_json: bool
    is_required: bool
    options: tuple[str, ...] = ()
    schema: JSONObject = field(default_factory=dict)


class KickoffForm:
    """A kickoff's inputs to fill in: as a person has just sent them, else as in an earlier run, else the defaults.

    :param earlier: the inputs of an earlier run. Its secrets are left out.
    """

    def __init__(self, project: Description | None, asked: PageRequest, earlier: JSONObject) -> None:
        known, kept = project or Description("", "", []), without_secrets(earlier)
        self.lacks_secrets = kept != earlier
        self.fields = [_field(known, name, asked, kept) for name in known.inputs]
        self.whole = asked.said("inputs") or whole(without_secrets(known.defaults) | kept)
        self.is_whole = "inputs" in asked.form or bool(kept.keys() - known.inputs) or not known.inputs


def _field(project: Description, name: str, asked: PageRequest, earlier: JSONObject) -> Field:
    schema = {**_NOTHING_KNOWN, **project.types.get(name, {})}
    kind, options = _kind(name, schema)
    value = earlier.get(name, project.defaults.get(name))
    text, is_json = whole(value), kind not in ("any", "text", "secret") or not isinstance(value, str | None)
    if _FIELD + name in asked.form:
        text, is_json = asked.said(_FIELD + name), name in asked.form.get("json", ())
    elif is_json and kind != "any" and isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
    return Field(name, text, kind, is_json, name in project.required, options, schema)


def _kind(name: str, schema: JSONObject) -> tuple[str, tuple[str, ...]]:
    options, said = schema.get("enum"), schema.get("type")
    if isinstance(options, list) and len(options) <= _MOST_OPTIONS:
        return "choice", tuple(json.dumps(option, ensure_ascii=False) for option in options)
    if said == "boolean":
        return "choice", ("true", "false")
    kinds = {"integer": "number", "number": "number", "array": "json", "object": "json", "string": "text"}
    return "secret" if is_secret(name) else kinds.get(str(said), "any"), ()


def inputs_of(asked: PageRequest) -> JSONObject:
    """Read the inputs of a kickoff. An empty field is left out, so that its default counts.

    :raises HTTPException: 422, an input that should be JSON is not.
    """
    if "inputs" in asked.form:
        inputs = _json("The inputs", asked.said("inputs"))
        if not isinstance(inputs, dict):
            raise HTTPException(422, "The inputs must be a JSON object, such as {}.")
        return inputs
    fields = {name.removeprefix(_FIELD): asked.said(name) for name in asked.form if name.startswith(_FIELD)}
    as_json = asked.form.get("json", ())
    return {name: _json(name, said) if name in as_json else said for name, said in fields.items() if said}


def _json(name: str, said: str) -> JSON:
    try:
        return json_bodies.read(said)
    except json_bodies.NotJSON as error:
        raise HTTPException(422, f"{name}: this is not JSON ({error}).") from None
    except json_bodies.BeyondBounds as error:
        raise HTTPException(422, f"{name}: {error}.") from None


def answer_of(asked: PageRequest) -> tuple[str, bool | None]:
    """Read an answer: feedback and verdict. An outcome begins the feedback, because crewai looks for it there."""
    parts = [asked.said("outcome"), asked.said("feedback").strip()]
    verdict = {"yes": True, "no": False}.get(asked.said("approved"))
    return "\n\n".join(filter(None, parts)), verdict


async def read_form(request: Request, limit: int) -> dict[str, list[str]]:
    """Read the fields of a form, with the standard library: starlette's own reader needs another package.

    :param limit: the most bytes.
    :raises HTTPException: 413, the form is too large; 400, it cannot be read.
    """
    body = await _read(request, limit)
    try:
        # On a worker thread: megabytes would keep all other requests waiting.
        return await run_in_threadpool(parse_qs, body.decode("ascii"), keep_blank_values=True, max_num_fields=1000)
    except ValueError:
        raise HTTPException(400, "The form cannot be read.") from None


async def _read(request: Request, limit: int) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(413, f"The form is larger than {limit} bytes.")
    return bytes(body)
