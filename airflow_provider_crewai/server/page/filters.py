"""Filters of the templates: what a person reads, made from what a run reports. No output is trusted to be text."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_crewai.server.beginnings import beginning
from airflow_provider_crewai.wire.model import JSON, JSONObject, Progress

STATES = {
    "PENDING": "Waiting for a free slot",
    "STARTED": "Starting",
    "RUNNING": "Running",
    "PAUSED": "Waiting for an answer",
    "SUCCESS": "Succeeded",
    "FAILED": "Failed",
    "REVOKED": "Stopped",
}

# A terminal's colours and cursor movements, by ECMA-48: CSI sequences, OSC strings, two-character escapes.
_TERMINAL = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[ -/]*[0-~])")
_LAYOUT = "\t\n\r"
_CONTROLS = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in _LAYOUT} | {0x7F: "␡"}
_UNPRINTABLE = dict.fromkeys((*range(0x80, 0xA0), *range(0xD800, 0xE000), 0xFFFE, 0xFFFF), "\ufffd")
_VISIBLE = _CONTROLS | _UNPRINTABLE
_MEGABYTE = 1_000_000
_NAME = 1000


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


def progress(said: JSONObject | None) -> Progress | None:
    """Read the progress of a run, if it is known."""
    if said is None:
        return None
    completed, total = (_count(said.get(key)) for key in ("completed", "total"))
    current, agent = (beginning(said.get(key), _NAME) or None for key in ("current", "current_agent"))
    return Progress(completed, total, current, agent)


def usage(answer: JSONObject) -> dict[str, int]:
    """Read the counts of tokens and requests from a run's answer."""
    said = answer.get("usage_metrics")
    counts = said.items() if isinstance(said, dict) else ()
    return {name.replace("_", " "): count for name, value in counts if (count := _count(value))}


def output(step: JSONObject | None) -> JSON:
    """Return the output of a crew task or flow method: its text, if it has one, else everything."""
    if step is None:
        return None
    return next((step[key] for key in ("output", "raw") if isinstance(step.get(key), str)), step)


def _count(value: JSON) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
