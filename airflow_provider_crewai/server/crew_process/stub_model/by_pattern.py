"""Texts that match a regular expression."""

from __future__ import annotations

import importlib
import re
import string
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

_IN_CATEGORY: dict[str, Callable[[str], bool]] = {
    "CATEGORY_DIGIT": str.isdigit,
    "CATEGORY_SPACE": str.isspace,
    "CATEGORY_WORD": lambda letter: letter.isalnum() or letter == "_",
}


def matching(pattern: str) -> str:
    """Make a short text that matches a regular expression. Optional and repeated parts stand in it once."""
    # The standard library's only parser of patterns. It moved in Python 3.11.
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
