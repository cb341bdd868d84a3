"""Filters of the templates: what a person reads, made from what a run reports. No output is trusted to be text."""

from __future__ import annotations

from airflow_provider_crewai.wire.beginnings import beginning
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

CLASSES = {
    "PENDING": "pending",
    "STARTED": "running",
    "RUNNING": "running",
    "PAUSED": "paused",
    "SUCCESS": "succeeded",
    "FAILED": "failed",
    "REVOKED": "stopped",
}
_NAME = 1000


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
