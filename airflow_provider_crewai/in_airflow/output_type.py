"""Reads a crew's answer as the type that the task's author expects. Imported in the worker only: it loads pydantic."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, get_origin

from pydantic import TypeAdapter, ValidationError

from airflow_provider_crewai.in_airflow.answer_files import json_text
from airflow_provider_crewai.wire.errors import CrewAnswerMismatch, CrewConfigError
from airflow_provider_crewai.wire.model import JSON
from airflow_provider_crewai.wire.words import line

SHOWN = 5
"""How many fields an error names."""

_FENCES = (re.compile(r"^[ \t]*```.*$", re.MULTILINE), re.compile(r"```(?:[A-Za-z]\w*\s)?"))
"""What parts the blocks of code in Markdown, as models like to write their JSON: first as lines of their own, since the
JSON may quote Markdown itself, then anywhere."""


def adapter_of(output_type: Any) -> TypeAdapter[Any]:
    """Return what reads the type.

    :raises CrewConfigError: pydantic does not take it for a type, or it names something that is not defined.
    """
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(output_type)
        adapter.rebuild(raise_errors=True)
    except Exception as error:  # whatever a schema of the author's own raises
        why = f"{type(error).__name__}: {line(str(error))}"
        raise CrewConfigError(f"output_type is {name_of(output_type)}, which pydantic cannot read ({why}).") from error
    return adapter


def name_of(output_type: Any) -> str:
    """Return what a person calls the type."""
    return line(
        output_type.__name__ if isinstance(output_type, type) and not get_origin(output_type) else repr(output_type)
    )


def typed(output_type: Any, answer: JSON, kickoff_id: str) -> JSON:
    """Return the answer as JSON that the type loads again.

    That is what the type writes; where the type cannot load what it writes, it is the crew's own JSON.

    :raises CrewAnswerMismatch: the answer does not fit; the message names the fields.
    """
    try:
        adapter = adapter_of(output_type)
    except CrewConfigError as error:  # the Dag's file was changed while the run went on
        raise CrewAnswerMismatch(str(error), kickoff_id=kickoff_id) from error
    try:
        reading, value = _read(adapter, answer)
    except ValueError as error:
        why = f"its answer does not fit output_type {name_of(output_type)}: {error}."
        raise CrewAnswerMismatch(why, kickoff_id=kickoff_id) from error
    return _written(adapter, value, reading)


def loaded(output_type: Any, answer: JSON) -> Any:
    """Return the answer as an object of the type.

    :raises ValueError: it does not fit; the message names the fields.
    """
    return _read(adapter_of(output_type), answer)[1]


def _read(adapter: TypeAdapter[Any], answer: JSON) -> tuple[JSON, Any]:
    """Return the first reading of the answer that fits, and what the type makes of it."""
    first: Exception | None = None
    for reading in _readings(answer):
        try:
            return reading, adapter.validate_json(json_text(reading))
        except Exception as error:  # noqa: BLE001 - a validator of the author's own may raise any; the run is paid for
            first = first or error
    holds_none = isinstance(answer, str) and next(_readings(answer)) is answer
    raise ValueError(f"it is a text without JSON ({_why(first)})" if holds_none else _why(first))


def _readings(answer: JSON) -> Iterator[JSON]:
    """Yield what the answer may mean: the JSON in a text, whole or in a block of code, and the text itself."""
    if isinstance(answer, str):
        with suppress(ValueError, RecursionError):
            yield json.loads(answer)
        yield from _in_blocks(answer)
    yield answer


def _in_blocks(text: str) -> Iterator[JSON]:
    for fence in _FENCES:
        # Each block by itself: an error of the decoder counts the lines before it, and there may be many blocks.
        for block in fence.split(text)[1:]:
            with suppress(ValueError, RecursionError):
                yield json.loads(block)


def _why(error: Exception | None) -> str:
    if not isinstance(error, ValidationError):
        return f"{type(error).__name__}: {line(str(error))}"
    wrong = error.errors(include_url=False, include_context=False, include_input=False)
    named = [f"{'.'.join(map(str, each['loc'])) or 'the answer'}: {each['msg']}" for each in wrong[:SHOWN]]
    more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return "; ".join(map(line, named)) + more


def _written(adapter: TypeAdapter[Any], value: Any, reading: JSON) -> JSON:
    for by_alias in (True, False):
        with suppress(Exception):  # the type may be unable to write itself, or to be compared
            written: JSON = adapter.dump_python(value, mode="json", by_alias=by_alias, round_trip=True)
            if adapter.validate_python(written) == value:
                return written
    return reading
