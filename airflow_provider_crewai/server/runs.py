"""The store of runs: one sqlite file, which the server and the runs' own processes (`crew_process`) write.

The two talk through this file alone, so either may die and come back. Each change of a state is one guarded statement:
the first to end a run decides how it ended.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_crewai.server.crew_process.run_states import FINAL, OPEN, UNDER_WAY, in_sql
from airflow_provider_crewai.server.crew_process.storable import storable
from airflow_provider_crewai.server.records import Step, StoredEvent, StoredQuestion, StoredRun
from airflow_provider_crewai.server.schema import SCHEMA, TABLES
from airflow_provider_crewai.wire.beginnings import title
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.secret_names import masked

_WEBHOOKS = (
    "taskWebhookUrl",
    "stepWebhookUrl",
    "crewWebhookUrl",
    "humanInputWebhookUrl",
    "humanInputWebhook",
    "webhooks",
)
_SELECT = "SELECT kickoff_id, state, status, pid, exit, lives, created_at, started_at, ended_at, answer FROM runs "
_WHERE_ID = "WHERE kickoff_id = coalesce((SELECT kickoff_id FROM aliases WHERE alias = ?1), ?1)"
_UNDER_WAY, _OPEN = in_sql(UNDER_WAY), in_sql(OPEN)


class SessionBusy(Exception):
    """The last turn of a chat has not ended."""


class Runs:
    """The store of all runs, shared by the server's threads.

    :param path: the sqlite file; created where there is none.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # One statement at a time. While one thread of a connection reads, sqlite refuses a write of another at once if
        # a run's process has written meanwhile (sqlite.org/rescode.html#busy_snapshot).
        self._lock = threading.Lock()
        self._db = _connected(path)
        self._db.execute("PRAGMA journal_mode=WAL")
        # If the machine crashes, the last moments may be lost; if a process crashes, nothing is.
        self._db.execute("PRAGMA synchronous=NORMAL")
        # Deleted bytes must leave the file: they may be a webhook's password.
        self._db.execute("PRAGMA secure_delete=ON")
        self._db.executescript(SCHEMA)
        # A change may have to wait while a run's process writes. Nobody who only looks waits with it.
        self._looks = threading.Lock()
        self._looking = _connected(path)
        self._catch_up()

    # ---- read -------------------------------------------------------------------------------------

    def get(self, kickoff_id: str) -> StoredRun | None:
        """Return a run, or None if there is none. An id that a resume made up for it will do, too."""
        rows = self._seen(_SELECT + _WHERE_ID, kickoff_id)
        return _stored(rows[0]) if rows else None

    def inputs(self, kickoff_id: str) -> JSON:
        """Return the inputs of a run's kickoff, or None."""
        rows = self._seen("SELECT request FROM runs " + _WHERE_ID, kickoff_id)  # noqa: S608 - constants
        return json.loads(rows[0]["request"]).get("inputs") if rows else None

    def turns(self, chat_id: str) -> dict[int, str] | None:
        """Return the runs of a chat by the numbers of its turns, or None if there is no such chat."""
        if not self._seen("SELECT 1 FROM chats WHERE chat_id = ?", chat_id):
            return None
        rows = self._seen("SELECT number, kickoff_id FROM turns WHERE chat_id = ? ORDER BY number", chat_id)
        return {row["number"]: row["kickoff_id"] for row in rows}

    def message(self, kickoff_id: str) -> str:
        """Return what a user said in the turn of a chat that is this run."""
        rows = self._seen("SELECT json_extract(request, '$.chat.message') FROM runs WHERE kickoff_id = ?", kickoff_id)
        return str(rows[0][0]) if rows else ""

    def waiting(self) -> int:
        """Return how many runs wait for a slot."""
        return int(self._seen("SELECT count(*) FROM runs WHERE state = 'PENDING'")[0][0])

    def under_way(self) -> list[StoredRun]:
        """Return the runs that have, or should have, a process."""
        return [_stored(row) for row in self._seen(_SELECT + f"WHERE state IN {_UNDER_WAY}")]

    def paused(self) -> list[StoredRun]:
        """Return the runs that wait for a human, with a process or without."""
        return [_stored(row) for row in self._seen(_SELECT + "WHERE state = 'PAUSED'")]

    def steps(self, kickoff_id: str, *, outputs: bool = True) -> list[Step]:
        """Return the steps that a run has begun, in order.

        :param outputs: whether to read their outputs, which may be large.
        """
        output = "output" if outputs else "NULL AS output"
        fields = f"name, agent, started_at, ended_at, tokens, {output}"
        query = f"SELECT {fields} FROM steps WHERE kickoff_id = ? ORDER BY position"  # noqa: S608 - constants
        return [Step(**_fields(row, "output")) for row in self._seen(query, kickoff_id)]

    def questions(self, kickoff_id: str) -> list[StoredQuestion]:
        """Return a run's questions, the newest last."""
        query = (
            "SELECT question_id, kickoff_id, kind, message, output, asked_at, feedback, answered_at, options, approved "
            "FROM questions WHERE kickoff_id = ? ORDER BY asked_at"
        )
        return [_question(row) for row in self._seen(query, kickoff_id)]

    def question(self, question_id: str) -> StoredQuestion | None:
        """Return a question by its own id."""
        rows = self._seen("SELECT kickoff_id FROM questions WHERE question_id = ?", question_id)
        asked = self.questions(rows[0][0]) if rows else []
        return next((each for each in asked if each.question_id == question_id), None)

    def events(self, kickoff_id: str, after: int = 0) -> list[StoredEvent]:
        """Return a run's events behind a number, in order. Of a long run only the last hundreds are kept."""
        query = "SELECT number, type, at, data FROM events WHERE kickoff_id = ? AND number > ? ORDER BY number"
        return [StoredEvent(**_fields(row, "data")) for row in self._seen(query, kickoff_id, after)]

    def last_event(self, kickoff_id: str) -> StoredEvent | None:
        """Return the last of crewai's events in a run, or None."""
        query = (
            "SELECT number, type, at, data FROM events WHERE kickoff_id = ? AND type != 'state' "
            "ORDER BY number DESC LIMIT 1"
        )
        rows = self._seen(query, kickoff_id)
        return StoredEvent(**_fields(rows[0], "data")) if rows else None

    def event_counts(self, kickoff_id: str) -> dict[str, int]:
        """Return how many of crewai's events there were in a run, by their types."""
        rows = self._seen("SELECT type, count FROM event_counts WHERE kickoff_id = ? ORDER BY type", kickoff_id)
        return {row["type"]: row["count"] for row in rows}

    # ---- change -----------------------------------------------------------------------------------

    def add(self, request: JSONObject, chat_id: str | None = None, origin: str = "api") -> str:
        """Keep a new run, PENDING behind the runs that wait already.

        Its webhooks may hold passwords. They are kept in a table of their own, and deleted when the run ends.

        :param request: the kickoff's body.
        :param chat_id: the chat whose next turn it is, if it is one.
        :param origin: who kicks it off, by the service's own word for it.
        :returns: the new `kickoff_id`.
        :raises SessionBusy: the chat's last turn has not ended; no run was kept.
        """
        kickoff_id = str(uuid.uuid4())
        rest, webhooks = _parted(request)
        query = "INSERT INTO runs (kickoff_id, request, answer, created_at, title) VALUES (?, ?, ?, ?, ?)"
        answer = json.dumps({} if origin == "api" else {"execution_origin": origin})
        values = (kickoff_id, json.dumps(rest), answer, time.time(), storable(title(masked(request.get("inputs")))))
        with self._at_once():
            if chat_id is not None:
                self._take_turn(chat_id, kickoff_id)
            if webhooks:
                self._db.execute("INSERT INTO wishes VALUES (?, ?)", (kickoff_id, json.dumps(webhooks)))
            self._db.execute(query, values)
        return kickoff_id

    def _take_turn(self, chat_id: str, kickoff_id: str) -> None:
        open_turn = f"SELECT 1 FROM turns JOIN runs USING (kickoff_id) WHERE chat_id = ? AND state IN {_OPEN}"  # noqa: S608 - constants
        if self._db.execute(open_turn, (chat_id,)).fetchone():
            raise SessionBusy(chat_id)
        query = "INSERT INTO turns SELECT ?1, coalesce(max(number), 0) + 1, ?2 FROM turns WHERE chat_id = ?1"
        self._db.execute(query, (chat_id, kickoff_id))

    def start_chat(self) -> str:
        """Keep a new chat. Returns its id."""
        chat_id = str(uuid.uuid4())
        self._change("INSERT INTO chats VALUES (?, ?)", chat_id, time.time())
        return chat_id

    def claimable(self, slots: int) -> bool:
        """Return whether a run waits and a slot is free."""
        query = (
            "SELECT EXISTS (SELECT 1 FROM runs WHERE state = 'PENDING') "  # noqa: S608 - constants
            f"AND (SELECT count(*) FROM runs WHERE state IN {_UNDER_WAY}) < ?"
        )
        return bool(self._seen(query, slots)[0][0])

    def hold(self, status: str | None) -> bool:
        """Give all waiting runs the sentence that says why they do not start.

        :param status: the sentence; None deletes it.
        :returns: False if all of them have it already.
        """
        query = "UPDATE runs SET status = ?1 WHERE state = 'PENDING' AND status IS NOT ?1"
        return self._change(query, status) > 0

    def claim(self, slots: int) -> str | None:
        """Mark the run that has waited longest as STARTED.

        :param slots: how many runs may be under way at once. A run that waits for a human takes no slot.
        :returns: its id; None if no run waits or no slot is free.
        """
        query = (
            "UPDATE runs SET state = 'STARTED', status = NULL, exit = NULL, lives = lives + 1, "  # noqa: S608 - constants
            "started_at = coalesce(started_at, ?) "
            "WHERE position = (SELECT position FROM runs WHERE state = 'PENDING' ORDER BY position LIMIT 1) "
            f"AND (SELECT count(*) FROM runs WHERE state IN {_UNDER_WAY}) < ? RETURNING kickoff_id"
        )
        rows = self._all(query, time.time(), slots)
        return rows[0][0] if rows else None

    def set_pid(self, kickoff_id: str, pid: int) -> None:
        """Note a run's process. The process notes itself too, because the server may die in between."""
        self._change("UPDATE runs SET pid = ? WHERE kickoff_id = ?", pid, kickoff_id)

    def end(self, kickoff_id: str, state: str, status: str) -> bool:
        """End a run, unless it has ended already.

        :param state: the final state.
        :param status: the sentence that goes with it.
        :returns: whether this call ended it.
        """
        query = f"UPDATE runs SET state = ?, status = ?, ended_at = ? WHERE kickoff_id = ? AND state IN {_OPEN}"  # noqa: S608 - constants
        return self._change(query, state, status, time.time(), kickoff_id) == 1

    def requeue(self, kickoff_id: str, *states: str) -> bool:
        """Let a run whose process is gone wait for a new one, if it is in one of these states.

        A run that a human has answered gets all its lives back.

        :returns: whether it was in one of these states.
        """
        marks = ", ".join("?" * len(states))
        query = (
            "UPDATE runs SET state = 'PENDING', pid = NULL, lives = CASE state WHEN 'PAUSED' THEN 0 ELSE lives END "  # noqa: S608 - marks
            f"WHERE kickoff_id = ? AND state IN ({marks})"
        )
        return self._change(query, kickoff_id, *states) == 1

    def put_back(self, kickoff_id: str) -> None:
        """Let a claimed run wait again. It got no process, so this costs it no life."""
        query = (
            "UPDATE runs SET state = 'PENDING', lives = lives - 1, "
            "started_at = CASE lives WHEN 1 THEN NULL ELSE started_at END WHERE kickoff_id = ? AND state = 'STARTED'"
        )
        self._change(query, kickoff_id)

    def answer(self, question_id: str, feedback: str, *, approved: bool | None) -> bool:
        """Keep a human's answer. The first answer counts.

        :returns: False if the question has an answer already, or the run has ended.
        """
        going_on = f"SELECT 1 FROM runs WHERE kickoff_id = questions.kickoff_id AND state IN {_OPEN}"  # noqa: S608 - constants
        query = (
            "UPDATE questions SET feedback = ?, approved = ?, answered_at = ? "  # noqa: S608 - constants
            f"WHERE question_id = ? AND answered_at IS NULL AND EXISTS ({going_on})"
        )
        verdict = None if approved is None else int(approved)
        return self._change(query, feedback, verdict, time.time(), question_id) == 1

    def alias(self, kickoff_id: str) -> str:
        """Make up another id for a run, as the live service does on each resume."""
        alias = str(uuid.uuid4())
        # The resumed id may itself be made up; the new one leads to the run directly. For no run nothing is kept.
        query = (
            "INSERT INTO aliases (alias, kickoff_id) SELECT ?1, kickoff_id FROM runs WHERE kickoff_id = "
            "coalesce((SELECT kickoff_id FROM aliases WHERE alias = ?2), ?2)"
        )
        self._change(query, alias, kickoff_id)
        return alias

    def ended_before(self, moment: float, *, most: int) -> list[str]:
        """Return the ids of the runs that ended before an epoch second, and of those beyond the last so many."""
        query = (
            "SELECT kickoff_id FROM runs WHERE ended_at < ?1 UNION SELECT kickoff_id FROM "
            "(SELECT kickoff_id FROM runs WHERE ended_at IS NOT NULL ORDER BY ended_at DESC LIMIT -1 OFFSET ?2)"
        )
        return [row[0] for row in self._all(query, moment, most)]

    def forget(self, kickoff_ids: list[str]) -> None:
        """Delete runs with everything that is kept of them: all of them, or none."""
        ids = [(kickoff_id,) for kickoff_id in kickoff_ids]
        with self._at_once():
            for table in TABLES:
                self._db.executemany(f"DELETE FROM {table} WHERE kickoff_id = ?", ids)  # noqa: S608 - constants

    def old_chats(self, moment: float) -> list[str]:
        """Return the ids of the chats that began before an epoch second and of which no turn is kept."""
        query = "SELECT chat_id FROM chats WHERE created_at < ? AND chat_id NOT IN (SELECT chat_id FROM turns)"
        return [row[0] for row in self._seen(query, moment)]

    def forget_chats(self, chat_ids: list[str]) -> None:
        """Delete chats."""
        for chat_id in chat_ids:
            self._change("DELETE FROM chats WHERE chat_id = ?", chat_id)

    def tidy_up(self) -> None:
        """Empty the database's log, which still holds deleted bytes. Does nothing while somebody else uses it."""
        with closing(sqlite3.connect(self.path, timeout=0.1)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _catch_up(self) -> None:
        # Earlier versions of the server counted no tokens of steps,
        if "tokens" not in {row["name"] for row in self._all("PRAGMA table_info(steps)")}:
            self._db.execute("ALTER TABLE steps ADD COLUMN tokens INTEGER")
        # and kept the whole request in one column, and no title.
        if "title" not in {row["name"] for row in self._all("PRAGMA table_info(runs)")}:
            self._db.execute("ALTER TABLE runs ADD COLUMN title TEXT")
        for row in self._all("SELECT kickoff_id FROM runs WHERE title IS NULL"):
            self._catch_up_with(row["kickoff_id"])

    def _catch_up_with(self, kickoff_id: str) -> None:
        (row,) = self._all("SELECT state, request FROM runs WHERE kickoff_id = ?", kickoff_id)
        request, webhooks = _parted(json.loads(row["request"]))
        with self._at_once():
            if webhooks and row["state"] not in FINAL:
                self._db.execute("INSERT OR IGNORE INTO wishes VALUES (?, ?)", (kickoff_id, json.dumps(webhooks)))
            values = (json.dumps(request), storable(title(masked(request.get("inputs")))), kickoff_id)
            self._db.execute("UPDATE runs SET request = ?, title = ? WHERE kickoff_id = ?", values)

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _change(self, query: str, *values: str | float | None) -> int:
        with self._lock:
            return self._db.execute(query, [storable(value) for value in values]).rowcount

    def _seen(self, query: str, *values: str | float) -> list[sqlite3.Row]:
        with self._looks:
            return self._looking.execute(query, [storable(value) for value in values]).fetchall()

    def _all(self, query: str, *values: str | float) -> list[sqlite3.Row]:
        # All rows at once: a statement commits only when all its rows are read.
        with self._lock:
            return self._db.execute(query, [storable(value) for value in values]).fetchall()


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
    db.row_factory = sqlite3.Row
    return db


def _parted(request: JSONObject) -> tuple[JSONObject, JSONObject]:
    webhooks = {name: request[name] for name in _WEBHOOKS if name in request}
    return {name: value for name, value in request.items() if name not in webhooks}, webhooks


def _stored(row: sqlite3.Row) -> StoredRun:
    return StoredRun(**_fields(row, "answer"))


def _question(row: sqlite3.Row) -> StoredQuestion:
    fields = _fields(row, "options")
    return StoredQuestion(**{**fields, "approved": None if fields["approved"] is None else bool(fields["approved"])})


def _fields(row: sqlite3.Row, *written_as_json: str) -> dict[str, Any]:
    fields = dict(row)
    return fields | {name: fields[name] and json.loads(fields[name]) for name in written_as_json}
