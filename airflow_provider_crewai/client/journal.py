"""Writes to the task log while a run goes on: one line for each change."""

from __future__ import annotations

from typing import Any

from airflow_provider_crewai.client import messages
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import Progress, Question, Run, RunState


class Journal:
    """Writes a line when a run's state or progress changes, or when the API stops answering. An observer for `wait`.

    :param log: a logger with `info`, Airflow's or the standard library's.
    """

    def __init__(self, log: Any, kickoff_id: str) -> None:
        self._log = log
        self._kickoff_id = kickoff_id
        self._last: tuple[RunState, str, Progress | None, Question | None] | type[CrewError] | None = None

    def __call__(self, seen: Run | CrewError, _now: float) -> None:
        """Log what a look showed, if it differs from the look before."""
        # During an outage the error's text may change with each look: one line for each kind of error is enough.
        now = type(seen) if isinstance(seen, CrewError) else (seen.state, seen.word, seen.progress, seen.question)
        if now != self._last:
            self._last = now
            self._log.info("Run %s: %s", self._kickoff_id, messages.sight(seen))
