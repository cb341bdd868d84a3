"""The record of a run in the server's database, as the run's own process writes it.

Events arrive on threads of crewai in any order. So each step is written at its position, and the server counts the rows
to see how far a run is. Nothing overwrites a run that was stopped meanwhile.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from .run_states import OPEN, UNDER_WAY, in_sql
from .storable import json_text, storable

_ASKED = "question_id, kind, step, output, feedback, context, approved"
_ASK = (
    "INSERT INTO questions (question_id, kind, step, message, output, options, context, asked_at, kickoff_id) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_OPEN, _UNDER_WAY = in_sql(OPEN), in_sql(UNDER_WAY)
_PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0, *[15.0] * 40)  # seconds, ten minutes in all

MOST_UNDELIVERED = 10_000
"""How many webhooks of a run may wait for their receivers."""

_T = TypeVar("_T")


@dataclass(frozen=True)
class AskedQuestion:
    """A question of this run, with its answer if there is one.

    :param kind: `task`, `flow` or `ask`, as in the server's `StoredQuestion`.
    :param step: the position of the crew task or flow method that asked.
    :param context: what another process needs to continue from here.
    :param approved: the answer's verdict; None if it gave none.
    """

    question_id: str
    kind: str
    step: int
    output: str
    feedback: str | None
    context: Any
    approved: bool | None

    @property
    def is_answered(self) -> bool:
        """Whether the question has an answer."""
        return self.feedback is not None


class _NotNow(Exception):
    """Nothing could be written; a later try may succeed."""


class Report:
    """The record of one run.

    :param database: the server's sqlite file.
    :param kickoff_id: the run.
    :param most_undelivered: how many of its webhooks may wait for a receiver that does not answer.
    """

    def __init__(self, database: str, kickoff_id: str, *, most_undelivered: int = MOST_UNDELIVERED) -> None:
        self.kickoff_id = kickoff_id
        self._most_undelivered = most_undelivered
        self.database = database
        self._lock = threading.RLock()
        self._db = sqlite3.connect(database, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA secure_delete=ON")  # when a run ends, its webhooks' passwords must leave the file
        self.request: dict[str, Any] = {}
        for table, column in (("runs", "request"), ("wishes", "webhooks")):
            for row in self._all(f"SELECT {column} FROM {table} WHERE kickoff_id = ?"):  # noqa: S608 - constants
                self.request |= json.loads(row[0])

    def signed(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Add the run's id and its kickoff's `meta` to fields of a crew task or step."""
        return {**fields, "kickoff_id": self.kickoff_id, "meta": self.request.get("meta")}

    def has_process(self, pid: int) -> bool:
        """Note this run's process.

        :returns: False if the run was stopped before anybody knew which process to kill.
        """
        query = f"UPDATE runs SET pid = ? WHERE kickoff_id = ? AND state IN {_OPEN}"  # noqa: S608 - a constant
        return self._change(query, pid) == 1

    # ---- state ------------------------------------------------------------------------------------

    def running(self, unit: str, total: int | None) -> None:
        """Report that the crew or flow is at work.

        :param unit: what it works through: `task` or `method`.
        :param total: how many of these there are, if that is known.
        """
        query = f"UPDATE runs SET state = 'RUNNING' WHERE kickoff_id = ? AND state IN {_UNDER_WAY}"  # noqa: S608 - a constant

        def write() -> None:
            self.note(unit=unit, total=total)
            self._change(query)

        self._keep(write)

    def note(self, **answers: Any) -> None:
        """Keep values under keys of the API's answer."""
        for key, value in answers.items():
            change = f"answer = json_set(answer, '$.{key}', json(?))"
            query = f"UPDATE runs SET {change} WHERE kickoff_id = ? AND state IN {_OPEN}"  # noqa: S608 - our own keys
            self._change(query, json_text(value))

    def succeeded(self, tell: Callable[[], None], **answers: Any) -> None:
        """Report the result, unless the run was ended meanwhile.

        :param tell: sends the webhook by `send`. Result and webhook are kept together, or neither is.
        :param answers: values for the API's answer.
        """

        def write() -> None:
            self.note(**answers)
            if self._end("SUCCESS", None):
                tell()

        self._keep(write)

    def failed(self, words: str) -> None:
        """Report why there is no result."""
        self._end("FAILED", words)

    def _end(self, state: str, status: str | None) -> bool:
        query = f"UPDATE runs SET state = ?, status = ?, ended_at = ? WHERE kickoff_id = ? AND state IN {_OPEN}"  # noqa: S608 - a constant
        return self._keep(lambda: self._change(query, state, status, time.time())) == 1

    def usage(self) -> dict[str, int]:
        """Return the counts of tokens and requests that are kept of this run."""
        (row,) = self._all(
            "SELECT coalesce(json_extract(answer, '$.usage_metrics'), '{}') FROM runs WHERE kickoff_id = ?"
        )
        counts: dict[str, int] = json.loads(row[0])
        return counts

    # ---- steps ------------------------------------------------------------------------------------

    def step_started(self, position: int, name: str, agent: str | None, at: float) -> None:
        """Note that a crew task or flow method has begun. If another process begins it again, its first start stays."""
        query = (
            "INSERT INTO steps (position, name, agent, started_at, kickoff_id) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET agent = coalesce(agent, excluded.agent), "
            "started_at = min(started_at, excluded.started_at)"
        )
        self._change(query, position, name, agent, at)

    def step_ended(self, position: int, name: str, agent: str | None, at: float, output: Any) -> None:
        """Note that a step has ended, and its output."""
        query = (
            "INSERT INTO steps (position, name, agent, started_at, ended_at, output, kickoff_id) "
            "VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET ended_at = ?4, output = ?5"
        )
        self._keep(lambda: self._change(query, position, name, agent, at, json_text(output)))

    def step_used(self, position: int, name: str, at: float, tokens: int) -> None:
        """Add tokens to those of a step, which may not have been noted yet."""
        query = (
            "INSERT INTO steps (position, name, started_at, tokens, kickoff_id) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET tokens = coalesce(tokens, 0) + excluded.tokens"
        )
        self._change(query, position, name, at, tokens)

    def finished_steps(self) -> dict[int, dict[str, Any]]:
        """Return the outputs of the steps that earlier processes of this run have finished, by position."""
        rows = self._all("SELECT position, output FROM steps WHERE kickoff_id = ? AND ended_at IS NOT NULL")
        return {position: json.loads(output) for position, output in rows}

    def position(self, name: str) -> int:
        """Return the position of the unfinished step of this name, or else the next free position."""
        rows = self._all("SELECT position FROM steps WHERE kickoff_id = ? AND ended_at IS NULL AND name = ?", name)
        return rows[0][0] if rows else self.steps_begun()

    def at_work(self, agent: str | None) -> None:
        """Note the agent that works on the unfinished step."""
        query = "UPDATE steps SET agent = ? WHERE kickoff_id = ? AND ended_at IS NULL"
        self._change(query, agent)

    def steps_begun(self) -> int:
        """Return how many steps this run has begun so far."""
        count: int = self._all("SELECT count(*) FROM steps WHERE kickoff_id = ?")[0][0]
        return count

    # ---- questions --------------------------------------------------------------------------------

    def ask(
        self,
        kind: str,
        step: int,
        message: str,
        output: str,
        tell: Callable[[str], None],
        options: list[str] | None = None,
        context: Any = None,
    ) -> str:
        """Ask a human, and report that the run waits.

        :param kind: `task`, `flow` or `ask`.
        :param step: the position of the crew task or flow method that asks.
        :param tell: called with the question's id; sends the webhook by `send`. Question and webhook are kept together,
            or neither is.
        :returns: the question's id.
        """
        question_id = str(uuid.uuid4())
        asked = (question_id, kind, step, message, output, json_text(options) if options else None, json_text(context))

        def write() -> None:
            self._change(_ASK, *asked, time.time())
            self._change(f"UPDATE runs SET state = 'PAUSED' WHERE kickoff_id = ? AND state IN {_UNDER_WAY}")  # noqa: S608 - a constant
            tell(question_id)

        self._keep(write)
        return question_id

    def give_up(self, message: str) -> None:
        """Close the oldest open question of a flow's method with this text, since nobody waits for its answer."""
        query = (
            "UPDATE questions SET answered_at = ? WHERE question_id = (SELECT question_id FROM questions WHERE "
            "kind = 'ask' AND message = ? AND answered_at IS NULL AND kickoff_id = ? ORDER BY asked_at LIMIT 1)"
        )
        self._keep(lambda: self._change(query, time.time(), message))

    def is_closed(self, question_id: str) -> bool:
        """Return whether a question needs no answer any more."""
        return bool(
            self._all(
                "SELECT 1 FROM questions WHERE kickoff_id = ? AND question_id = ? AND answered_at IS NOT NULL",
                question_id,
            )
        )

    def question(self, question_id: str) -> AskedQuestion:
        """Return a question."""
        query = f"SELECT {_ASKED} FROM questions WHERE kickoff_id = ? AND question_id = ?"  # noqa: S608 - a constant
        return _asked(self._all(query, question_id)[0])

    def last_question(self) -> AskedQuestion | None:
        """Return the last question of this run, or None."""
        query = f"SELECT {_ASKED} FROM questions WHERE kickoff_id = ? ORDER BY asked_at DESC LIMIT 1"  # noqa: S608 - a constant
        rows = self._all(query)
        return _asked(rows[0]) if rows else None

    def go_on(self) -> bool:
        """Report that the run continues, unless it waits for another answer, too.

        :returns: False if the run was ended meanwhile.
        """
        query = (
            "UPDATE runs SET state = CASE WHEN EXISTS (SELECT 1 FROM questions WHERE kickoff_id = runs.kickoff_id "
            "AND answered_at IS NULL) THEN 'PAUSED' ELSE 'RUNNING' END "
            "WHERE kickoff_id = ? AND state IN ('PAUSED', 'RUNNING')"
        )
        return self._keep(lambda: self._change(query)) == 1

    # ---- webhooks ---------------------------------------------------------------------------------

    def send(self, url: str, headers: dict[str, str], body: dict[str, Any]) -> None:
        """Put a webhook into the outbox. The server delivers it from there.

        While thousands of this run wait for a receiver that does not answer, another one is left out.
        """
        query = (
            "INSERT INTO outbox (url, headers, body, kickoff_id) SELECT ?1, ?2, ?3, ?4 WHERE (SELECT count(*) "
            "FROM outbox WHERE kickoff_id = ?4 AND delivered_at IS NULL AND error IS NULL) < ?5"
        )
        values = (url, json.dumps(headers), json_text(body), self.kickoff_id, self._most_undelivered)
        self._keep(lambda: self._write(query, *values))

    # ---- database ---------------------------------------------------------------------------------

    def _keep(self, write: Callable[[], _T]) -> _T:
        """Write everything or nothing. If that fails, as on a full disk, retry for ten minutes: the run cost money."""
        for pause in _PAUSES:
            try:
                return self._at_once(write)
            except _NotNow:
                traceback.print_exc()
            time.sleep(pause)
        return self._at_once(write)

    def _at_once(self, write: Callable[[], _T]) -> _T:
        with self._lock:
            if self._db.in_transaction:  # a part of a larger write, which is tried again as a whole
                return write()
            try:
                self._db.execute("BEGIN IMMEDIATE")
                written = write()
                self._db.execute("COMMIT")
            except sqlite3.OperationalError as error:
                raise _NotNow(str(error)) from error
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        return written

    def _change(self, query: str, *values: Any) -> int:
        return self._write(query, *values, self.kickoff_id)

    def _write(self, query: str, *values: Any) -> int:
        with self._lock:
            return self._db.execute(query, [*map(storable, values)]).rowcount

    def _all(self, query: str, *values: str) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(query, (self.kickoff_id, *values)).fetchall()


def _asked(row: sqlite3.Row) -> AskedQuestion:
    fields = dict(row)
    approved = None if fields["approved"] is None else bool(fields["approved"])
    return AskedQuestion(**{**fields, "context": json.loads(fields["context"]), "approved": approved})
