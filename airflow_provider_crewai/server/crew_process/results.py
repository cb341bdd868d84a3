"""What a run's result is as text and as JSON. An author's hook, or a flow's last method, may return anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from .storable import as_json, json_text


def text_and_json(result: Any) -> tuple[Any, Any]:
    """Return a result as text, and as JSON if it is structured: a crew's output, a model, a dataclass or a dict.

    Never raises: the run is paid for, whatever its author's objects do when they are read.
    """
    if result is None or isinstance(result, str):
        return result, None
    if hasattr(result, "raw") and callable(getattr(result, "to_dict", None)):  # a crew's output
        return _text(result.raw), _fields(result.to_dict)
    structured = _structured(result)
    if structured is not None:
        return json_text(structured), structured if isinstance(structured, dict) else None
    return _text(result), None


def _structured(result: Any) -> Any:
    if hasattr(result, "model_dump") and not isinstance(result, type):
        return _fields(lambda: result.model_dump(mode="json"))
    if dataclasses.is_dataclass(result) and not isinstance(result, type):
        return _fields(lambda: dataclasses.asdict(result))
    if isinstance(result, Mapping):
        return _fields(lambda: dict(result))
    if isinstance(result, list | tuple | set | frozenset):
        return as_json(list(result), readable)
    return None


def _fields(read: Any) -> Any:
    with suppress(Exception):  # an author's own method may raise anything
        fields = as_json(read(), readable)
        return fields if isinstance(fields, dict) and fields else None
    return None


def readable(value: Any) -> Any:
    """Return an object that JSON cannot hold as one that it can. Never raises."""
    structured = _structured(value)
    return _text(value) if structured is None else structured


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001 - the same
        return f"<{type(value).__name__}: {type(error).__name__}>"
