"""Filters of the templates: what a person reads, made from values that nobody need trust."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

from airflow_provider_crewai.wire.beginnings import beginning
from airflow_provider_crewai.wire.model import JSON, RunState
from airflow_provider_crewai.wire.times import ago, duration

STATES = {
    RunState.PENDING: "Waiting to start",
    RunState.RUNNING: "Running",
    RunState.PAUSED: "Waiting for an answer",
    RunState.SUCCEEDED: "Succeeded",
    RunState.FAILED: "Failed",
    RunState.STOPPED: "Stopped",
    RunState.NOT_FOUND: "Not known to the crew",
    RunState.UNKNOWN: "State unknown",
}

# A terminal's colours and cursor movements, by ECMA-48: CSI sequences, OSC strings, two-character escapes.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
_LAYOUT = "\t\n\r"
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in _LAYOUT} | {0x7F: "␡"}
_UNPRINTABLE = dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")
_VISIBLE = _CONTROLS | _UNPRINTABLE
_MEGABYTE = 1_000_000


def visible(value: Any) -> Any:
    """Make text fit for HTML: without a terminal's sequences, and with a sign for each invisible character."""
    return _TERMINAL.sub("", value).translate(_VISIBLE) if type(value) is str else value


def line(value: JSON, length: int) -> str:
    """Return the beginning of a value in one line."""
    head = beginning(value, 4 * length, indent=None)
    words = " ".join(_TERMINAL.sub("", head[: 4 * length]).split())
    return words if len(words) <= length and len(head) <= 4 * length else words[: length - 1].rstrip() + "…"


def size(value: JSON) -> str:
    """Write the length of a text. Other values get an empty text: they would have to be formatted first."""
    if not isinstance(value, str):
        return ""
    if len(value) >= _MEGABYTE:
        return f"{len(value) / _MEGABYTE:.1f} million characters"
    return f"{len(value):,} characters"


def until(epoch: float, now: float) -> str:
    """Return how far away a moment is: `in 3 minutes`, `3 minutes ago`."""
    return f"in {duration(epoch - now)}" if epoch > now else ago(epoch, now)


def is_safe_url(url: str) -> bool:
    """Return whether a link may lead there: over http(s), or to a path of the same host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    if parts.scheme or parts.netloc:
        return parts.scheme in ("http", "https") and bool(parts.hostname)
    return url.startswith("/") and "\\" not in url
