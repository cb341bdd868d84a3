"""Writes to the task log while a run goes on: one line for each change, and now and then one where nothing changes."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from airflow_provider_crewai.client import messages
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import Progress, Question, Run, RunState
from airflow_provider_crewai.wire.times import duration, moment

QUIET = 300.0
"""Seconds without a change after which a line says so; then again after twice that time, and so on."""

WIDTH = 500
"""Characters of one line of what is to be judged."""


class Journal:
    """Writes a line when a run's state or progress changes, or when the API stops answering. An observer for `wait`.

    When nothing changes it says so after 5, 10, 20, 40 … minutes. A question to a human is a warning, with all that
    is to be judged.

    :param log: a logger with `info` and `warning`, Airflow's or the standard library's.
    :param conn_id: the connection for the command that answers a question; None where people are asked otherwise.
    """

    __slots__ = ("_conn_id", "_kickoff_id", "_last", "_log", "_quiet", "_since")

    def __init__(self, log: Any, kickoff_id: str, conn_id: str | None = None) -> None:
        self._log = log
        self._kickoff_id = kickoff_id
        self._conn_id = conn_id
        self._last: tuple[RunState, str, Progress | None, Question | None] | type[CrewError] | None = None
        self._since = 0.0
        self._quiet = QUIET

    def __call__(self, seen: Run | CrewError, now: float) -> None:
        """Log what a look at this epoch second showed, if that is new or has not changed for long."""
        # During an outage the error's text may change with each look: one line for each kind of error is enough.
        sight = type(seen) if isinstance(seen, CrewError) else (seen.state, seen.word, seen.progress, seen.question)
        if sight != self._last:
            self._last, self._since, self._quiet = sight, now, QUIET
            self._say(seen)
        elif now - self._since >= self._quiet:
            self._quiet *= 2
            for_so_long = f"for {duration(now - self._since)}, since {moment(self._since)}"
            self._log.info("Run %s: still %s (%s)", self._kickoff_id, messages.sight(seen), for_so_long)

    def _say(self, seen: Run | CrewError) -> None:
        question = seen.question if isinstance(seen, Run) else None
        write = self._log.warning if question else self._log.info
        write("Run %s: %s", self._kickoff_id, messages.sight(seen))
        if question and question.output:
            write("Run %s: what is to be judged:", self._kickoff_id)
            # Line by line: a log viewer takes each entry for one line, and cuts a long one.
            for line in question.output.splitlines():
                for piece in wrap(line.strip(), WIDTH):
                    write("    %s", piece)
        if question and self._conn_id is not None:
            write("Answer it: %s", messages.how_to_answer(question, self._kickoff_id, self._conn_id))
