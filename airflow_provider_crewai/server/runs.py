"""Where runs are kept: one sqlite file, written by the server and by the runs' own processes (`runner.py`).

Every write is one guarded statement, so whoever ends a run first has the last word.
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_crewai.wire.model import JSONObject

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    position INTEGER PRIMARY KEY,
    kickoff_id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL DEFAULT 'PENDING',
    status TEXT,
    request TEXT NOT NULL,
    answer TEXT NOT NULL DEFAULT '{}',
    pid INTEGER
)
"""
_SELECT = "SELECT kickoff_id, state, status, pid, answer FROM runs "


@dataclass(frozen=True, slots=True)
class StoredRun:
    """One run as it stands.

    `answer` holds what the run's process reports, under the API's own keys.
    """

    kickoff_id: str
    state: str
    status: str | None
    pid: int | None
    answer: JSONObject = field(repr=False)


class Runs:
    """The store of all runs, shared by the server's threads.

    :param path: the sqlite file; created where there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Autocommit: each statement is atomic by itself, and sqlite serialises the threads that share it.
        self._db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute(_SCHEMA)

    def add(self, request: JSONObject) -> str:
        """Keep a new run, PENDING behind those that wait already.

        :param request: the kickoff's body.
        :returns: the new `kickoff_id`.
        """
        kickoff_id = str(uuid.uuid4())
        self._change("INSERT INTO runs (kickoff_id, request) VALUES (?, ?)", kickoff_id, json.dumps(request))
        return kickoff_id

    def get(self, kickoff_id: str) -> StoredRun | None:
        """Return a run, or None if there is none of this id."""
        rows = self._db.execute(_SELECT + "WHERE kickoff_id = ?", (kickoff_id,)).fetchall()
        return _stored(*rows[0]) if rows else None

    def under_way(self) -> list[StoredRun]:
        """Return the runs that have, or should have, a process."""
        rows = self._db.execute(_SELECT + "WHERE state IN ('STARTED', 'RUNNING')").fetchall()
        return [_stored(*row) for row in rows]

    def claim(self) -> str | None:
        """Mark the run that waits longest as STARTED and return its id; None if none waits."""
        waiting = "SELECT position FROM runs WHERE state = 'PENDING' ORDER BY position LIMIT 1"
        query = f"UPDATE runs SET state = 'STARTED' WHERE position = ({waiting}) RETURNING kickoff_id"  # noqa: S608
        rows = self._db.execute(query).fetchall()  # all, since a statement commits when it has been read out
        return rows[0][0] if rows else None

    def set_pid(self, kickoff_id: str, pid: int) -> None:
        """Note the process of a run."""
        self._change("UPDATE runs SET pid = ? WHERE kickoff_id = ?", pid, kickoff_id)

    def end(self, kickoff_id: str, state: str, status: str) -> bool:
        """End a run, unless it has ended already.

        :param state: the final state.
        :param status: the sentence that goes with it.
        :returns: whether this call ended it.
        """
        query = (
            "UPDATE runs SET state = ?, status = ? WHERE kickoff_id = ? AND state IN ('PENDING', 'STARTED', 'RUNNING')"
        )
        return self._change(query, state, status, kickoff_id) == 1

    def _change(self, query: str, *values: str | int) -> int:
        return self._db.execute(query, values).rowcount


def _stored(kickoff_id: str, state: str, status: str | None, pid: int | None, answer: str) -> StoredRun:
    return StoredRun(kickoff_id, state, status, pid, json.loads(answer))
