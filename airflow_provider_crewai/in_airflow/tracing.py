"""Says on the task's OpenTelemetry span what became of its run. Airflow 3 makes the span; we only add to it."""

from __future__ import annotations

import sys
from contextlib import suppress

from airflow_provider_crewai.wire.model import JSON, JSONObject

TOKENS = {
    "prompt_tokens": "gen_ai.usage.input_tokens",
    "completion_tokens": "gen_ai.usage.output_tokens",
    "cached_prompt_tokens": "gen_ai.usage.cache_read.input_tokens",
    "total_tokens": "crewai.usage.total_tokens",
    "successful_requests": "crewai.usage.successful_requests",
}
"""The attribute for each count of crewai's `UsageMetrics`: OpenTelemetry's own for generative AI, where it has one."""


def note_ending(crew_run: JSONObject) -> None:
    """Set the attributes of the span that is active, if any. Loads nothing, and never fails.

    :param crew_run: see `client.summary`.
    """
    with suppress(Exception):  # the run is paid for, and the tracing of a site may be broken
        if (trace := sys.modules.get("opentelemetry.trace")) is not None:
            trace.get_current_span().set_attributes(attributes(crew_run))


def attributes(crew_run: JSONObject) -> dict[str, str | int]:
    """Return the attributes that say what became of the run. What is not known is left out."""
    known: dict[str, JSON] = {f"crewai.{name}": crew_run[name] for name in ("kickoff_id", "crew", "ending")}
    usage = crew_run["usage"]
    if isinstance(usage, dict):
        known |= {name: usage.get(count) for count, name in TOKENS.items()}
    named = {name: value for name, value in known.items() if isinstance(value, str | int)}
    return {"gen_ai.operation.name": "invoke_workflow", **named}
