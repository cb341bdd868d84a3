"""Reads the bytes of an answer: JSON of any encoding, only its beginning, or a page.

Values are not changed. Three things cannot be kept in Python or in a database, so they become text: a number that is
too long, NaN and Infinity, and what is nested more than `MAX_DEPTH` levels deep.
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
"""The most levels of lists and objects that we read. Python stops at a thousand or fewer, with all function calls."""

MAX_MEMBERS = 1_000
"""The most members of an object that we read one by one; the API has about thirty."""

MAX_SIGNS = 10_000
"""The most commas, brackets and escapes of an answer that we can read within milliseconds."""

_ESCAPES = (b"\\", b"%", b"&")
"""How escapes begin in JSON, in URLs and in HTML. Behind each of them a secret may begin."""

_HEAD = 16 * 1024
"""Characters. If we do not read the whole answer, the state of the run must be within this beginning."""

_PAGE = 16 * 1024
"""Characters. The text of a page must be within this beginning."""

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
    """The JSON text of a value, unchanged, because the value is nested too deep to be read."""

    __slots__ = ()


def text_of(body: bytes) -> str:
    """Decode a body. The JSON standard says how to distinguish UTF-8, UTF-16 and UTF-32."""
    return body.decode(json.detect_encoding(body), "replace")


def is_garbled(body: bytes) -> bool:
    """Return whether a body holds bytes that its encoding does not know, which `text_of` replaces."""
    try:
        body.decode(json.detect_encoding(body))
    except UnicodeDecodeError:
        return True
    return False


def is_costly(body: bytes) -> bool:
    """Return whether reading the body would block an event loop for too long."""
    return sum(map(body.count, (b",", b"[", b"{", *_ESCAPES))) > MAX_SIGNS


def read(text: str) -> JSON:
    """Read JSON.

    :raises ValueError: the text is not JSON.
    """
    if not _is_deep(text):
        return _loads(text)
    return {key: _source_if_deep(source) for key, source in _members(text)}


def read_head(text: str) -> JSONObject:
    """Return the members of an object that are in the beginning of a long answer."""
    found: JSONObject = {}
    with suppress(ValueError):
        for key, source in _members(text[:_HEAD]):
            found[key] = _source_if_deep(source)
    return found


def words_of_page(text: str) -> str:
    """Return the text of an HTML page, without its markup."""
    # A number of 5,000 digits can also be an entity, but Python cannot read it.
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

    :raises ValueError: the rest cannot be read.
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
