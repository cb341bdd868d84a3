"""What have calls of a deployment brought for a task? The api-server puts it in, the task and its trigger read it.

Questions lie in an XCom, because a trigger can read XComs in each version of Airflow. A retry loses its XComs, so they
lie beside the record of the task's run as well, and so does the call that names a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, fields
from functools import partial
from typing import Any

from airflow_provider_crewai.in_airflow.compat import (
    HAS_RUN_PAGES,
    Context,
    axcom_as_stored,
    store_xcom,
    xcom_as_stored,
)
from airflow_provider_crewai.in_airflow.ledger_store import places_of
from airflow_provider_crewai.in_airflow.xcom import CALLS_HOME, CREW_QUESTION
from airflow_provider_crewai.wire.codec import fault_of_id
from airflow_provider_crewai.wire.model import JSON, JSONObject, Question

MOST_ENTRIES = 20
"""The most entries that are kept of a kind: the newest."""

Change = Callable[[JSON], JSON]
"""Gets what is kept, and returns what to keep instead, or None if nothing is new."""


def questions(context: Context, kickoff_id: str) -> tuple[Question, ...] | None:
    """Return what webhooks say that a run asked, the newest last, or None if that cannot be read now.

    Asks from a worker. What an earlier try was told is put where the trigger of this try sees it.
    """
    if not HAS_RUN_PAGES:
        return ()
    ti = context["ti"]
    try:
        seen = _questions_in(kept := xcom_as_stored(ti, CREW_QUESTION), kickoff_id)
        found = {question.key: question for question in (*_from_earlier_tries(context, kickoff_id), *seen)}
        if len(found) > len({question.key for question in seen}):
            for question in found.values():
                kept = with_question(kickoff_id, question, 0.0)(kept) or kept
            store_xcom(ti, CREW_QUESTION, kept)
    except Exception:  # noqa: BLE001 - Airflow's and object storage's errors are of any class
        return None
    return tuple(found.values())


def called_home(context: Context, sent: float) -> str | None:
    """Return the run that has called home about a kickoff, or None. Asks from a worker.

    :param sent: the epoch second that the record gives for the kickoff.
    """
    ti = context["ti"]
    reads = [place.load for place in places_of(ti, context.get("task_state_store"), CALLS_HOME)]
    return _caller(sent, [*reads, partial(xcom_as_stored, ti, CALLS_HOME)])


def _caller(sent: float, reads: list[Callable[[], JSON]]) -> str | None:
    for read in reads:
        with suppress(Exception):  # Airflow's and object storage's; another place may still say it
            for entry in _entries(read()):
                if entry.get("kickoff_sent_at") == sent and not fault_of_id(name := str(entry.get("kickoff_id"))):
                    return name
    return None


async def aquestions(ti: Any, kickoff_id: str) -> tuple[Question, ...] | None:
    """Return the same, asked from a triggerer."""
    if not HAS_RUN_PAGES:
        return ()
    try:
        return _questions_in(await axcom_as_stored(ti, CREW_QUESTION), kickoff_id)
    except Exception:  # noqa: BLE001 - for the same reason
        return None


def with_question(kickoff_id: str, question: Question, at: float) -> Change:
    """Return how a question changes what is kept: one that is there already changes nothing."""

    def change(kept: JSON) -> JSON:
        entries = _entries(kept)
        if any((entry.get("kickoff_id"), entry.get("key")) == (kickoff_id, question.key) for entry in entries):
            return None
        entry: JSONObject = {"kickoff_id": kickoff_id, "key": question.key, "at": at, **_as_json(question)}
        return _newest(entries, entry)

    return change


def with_start(sent: float, kickoff_id: str, try_number: int, at: float) -> Change:
    """Return how a call that names a run changes what is kept. The first call about a kickoff counts."""

    def change(kept: JSON) -> JSON:
        entries = _entries(kept)
        if any(entry.get("kickoff_sent_at") == sent for entry in entries):
            return None
        entry: JSONObject = {"kickoff_sent_at": sent, "kickoff_id": kickoff_id, "try_number": try_number, "at": at}
        return _newest(entries, entry)

    return change


def _from_earlier_tries(context: Context, kickoff_id: str) -> list[Question]:
    places = places_of(context["ti"], context.get("task_state_store"), CREW_QUESTION)
    return [each for place in places for each in _questions_in(place.load(), kickoff_id)]


def _questions_in(kept: JSON, kickoff_id: str) -> tuple[Question, ...]:
    return tuple(_question(entry) for entry in _entries(kept) if entry.get("kickoff_id") == kickoff_id)


def _entries(kept: JSON) -> list[JSONObject]:
    if isinstance(kept, str):  # Airflow 3.1 keeps the text
        kept = json.loads(kept)
    return [entry for entry in kept if isinstance(entry, dict)] if isinstance(kept, list) else []


def _newest(entries: list[JSONObject], entry: JSONObject) -> JSON:
    newest: JSON = [*entries, entry][-MOST_ENTRIES:]  # type: ignore[assignment]  # an object is JSON
    return newest


def _question(entry: JSONObject) -> Question:
    known = {field.name: entry[field.name] for field in fields(Question) if field.name in entry}
    return Question(**{name: tuple(value) if isinstance(value, list) else value for name, value in known.items()})  # type: ignore[arg-type]  # as we wrote it


def _as_json(question: Question) -> JSONObject:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(question).items()}
