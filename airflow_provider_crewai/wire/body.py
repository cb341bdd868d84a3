"""What the bytes of an answer say: JSON of any encoding, its beginning only, or a page.

A value comes out as it went in. Three things have no form in Python or in a database, and are kept as text: a
number that is too long, NaN and Infinity, and what is nested more than `MAX_DEPTH` deep.
"""

from __future__ import annotations

import html
import json
import re
from array import array
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate

from airflow_provider_crewai.wire.model import JSON, JSONObject

MAX_DEPTH = 200
"""Levels of lists and objects that are read. Python ends at a thousand or less, all functions on the way counted."""

MAX_MEMBERS = 1_000
"""Members of an object that are looked through one by one; the API has some thirty."""

MAX_SIGNS = 10_000
"""Commas and brackets up to which an answer is read within milliseconds."""

_HEAD = 16 * 1024
"""Characters in which the state of a run must stand where an answer is not read as a whole."""

_PAGE = 16 * 1024
"""Characters of a page in which its words must stand."""

_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SPACE = r"[ \t\n\r]*+"
_STRINGS = re.compile(_STRING, re.DOTALL)
_OBJECT = re.compile(rf"\ufeff?{_SPACE}{{")
_KEY = re.compile(rf"{_SPACE}({_STRING}){_SPACE}:{_SPACE}", re.DOTALL)
_FLAT = re.compile(rf"(?:{_STRING}|[^\s,:\[\]{{}}\"]++)(?={_SPACE}[,}}])", re.DOTALL)
_TOKEN = re.compile(rf'{_STRING}|[\[{{]++|[\]}}]++|"', re.DOTALL)
_NEXT = re.compile(rf"{_SPACE}([,}}])")
_BRACKETS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))
_MARKUP = re.compile(r"<(script|style)\b.*?(?:</\1\s*>|\Z)|<!--.*?(?:-->|\Z)|<[^<>]*>", re.IGNORECASE | re.DOTALL)


class Source(str):
    """The JSON of a value as it came, since it is nested too deep to be read."""

    __slots__ = ()


def text_of(body: bytes) -> str:
    """Decode a body. UTF-8, UTF-16 and UTF-32 are told apart as JSON's own standard says."""
    return body.decode(json.detect_encoding(body), "replace")


def is_costly(body: bytes) -> bool:
    """Whether reading the body takes longer than an event loop may stand still."""
    return sum(map(body.count, (b",", b"[", b"{"))) > MAX_SIGNS


def read(text: str) -> JSON:
    """Read JSON.

    :raises ValueError: it is none.
    """
    if not _is_deep(text):
        return _loads(text)
    return {key: _source_if_deep(source) for key, source in _members(text)}


def read_head(text: str) -> JSONObject:
    """Read those members of an object that stand in the beginning of a long answer."""
    found: JSONObject = {}
    with suppress(ValueError):
        for key, source in _members(text[:_HEAD]):
            found[key] = _source_if_deep(source)
    return found


def words_of_page(text: str) -> str:
    """Return what a page of HTML says, without its markup."""
    # A number of 5,000 digits is an entity, too, and more than Python reads.
    shown = _MARKUP.sub(" ", text[:_PAGE])
    return html.unescape(re.sub(r"&#x?[0-9a-f]{8,}", "", shown, flags=re.IGNORECASE))


def _loads(text: str) -> JSON:
    try:
        value: JSON = json.loads(text, strict=False, parse_constant=str, parse_float=_float)
    except json.JSONDecodeError:
        raise
    except ValueError:  # an integer of more than 4,300 digits
        value = json.loads(text, strict=False, parse_constant=str, parse_float=_float, parse_int=_int)
    return value


def _int(digits: str) -> int | str:
    with suppress(ValueError):
        return int(digits)
    return digits


def _float(digits: str) -> float | str:
    value = float(digits)
    return digits if value in (float("inf"), float("-inf")) else value


def _is_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    brackets = _STRINGS.sub("", text).encode("utf-8", "surrogatepass").translate(_BRACKETS, _NO_BRACKETS)
    return max(accumulate(array("b", brackets)), default=0) > MAX_DEPTH


def _source_if_deep(source: str) -> JSON:
    return Source(source) if _is_deep(source) else _loads(source)


def _members(text: str) -> Iterator[tuple[str, str]]:
    """Yield the key and the source of each member of an object, without recursion.

    :raises ValueError: from there on it cannot be read.
    """
    if (at := _OBJECT.match(text)) is None:
        raise ValueError("no object")
    for _ in range(MAX_MEMBERS):
        if (key := _KEY.match(text, at.end())) is None:
            break
        end = _end_of_value(text, key.end())
        yield str(_loads(key[1])), text[key.end() : end]
        if (at := _NEXT.match(text, end)) is None:
            break
        if at[1] == "}":
            return
    raise ValueError("not whole, or longer than any answer")


def _end_of_value(text: str, start: int) -> int:
    if flat := _FLAT.match(text, start):
        return flat.end()
    depth = 0
    for token in _TOKEN.finditer(text, start):
        match token[0][0], len(token[0]):
            case "[" | "{", length:
                depth += length
            case "]" | "}", length:
                depth -= length
                if depth <= 0:
                    return token.end() + depth
            case '"', 1:
                break
    raise ValueError("not whole")
