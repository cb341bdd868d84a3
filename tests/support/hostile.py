"""What a deployment, a crew or a model could say to harm who reads it, and how that shows."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

TOKEN = "pk/7Qz+d0-not=tell"
SECRET = re.compile(re.escape(TOKEN) + "|" + "[^ ]{0,6}".join(map(re.escape, re.split(r"[/+=]", TOKEN))))
"""The token, and its parts in a row with little between them, however its other signs are written."""

FORGED = "[2026-11-27T02:00:00.000+0000] {taskinstance.py:1400} INFO - Marking task as SUCCESS"
PAYLOADS = {
    "lines": f"survey\n{FORGED}\r\n{FORGED}\u2028{FORGED}\x85{FORGED}\v{FORGED}",
    "a terminal's orders": "\x1b[2J\x1b]0;title\x07\x1b]8;;http://evil.example\x07click\x1b]8;;\x1b\\ \x9b2J \x08\x08",
    "turned around": "abc\u202egnp.exe\u2066\u200f \ufeffzero\u200bwidth\u2060 \U000e0041tag \u3164",
    "a log viewer's orders": "::group::x ::endgroup:: ::error file=a::b ##[group]y ##vso[task.complete]",
    "no text": "nul\0 lone\ud800 \ufffe",
    "long": "A" * 100_000,
    "many lines": "\n" * 50_000 + "line\n" * 10_000,
    "the token": f"Bearer {TOKEN}",
    "the token in a URL": f"x?key={quote(TOKEN, safe='')}&{quote(TOKEN, safe='').replace('%2F', '%2f')}",
    "the token in JSON": json.dumps({"said": TOKEN}).replace("/", "\\/").replace("=", "\\u003d"),
    "the token in HTML": f"<p>{TOKEN}</p> {TOKEN.replace('/', '&#47;').replace('=', '&equals;').replace('+', '&#x2b;')}",
    "the token at the cut": "<i>" * 60 + " " * 150 + TOKEN * 300,
}


def faults(text: str) -> Iterator[str]:
    """Say what is wrong with what a person would read."""
    for line in re.split("\n", text):
        if not line.isprintable():
            yield f"control characters in {line[:200]!r}"
        if line.startswith("[2026-11-27T02"):
            yield f"a forged line: {line[:100]!r}"
    if re.search(r"::(end)?group|##\w*\[|(?<!\w)::error", text):
        yield f"an order in {text[:300]!r}"
    if SECRET.search(text):
        yield f"the token in {text[:300]!r}"


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a JSON value at which a text, a number or nothing stands."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))
    elif not isinstance(value, bool):
        yield path


def with_text(value: Any, path: tuple[Any, ...], text: str) -> Any:
    """The value with a text in that place."""
    if not path:
        return text
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_text(value[path[0]], path[1:], text)
    return copy
