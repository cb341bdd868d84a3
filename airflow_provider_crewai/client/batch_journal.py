"""Writes to the task log while the runs of a batch go on: a line for each end, and now and then how many have ended."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from airflow_provider_crewai.client import messages
from airflow_provider_crewai.client.journal import QUIET, Journal
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import Run

PROGRESS = 60.0
"""Seconds that are at least between two lines about how many runs have ended."""


class BatchJournal:
    """Writes a line when a run ends or asks a person, and when the API stops answering. An observer for `wait`.

    One for all runs of a batch: an outage is one line, not one for each run.

    :param log: a logger with `info` and `warning`, Airflow's or the standard library's.
    :param conn_id: the connection for the command that answers a question.
    :param runs: the runs that are waited for.
    """

    def __init__(self, log: Any, conn_id: str, runs: Collection[str]) -> None:
        self._log = log
        self._conn_id = conn_id
        self._count = len(runs)
        self._ended: set[str] = set()
        self._told = 0
        self._told_at = 0.0
        self._asking: dict[str, Journal] = {}
        self._trouble: tuple[type[CrewError], float] | None = None

    def __call__(self, seen: Run | CrewError, now: float) -> None:
        """Log what a look at this epoch second showed, if a person wants to know it."""
        if isinstance(seen, CrewError):
            self._missed(seen, now)
            return
        if seen.question and not seen.state.is_final:
            journal = Journal(self._log, seen.kickoff_id, self._conn_id)
            self._asking.setdefault(seen.kickoff_id, journal)(seen, now)
        if seen.state.is_final and seen.kickoff_id not in self._ended:
            self._ended.add(seen.kickoff_id)
            self._log.info("Run %s: %s", seen.kickoff_id, messages.sight(seen))
        self._say_progress(now)

    def _say_progress(self, now: float) -> None:
        self._told_at = self._told_at or now
        if len(self._ended) > self._told and now >= self._told_at + PROGRESS:
            self._told, self._told_at = len(self._ended), now
            self._log.info("%d of the %d runs that are waited for have ended.", self._told, self._count)

    def _missed(self, error: CrewError, now: float) -> None:
        kind, since = self._trouble or (None, 0.0)
        if type(error) is not kind or now >= since + QUIET:
            self._trouble = (type(error), now)
            self._log.info("The runs are waited for, and a look brought %s", messages.sight(error))
