"""Keeps the record of a batch, and its pages.

As the record of a run: in Airflow's task state store, in `[crewai] ledger_path`, or in both. A batch needs its record
also between two waves of one try. So where nothing else keeps it, XComs do: Airflow deletes them when a try begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from airflow_provider_crewai.in_airflow.compat import Context
from airflow_provider_crewai.in_airflow.ledger_store import PathFirst, PathStore, places_of
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON

if TYPE_CHECKING:
    from airflow_provider_crewai.client.shell import Store

BATCH = "crewai_batch"
"""The record's key in the task state store. It lives in Airflow's database: never change it."""


class XComStore:
    """XComs of this try: they outlive its deferrals, and no more."""

    durable = survives_clear = survives_success = False

    def __init__(self, ti: Any, key: str = BATCH) -> None:
        self._ti = ti
        self._key = key

    def load(self) -> JSON:
        """Return the record, or None."""
        names = {"task_ids": self._ti.task_id, "map_indexes": getattr(self._ti, "map_index", -1)}
        try:
            record: JSON = self._ti.xcom_pull(key=self._key, **names)
        except Exception as error:
            raise CrewLedgerError(f"The XCom {self._key} cannot be read ({error!r}). Nothing was sent.") from error
        return record

    def save(self, record: JSON) -> None:
        """Keep the record."""
        try:
            self._ti.xcom_push(key=self._key, value=record)
        except Exception as error:
            raise CrewLedgerError(f"The XCom {self._key} cannot be written ({error!r}).") from error

    def beside(self, page: str) -> Store:
        """Return the store of a page, which is an XCom of its own."""
        return XComStore(self._ti, f"{self._key}.{page}")


class PagesElsewhere:
    """A record, and its pages in another place: answers go to the author's `result_path`."""

    def __init__(self, record: Store, pages: Callable[[str], Store]) -> None:
        self._record = record
        self.durable = record.durable
        self.survives_clear = record.survives_clear
        self.survives_success = record.survives_success
        self.load = record.load
        self.save = record.save
        self.beside = pages


class TaskPart:
    """The part of a batch's record that describes it as the record of a run does."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.durable = store.durable
        self.survives_clear = store.survives_clear
        self.survives_success = store.survives_success

    def load(self) -> JSON:
        """Return the record of the batch as a whole, or None."""
        stored = self._store.load()
        return stored.get("task") if isinstance(stored, dict) else None

    def save(self, record: JSON) -> None:
        """Keep it. Where there is no batch, there is nothing to keep it in."""
        stored = self._store.load()
        if isinstance(stored, dict):
            self._store.save({**stored, "task": record})

    def beside(self, page: str) -> Store:
        """Return the store of a page."""
        return self._store.beside(page)


def batch_store_for(context: Context, *, durable: bool, result_path: str | None) -> Store:
    """Return the best store that this Airflow has for a task instance's batch.

    :param durable: False if the author wants each try to start all items.
    :param result_path: the folder for answers, or None.
    """
    ti = context["ti"]
    places = places_of(ti, context.get("task_state_store"), BATCH) if durable else []
    store = PathFirst(*places) if len(places) > 1 else next(iter(places), XComStore(ti))
    return PagesElsewhere(store, lambda page: PathStore(result_path, ti, f"{BATCH}.{page}")) if result_path else store
