"""Read arguments that hold JSON: from the command line, a file or stdin."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path

from airflow_provider_crewai.client.rendered import as_object
from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSON, JSONObject, Kickoff


def json_object(text: str | None, name: str) -> JSONObject:
    """Read a JSON object: the text itself, @FILE, or - for stdin. None gives an empty object.

    :param name: the argument, for the error.
    :raises CrewConfigError: it cannot be read, or is not a JSON object.
    """
    return {} if text is None else as_object(_json(_contents(text, name), name), name)


def inputs_of(whole: str | None, single: Iterable[str]) -> JSONObject:
    """Return the inputs of a kickoff: all of `--inputs`, and each `--input` on top.

    :param single: `NAME=VALUE` with a text, or `NAME:=JSON` with a value of any type.
    :raises CrewConfigError: one cannot be read.
    """
    return as_object(json_object(whole, "--inputs") | dict(map(_input, single)), "--inputs")


def kickoff_hooks(
    *, human: str | None, task: str | None, step: str | None, crew: str | None, events: str | None
) -> Kickoff:
    """Return a kickoff that holds only webhooks.

    :param human: a URL, or @FILE with an object of `url` and `authentication`, which may hold a password.
    :param events: the streaming events as a JSON object, or @FILE.
    :raises CrewConfigError: one cannot be read.
    """
    return Kickoff(
        human_input_webhook=json_object(human, "--human-input-webhook") if human and human[0] in "@{" else human,
        task_webhook_url=task,
        step_webhook_url=step,
        crew_webhook_url=crew,
        webhooks=json_object(events, "--webhooks") or None,
    )


def _input(argument: str) -> tuple[str, JSON]:
    name, equals, value = argument.partition("=")
    typed = name.endswith(":")
    name = name.removesuffix(":")
    if not equals or not name:
        raise CrewConfigError(f"--input {argument!r} is neither NAME=VALUE nor NAME:=JSON. Nothing was sent.")
    return name, _json(value, f"--input {name}:") if typed else value


def _json(text: str, name: str) -> JSON:
    try:
        value: JSON = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CrewConfigError(f"{name} is not JSON ({error}). Nothing was sent.") from None
    return value


def _contents(text: str, name: str) -> str:
    try:
        if text == "-":
            return sys.stdin.read()
        return Path(text[1:]).read_text(encoding="utf-8") if text.startswith("@") else text
    except (OSError, ValueError) as error:
        raise CrewConfigError(f"{name} {text} cannot be read ({error}). Nothing was sent.") from None
