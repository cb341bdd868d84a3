"""What is counted about runs, for Airflow's metrics (StatsD, OpenTelemetry).

Counting never fails a task or a trigger.
"""

from __future__ import annotations

from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Any

from airflow_provider_crewai.client.watch import Ending
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import Run

if TYPE_CHECKING:
    from airflow_provider_crewai.client.flows import Observe

BEGUN = "crewai.runs.started"
ADOPTED = "crewai.runs.taken_up"
LOOKS = "crewai.looks"
MISSED_LOOKS = "crewai.looks.failed"
ENDINGS = "crewai.runs.ended"
SECONDS = "crewai.runs.seconds"
TOKENS = "crewai.runs.tokens"
CALLS = "crewai.calls"


def begun(*, adopted: bool) -> None:
    """Count a run that was started, or taken up."""
    _count(ADOPTED if adopted else BEGUN)


def ended(ending: Ending, seconds: float | None) -> None:
    """Count an ending by its kind, and what the run took.

    :param seconds: from the kickoff to the ending, or None if the kickoff is not known.
    """
    _count(f"{ENDINGS}.{ending.verdict}")
    if ending.run is None or not ending.run.state.is_final:
        return
    if seconds is not None:
        _time(SECONDS, seconds)
    if tokens := ending.run.usage.get("total_tokens"):
        _count(TOKENS, tokens)


def called(outcome: str) -> None:
    """Count a call of a deployment by what became of it: `kept`, `known` or `refused`."""
    _count(f"{CALLS}.{outcome}")


def counting(observe: Observe) -> Observe:
    """Return an observer that counts each look, and passes it on."""

    def counted(seen: Run | CrewError, now: float) -> None:
        _count(MISSED_LOOKS if isinstance(seen, CrewError) else LOOKS)
        observe(seen, now)

    return counted


def _count(name: str, count: int = 1) -> None:
    with suppress(Exception):  # the run is paid for, and the metrics of a site may be broken
        _stats().incr(name, count)


def _time(name: str, seconds: float) -> None:
    with suppress(Exception):  # for the same reason
        _stats().timing(name, seconds * 1000)


@cache
def _stats() -> Any:
    from airflow.providers.common.compat.sdk import Stats

    return Stats
