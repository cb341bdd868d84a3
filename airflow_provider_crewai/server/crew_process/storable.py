"""What a database and a request can hold: any value as JSON, any text as UTF-8."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

MAX_DEPTH = 200
"""Levels of nested lists and objects that are kept. sqlite takes a thousand, crewai and Airflow some hundreds."""


def utf8(text: str) -> bytes:
    """Encode a text. A lone surrogate, which JSON and a crew's output can hold, becomes a question mark."""
    return text.encode("utf-8", "replace")


def storable(value: Any) -> Any:
    """Return a value for a column of sqlite: a text without lone surrogates, any other value as it is."""
    return utf8(value).decode() if isinstance(value, str) else value


def as_json(value: Any, convert: Callable[[Any], Any] = str) -> Any:
    """Return any value as plain JSON. NaN and Infinity become null, since they are Python's and not JSON's.

    :param convert: turns an object that JSON cannot hold into one that it can; by default into text.
    :returns: `<type: error>` for a value that cannot be written at all, such as a list that holds itself.
    """
    try:
        text = json.dumps(value, default=convert, skipkeys=True)
        return json.loads(text, parse_constant=lambda _: None)
    except Exception as error:  # noqa: BLE001 - a project's own objects may raise anything when they are read
        return _note(value, error)


def json_text(value: Any) -> str:
    """Write any value as JSON. What is nested more than `MAX_DEPTH` levels deep stands in it as text."""
    try:
        return json.dumps(_flat(as_json(value), MAX_DEPTH))
    except RecursionError as error:
        return json.dumps(_note(value, error))


def _note(value: Any, error: Exception) -> str:
    return f"<{type(value).__name__}: {type(error).__name__}>"


def _flat(value: Any, levels: int) -> Any:
    if not isinstance(value, (dict, list)):
        return value
    if not levels:
        return json.dumps(value)
    if isinstance(value, dict):
        return {name: _flat(inner, levels - 1) for name, inner in value.items()}
    return [_flat(inner, levels - 1) for inner in value]
