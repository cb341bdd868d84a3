"""JSON that clients send, read within bounds: crewai, sqlite and Airflow must be able to hold the value later."""

from __future__ import annotations

import json
from typing import NoReturn

from airflow_provider_crewai.server.crew_process.storable import MAX_DEPTH
from airflow_provider_crewai.wire.model import JSON, JSONObject

_TOO_DEEP = f"The JSON is nested more than {MAX_DEPTH} levels deep"
_INFINITE = (float("inf"), float("-inf"))


class NotJSON(ValueError):
    """A text is not JSON."""


class BeyondBounds(ValueError):
    """A text is JSON that this server cannot use; the message says why."""


def read(text: str | bytes | bytearray) -> JSON:
    """Read JSON.

    :raises NotJSON: the text is not JSON.
    :raises BeyondBounds: it is nested too deeply, or holds a number that Python cannot hold.
    """
    try:
        value = _loaded(text)
    except RecursionError:
        raise BeyondBounds(_TOO_DEEP) from None
    if is_deeper(value, MAX_DEPTH):
        raise BeyondBounds(_TOO_DEEP)
    return value


def read_object(text: bytes) -> JSONObject:
    """Read a JSON object.

    :raises NotJSON: the text is not a JSON object.
    :raises BeyondBounds: see `read`.
    """
    value = read(text)
    if not isinstance(value, dict):
        raise NotJSON("not an object")
    return value


def is_deeper(value: JSON, levels: int) -> bool:
    """Return whether a value nests lists and objects more levels deep than this."""
    level = [value]
    for _ in range(levels):
        level = [inner for each in level for inner in _inner(each)]
    return any(isinstance(each, dict | list) for each in level)


def _loaded(text: str | bytes | bytearray) -> JSON:
    try:
        value: JSON = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJSON(str(error)) from None
    except (NotJSON, BeyondBounds):
        raise
    except ValueError:  # from int()
        raise BeyondBounds("A number has too many digits") from None
    return value


def _inner(value: JSON) -> list[JSON]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []


def _refuse(constant: str) -> NoReturn:
    raise NotJSON(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in _INFINITE:
        raise BeyondBounds(f"The number {text[:20]} is too large")
    return number
