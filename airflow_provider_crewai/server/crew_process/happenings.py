"""Keeps what happens in a run, short and in order, so that others can follow it live: `GET /runs/{id}/events`.

The whole of an event goes to those who ask for it by a webhook (`events`). Here its type, time and a few names stay.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import traceback
from datetime import datetime
from typing import Any

from .events import utc
from .storable import storable
from .usage import used_by

KINDS = (
    "CrewKickoffStartedEvent",
    "CrewKickoffCompletedEvent",
    "CrewKickoffFailedEvent",
    "TaskStartedEvent",
    "TaskCompletedEvent",
    "TaskFailedEvent",
    "AgentExecutionStartedEvent",
    "AgentExecutionCompletedEvent",
    "AgentExecutionErrorEvent",
    "LLMCallStartedEvent",
    "LLMCallCompletedEvent",
    "LLMCallFailedEvent",
    "LLMGuardrailFailedEvent",
    "ToolUsageStartedEvent",
    "ToolUsageFinishedEvent",
    "ToolUsageErrorEvent",
    "FlowStartedEvent",
    "FlowFinishedEvent",
    "MethodExecutionStartedEvent",
    "MethodExecutionFinishedEvent",
    "MethodExecutionFailedEvent",
    "ConversationTurnStartedEvent",
    "ConversationTurnCompletedEvent",
    "ConversationTurnFailedEvent",
    "ConversationMessageAddedEvent",
)
"""crewai's events that are kept, where this crewai has them. Chunks of a model's answer would be thousands."""

KEPT = 500
"""How many events of a run are kept: the last ones."""

_LONGEST = 500  # characters of a name or an error
_NAMES = {
    "task": ("task.name", "task_name", "task.description"),
    "agent": ("agent_role", "agent.role", "task.agent.role"),
    "tool": ("tool_name",),
    "model": ("model",),
    "method": ("method_name",),
    "error": ("error",),
}


class Happenings:
    """What happens in one run. Nothing here may fail the run: what cannot be written is left out.

    :param database: the server's sqlite file.
    :param kickoff_id: the run.
    """

    def __init__(self, database: str, kickoff_id: str) -> None:
        self._kickoff_id = kickoff_id
        self._lock = threading.Lock()
        self._db = sqlite3.connect(database, timeout=5, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous=NORMAL")  # a power cut may take the last moments

    def keep(self, event: Any) -> None:
        """Keep an event of crewai's bus. May be called on any thread."""
        try:
            self._keep(event.type, event.timestamp, json.dumps(told(event)))
        except Exception:  # noqa: BLE001 - nice to have, and the run costs money
            traceback.print_exc()

    def _keep(self, kind: str, at: datetime, data: str) -> None:
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                self._write(kind, utc(at), data)
                self._db.execute("COMMIT")
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")

    def _write(self, kind: str, at: str, data: str) -> None:
        run = self._kickoff_id
        self._db.execute(
            "INSERT INTO event_counts VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1", (run, kind)
        )
        self._db.execute(
            "INSERT INTO events SELECT ?1, coalesce(max(number), 0) + 1, ?2, ?3, ?4 FROM events WHERE kickoff_id = ?1",
            (run, kind, at, storable(data)),
        )
        self._db.execute(
            "DELETE FROM events WHERE kickoff_id = ?1 "
            "AND number <= (SELECT max(number) FROM events WHERE kickoff_id = ?1) - ?2",
            (run, KEPT),
        )


def told(event: Any) -> dict[str, Any]:
    """Return what is told of an event: the names in it, its error, and the tokens that a model's call used."""
    said: dict[str, Any] = {name: text for name, ways in _NAMES.items() if (text := _first(event, ways))}
    used = used_by(event) if hasattr(event, "usage") else None
    return said | ({"tokens": used.total_tokens} if used else {})


def _first(event: Any, ways: tuple[str, ...]) -> str:
    return next((text for way in ways if (text := _text_at(event, way))), "")


def _text_at(event: Any, way: str) -> str:
    value = event
    for name in way.split("."):
        value = getattr(value, name, None)
    return " ".join(str(value).split())[:_LONGEST] if value else ""
