"""What the task log says while a run goes on: a line for each change, and no more."""

from __future__ import annotations

from typing import Any

from airflow_provider_crewai.client import messages
from airflow_provider_crewai.wire.model import Progress, Question, Run, RunState


class Journal:
    """Writes a line when a run's state or progress changes. An observer for `wait`.

    :param log: a logger with `info`, Airflow's or the standard library's.
    """

    def __init__(self, log: Any, kickoff_id: str) -> None:
        self._log = log
        self._kickoff_id = kickoff_id
        self._last: tuple[RunState, str, Progress | None, Question | None] | None = None

    def __call__(self, run: Run, _now: float) -> None:
        """Take note of an answer."""
        seen = (run.state, run.word, run.progress, run.question)
        if seen != self._last:
            self._last = seen
            self._log.info("Run %s: %s", self._kickoff_id, messages.progress(run))
