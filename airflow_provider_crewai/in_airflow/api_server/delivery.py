"""Where does a call belong, and may it be put there? Works in Airflow's database, so never in the event loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import and_, select

from airflow_provider_crewai.client.shell import Store
from airflow_provider_crewai.in_airflow.compat import (
    HAS_TASK_STATE,
    TaskStateInDatabase,
    put_xcom_in_database,
    xcom_in_database,
)
from airflow_provider_crewai.in_airflow.ledger_store import KEY, places_of
from airflow_provider_crewai.in_airflow.mailbox import Change, with_question, with_start
from airflow_provider_crewai.in_airflow.signed_urls import Claims
from airflow_provider_crewai.in_airflow.xcom import CALLS_HOME, CREW_QUESTION, CREW_RUN, KICKOFF_ID
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.webhook_calls import Asked

log = logging.getLogger(__name__)

OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""The states of a task instance in which nobody waits for a run."""


class UndeliverableError(Exception):
    """A call that belongs to no task that can use it; says why."""


@dataclass(frozen=True, slots=True)
class Names:
    """Which task instance it is."""

    dag_id: str
    run_id: str
    task_id: str
    map_index: int


def deliver_question(claims: Claims, asked: Asked, now: float) -> bool:
    """Put a question where its task finds it. Return whether it was new.

    :raises UndeliverableError: no task waits for the answer, or it waits for another run.
    """
    with _task(claims) as (ti, state, session):
        if state not in OVER:
            kickoff_id = _run_of(claims, ti, session) or asked.kickoff_id
            return _keep(ti, CREW_QUESTION, with_question(kickoff_id, asked.question, now), session)
    return deliver_to_who_waits(asked, now)


def deliver_to_who_waits(asked: Asked, now: float) -> bool:
    """Put a question where each task finds it that waits for the run. Return whether it was new to any.

    :raises UndeliverableError: no task waits for it.
    """
    with create_session() as session:
        waiting = _waiting_for(asked.kickoff_id, session)
        if not waiting:
            raise UndeliverableError("no task waits for its run")
        change = with_question(asked.kickoff_id, asked.question, now)
        new = [_keep(ti, CREW_QUESTION, change, session) for ti in waiting if _locked(ti, session)]
    return any(new)


def deliver_start(claims: Claims, kickoff_id: str, now: float) -> bool:
    """Put the name of a run where the task that started it finds it. Return whether it was new.

    :raises UndeliverableError: there is no such task.
    """
    with _task(claims) as (ti, _, session):
        return _keep(ti, CALLS_HOME, with_start(claims.sent, kickoff_id, claims.try_number, now), session)


@contextmanager
def _task(claims: Claims) -> Iterator[tuple[Names, str | None, Any]]:
    """Yield the task instance that a URL is for, its state and a session. Nobody else changes it meanwhile."""
    names = Names(claims.dag_id, claims.run_id, claims.task_id, claims.map_index)
    with create_session() as session:
        found = _locked(names, session)
        if found is None:
            raise UndeliverableError("its task is gone")
        yield names, found.state, session


def _locked(ti: Names, session: Any) -> Any:
    """Return the row of a task instance, which nobody else changes until the session ends, or None."""
    query = select(TaskInstance.state).where(
        TaskInstance.dag_id == ti.dag_id,
        TaskInstance.run_id == ti.run_id,
        TaskInstance.task_id == ti.task_id,
        TaskInstance.map_index == ti.map_index,
    )
    return session.execute(query.with_for_update()).first()


def _waiting_for(kickoff_id: str, session: Any) -> list[Names]:
    """Return the task instances that wait for a run, by what they have pushed: no database compares JSON alike."""
    from airflow.models.xcom import XComModel  # made on first use from Airflow 3.4 on

    same = [getattr(XComModel, name) == getattr(TaskInstance, name) for name in Names.__slots__]
    pushed = select(XComModel, TaskInstance.state).join(TaskInstance, and_(*same))
    rows = session.execute(pushed.where(XComModel.key.in_((KICKOFF_ID, CREW_RUN)), TaskInstance.state.not_in(OVER)))
    found = [Names(x.dag_id, x.run_id, x.task_id, x.map_index) for x, _ in rows if _names(x.value, kickoff_id)]
    return list(dict.fromkeys(found))


def _names(pushed: JSON, kickoff_id: str) -> bool:
    return kickoff_id == (pushed.get("kickoff_id") if isinstance(pushed, dict) else pushed)


def _run_of(claims: Claims, ti: Names, session: Any) -> str | None:
    """Return the run that the URL's kickoff started, or None as long as it is not on record.

    The URL alone says which run it is: after a human's answer, the service calls a run by another id.

    :raises UndeliverableError: the task waits for the run of another kickoff.
    """
    record = next(_kept_in(_places(ti, KEY, session)), {})
    if record.get("at", claims.sent) != claims.sent:
        raise UndeliverableError("its task waits for another run")
    run = record.get("kickoff_id")
    return run if isinstance(run, str) else None


def _keep(ti: Names, key: str, change: Change, session: Any) -> bool:
    """Change what is kept, in each place. Return whether that was new anywhere.

    A path may be out of the api-server's reach; the database is not.
    """
    changed = False
    for place in _places(ti, key, session):
        try:
            changed = _put(place, change) or changed
        except CrewLedgerError as error:
            log.warning("A call of a deployment is not kept beside the record of %s: %s", ti, error)
    return _put(_XCom(ti, key, session), change) or changed


def _kept_in(places: list[Store]) -> Iterator[JSONObject]:
    """Yield what each place has kept, if it is within the api-server's reach."""
    for place in places:
        with suppress(CrewLedgerError):
            if isinstance(kept := place.load(), dict):
                yield kept


def _put(place: Any, change: Change) -> bool:
    new = change(place.load())
    if new is None:
        return False
    place.save(new)
    return True


def _places(ti: Names, key: str, session: Any) -> list[Store]:
    return places_of(ti, TaskStateInDatabase(ti, session) if HAS_TASK_STATE else None, key)


class _XCom:
    """A place for what the present try is told."""

    def __init__(self, ti: Names, key: str, session: Any) -> None:
        self._at = ti, key
        self._session = session

    def load(self) -> JSON:
        """Return what is kept, or None."""
        kept: JSON = xcom_in_database(*self._at, self._session)
        return kept

    def save(self, kept: JSON) -> None:
        """Keep it."""
        put_xcom_in_database(*self._at, kept, self._session)
