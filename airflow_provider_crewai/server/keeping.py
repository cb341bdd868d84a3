"""How much is kept, and for how long: runs, their folders, and their logs."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from airflow_provider_crewai.server import private
from airflow_provider_crewai.server.chores import Chore
from airflow_provider_crewai.server.crew_process.run_settings import FLOWS
from airflow_provider_crewai.server.runs import Runs

TIDY_EVERY = 5.0
"""Seconds for which the password of a webhook stays on the disk after its run has ended."""

CLEAN_EVERY = 60.0
"""Seconds between two searches for runs that are old enough to delete."""

LONGEST_LOG = 64 * 1024 * 1024
"""Bytes to which the log of a run may grow. Then its middle goes."""

LOG_BEGINS = 1024 * 1024
"""Bytes of a log's beginning that always stay: it often says why a run prints without end."""

_CUT = b"\n[The server cut the log here: it had grown too long.]\n"

log = logging.getLogger(__name__)


class Keeper:
    """Deletes what is old or too much.

    :param runs: the store of all runs.
    :param keep: seconds after which an ended run is deleted.
    :param most: how many ended runs are kept: the last ones.
    :param longest_log: bytes to which a log may grow, and `beginning` those of its beginning that always stay.
    """

    def __init__(
        self, runs: Runs, *, keep: float, most: int, longest_log: int = LONGEST_LOG, beginning: int = LOG_BEGINS
    ) -> None:
        self._runs = runs
        self._home = runs.path.parent
        self._keep = keep
        self._most = most
        self._longest_log = longest_log
        self._beginning = beginning

    def chores(self) -> list[Chore[[]]]:
        """Return what is to be done again and again."""
        return [
            Chore(self._runs.tidy_up, TIDY_EVERY),
            Chore(self._cut_logs, TIDY_EVERY),
            Chore(self._clean, CLEAN_EVERY),
        ]

    def _clean(self) -> None:
        # The rows go last: by them the next server finds what is left to delete, if this one is killed meanwhile.
        old = self._runs.ended_before(time.time() - self._keep, most=self._most)
        for kickoff_id in old:
            shutil.rmtree(self._home / kickoff_id, ignore_errors=True)
        _forget_flows(self._home / FLOWS, old)
        self._runs.forget(old)
        chats = self._runs.old_chats(time.time() - self._keep)
        _forget_flows(self._home / FLOWS, chats)
        self._runs.forget_chats(chats)

    def _cut_logs(self) -> None:
        for file in self._logs():
            with suppress(FileNotFoundError):
                if file.stat().st_size > self._longest_log:
                    _cut(file, self._beginning)
                    log.warning("%s had grown to %d bytes: its middle is gone", file, self._longest_log)

    def _logs(self) -> Iterator[Path]:
        yield self._home / "warm" / "log"
        for run in (*self._runs.under_way(), *self._runs.paused()):
            yield self._home / run.kickoff_id / "log"


def _cut(file: Path, beginning: int) -> None:
    # Processes append to it, so they go on at its new end.
    descriptor = private.opened(file, os.O_WRONLY | os.O_APPEND)
    try:
        os.ftruncate(descriptor, beginning)
        os.write(descriptor, _CUT)
    finally:
        os.close(descriptor)


def _forget_flows(states: Path, flow_ids: list[str]) -> None:
    """Delete the states that crewai keeps of these runs and chats. States under ids of the project's own stay."""
    if flow_ids and states.exists():
        with closing(sqlite3.connect(states, timeout=30)) as db, db:
            for table in ("flow_states", "pending_feedback"):  # crewai's, 1.15.2 to 1.15.30
                db.executemany(f"DELETE FROM {table} WHERE flow_uuid = ?", [(each,) for each in flow_ids])  # noqa: S608 - constants
