"""JSON that others send: read within bounds that all who are handed it later can keep."""

from __future__ import annotations

import json
from typing import NoReturn

from airflow_provider_crewai.server.crew_process.storable import MAX_DEPTH
from airflow_provider_crewai.wire.model import JSON, JSONObject

_TOO_DEEP = f"The JSON is nested more than {MAX_DEPTH} levels deep"


class NotJSON(ValueError):
    """A text is no JSON."""


class BeyondBounds(ValueError):
    """A text is JSON that nobody can use here; the message says why."""


def read(text: str | bytes | bytearray) -> JSON:
    """Read JSON.

    :raises NotJSON: it is none.
    :raises BeyondBounds: it is nested too deeply, or holds a number that is none to Python.
    """
    try:
        value: JSON = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise NotJSON(str(error)) from None
    except RecursionError:
        raise BeyondBounds(_TOO_DEEP) from None
    except (NotJSON, BeyondBounds):
        raise
    except ValueError:  # what int() says
        raise BeyondBounds("A number has too many digits") from None
    if is_deeper(value, MAX_DEPTH):
        raise BeyondBounds(_TOO_DEEP)
    return value


def read_object(text: bytes) -> JSONObject:
    """Read a JSON object.

    :raises NotJSON: it is none.
    :raises BeyondBounds: see `read`.
    """
    value = read(text)
    if not isinstance(value, dict):
        raise NotJSON("no object")
    return value


def is_deeper(value: JSON, levels: int) -> bool:
    """Tell whether a value has more levels of lists and objects than so many."""
    level = [value]
    for _ in range(levels):
        level = [inner for each in level for inner in _inner(each)]
    return any(isinstance(each, dict | list) for each in level)


def _inner(value: JSON) -> list[JSON]:
    if isinstance(value, dict):
        return [*value.values()]
    return value if isinstance(value, list) else []


def _refuse(constant: str) -> NoReturn:
    raise NotJSON(f"{constant} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise BeyondBounds(f"{text[:20]} is too large a number")
    return number
