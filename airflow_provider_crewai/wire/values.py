"""Turns a Python value into JSON, or says where and why it cannot.

A Dag's values seldom come from its author alone: Airflow's rendering adds lazy sequences; other tasks add numpy
numbers, dates and sets. A value with one clear meaning in JSON becomes JSON. Any other is refused, and the error says
how to fix it.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import UserString
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from uuid import UUID

from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.model import JSON

MAX_DEPTH = 64
"""How deep lists and objects may be nested. MySQL takes 100 levels of JSON, and Airflow adds some."""

_LONGEST_PATH = 200
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")

_BINARY = (bytes, bytearray, memoryview)
_CURES: tuple[tuple[type | tuple[type, ...], str], ...] = (
    ((date, time), "call `.isoformat()` on it"),
    (timedelta, "call `.total_seconds()` on it"),
    ((set, frozenset), "a set has no order: pass `sorted(…)` of it"),
    (Decimal, "pass `str(…)` or `float(…)` of it"),
    ((UUID, PurePath), "pass `str(…)` of it"),
    (_BINARY, "call `.decode()` on it, or encode it as base64"),
    (Iterator, "pass `list(…)` of it"),
)
_NEVER_JSON = (date, time, timedelta, set, frozenset, Decimal, UUID, PurePath, *_BINARY)
_CURES_BY_METHOD = {
    "model_dump": '`.model_dump(mode="json")`',  # pydantic
    "tolist": "`.tolist()`",  # numpy and pandas
    "iloc": '`.to_dict(orient="records")`',  # a pandas table
    "to_dicts": "`.to_dicts()`",  # a polars table
}


def as_json(value: object, name: str) -> JSON:
    """Return the value as JSON: sequences become lists, mappings objects, enums their values, numpy numbers plain ones.

    :param name: the value's name in an error, which adds the path to the part that is wrong.
    :raises CrewConfigError: a part of it has no clear meaning in JSON, or cannot be stored or sent.
    """
    return _json(value, name, 0)


def check_written(value: object, name: str) -> None:
    """Refuse what rendering cannot repair: texts, numbers, keys and nesting that no database can store, dates and sets.

    Looks only into plain containers, so a reference that Airflow resolves later is left alone.

    :raises CrewConfigError: there is such a part; the message names its path.
    """
    _check(value, name, 0)


def cannot_be_stored(text: str) -> bool:
    """Return whether a text holds what no database and no log accepts: NUL, or half a character."""
    return _UNSTORABLE.search(text) is not None


def storable(value: JSON) -> JSON:
    """Replace NUL and lone surrogates by U+FFFD: no log, JSON column or XCom can hold them."""
    if isinstance(value, str):
        return _UNSTORABLE.sub("\ufffd", str(value))
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {str(storable(key)): storable(item) for key, item in value.items()}
    return value


def _json(value: object, path: str, depth: int) -> JSON:
    if isinstance(value, Enum):
        value = value.value
    elif getattr(value, "shape", None) == () and hasattr(value, "item"):
        value = value.item()  # a numpy number
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str | UserString | int | float):
        return _scalar(value, path)
    _check_depth(path, depth)
    if isinstance(value, Mapping):
        return {_key(key, path): _json(item, _below(path, key), depth + 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, _BINARY):
        return [_json(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    raise _refused(path, f"is a {type(value).__name__} that JSON cannot hold: {_cure(value)}")


def _check(value: object, path: str, depth: int) -> None:
    if isinstance(value, str | float | int):
        _scalar(value, path)
    elif isinstance(value, dict):
        _check_depth(path, depth)
        for key, item in value.items():
            _check(item, _below(path, _key(key, path)), depth + 1)
    elif isinstance(value, _NEVER_JSON):
        raise _refused(path, f"is a {type(value).__name__} that JSON cannot hold: {_cure(value)}")
    elif isinstance(value, list | tuple):
        _check_depth(path, depth)
        for index, item in enumerate(value):
            _check(item, f"{path}[{index}]", depth + 1)


def _scalar(value: str | UserString | float, path: str) -> JSON:
    if isinstance(value, float):
        return _finite(value, path)
    if isinstance(value, int):
        return _whole(value, path)
    return _text(str(value) if isinstance(value, UserString) else str.__str__(value), path)


def _text(text: str, path: str) -> str:
    if found := _UNSTORABLE.search(text):
        raise _refused(path, f"holds {_named(found[0])} at character {found.start() + 1}")
    return text


def _named(character: str) -> str:
    if character == "\0":
        return "a NUL character (no database accepts it; remove it with `.replace(chr(0), '')`)"
    return f"half a character (the lone surrogate U+{ord(character):04X}; decode its bytes with errors='replace')"


def _finite(value: float, path: str) -> float:
    if not math.isfinite(value):
        raise _refused(path, f"is {value}, which JSON cannot hold as a number: pass None or a text")
    return float(value)


def _whole(value: int, path: str) -> int:
    try:
        str(value)
    except ValueError:  # Python writes no more than 4,300 digits
        raise _refused(path, "is a number of several thousand digits: pass it as a text") from None
    return value if isinstance(value, bool) else int(value)


def _key(key: object, path: str) -> str:
    if not isinstance(key, str):
        raise _refused(path, f"has a {type(key).__name__} as a key, but JSON needs texts: pass `str(…)` of it")
    return _text(str.__str__(key), f"a key of {path}")


def _check_depth(path: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        start = path.partition("[")[0]
        raise _refused(start, f"nests lists or objects more than {MAX_DEPTH} levels deep (or holds itself)")


def _cure(value: object) -> str:
    for kind, cure in _CURES:
        if isinstance(value, kind):
            return cure
    if dataclasses.is_dataclass(value):
        return "pass `dataclasses.asdict(…)` of it"
    for method, call in _CURES_BY_METHOD.items():
        if hasattr(value, method):
            return f"call {call} on it"
    return "pass a text, a number, a list or an object"


def _below(path: str, key: str) -> str:
    return f"{path}[{key!r}]" if len(path) < _LONGEST_PATH else path


def _refused(path: str, why: str) -> CrewConfigError:
    shown = path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}…"
    return CrewConfigError(f"{shown} {why}. Nothing was sent.")
