"""The beginnings of values, for people. However large a value is, no more of it is formatted than is shown."""

from __future__ import annotations

import json
from itertools import islice

from airflow_provider_crewai.wire.model import JSON
from airflow_provider_crewai.wire.words import line

_LISTED = 4


def beginning(value: JSON, length: int, indent: int | None = 2) -> str:
    """Return the beginning of a text, or of any other value as indented JSON; an empty text for None.

    :param length: characters. One more shows that the value goes on.
    """
    if isinstance(value, str):
        return value[: length + 1]
    if value is None:
        return ""
    written, size = [], 0
    try:
        for piece in json.JSONEncoder(indent=indent, ensure_ascii=False).iterencode(value):
            written.append(piece)
            size += len(piece)
            if size > length:
                break
    except RecursionError:  # an earlier version of the server kept values of any depth
        written.append("…")
    return "".join(written)[: length + 1]


def whole(value: JSON) -> str:
    """Return all of a value: as indented JSON, or as compact JSON where indentation would be most of it."""
    if isinstance(value, str | None):
        return value or ""
    compact = json.dumps(value, ensure_ascii=False)
    most = 4 * len(compact)
    pretty = beginning(value, most)
    return pretty if len(pretty) <= most else compact


def one_line(value: JSON, length: int) -> str:
    """Return the beginning of a value in one line."""
    return line(beginning(value, 8 * length, indent=None), length)


def title(inputs: JSON) -> str:
    """Return a run's inputs in one line, so that a person can tell it from the others."""
    named = inputs.items() if isinstance(inputs, dict) else ()
    return " · ".join(f"{one_line(name, 30)}: {one_line(value, 60)}" for name, value in islice(named, _LISTED))
