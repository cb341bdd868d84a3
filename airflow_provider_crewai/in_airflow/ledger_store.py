"""Keeps the record of a task's run: in Airflow's task state store, in a path in object storage, or in both.

Any error while reading is a `CrewLedgerError`: "cannot be read" is not the same as "there is no record".
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_crewai.client.ledger import Claim
from airflow_provider_crewai.in_airflow.compat import (
    CLEAR_KEEPS_TASK_STATE,
    NEVER_EXPIRE,
    Context,
    conf,
    object_storage_path,
)
from airflow_provider_crewai.in_airflow.object_storage import replace
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON

if TYPE_CHECKING:
    from airflow_provider_crewai.client.shell import Store

KEY = "crewai_run"
"""The record's key in the task state store. It lives in Airflow's database: never change it."""

RECOVERY_IS_OFF = (
    "Recovery is off: this Airflow has no task state store (3.3 and later have one), and [crewai] ledger_path is not "
    "set. If this task is retried, it starts a second run, even if the first one is still going."
)


class TaskStateStore:
    """Airflow's own store (3.3+), shared by all tries of a task instance.

    Airflow 3.3 keeps it after a user's clear; 3.4 discards it unless the user ticks "keep task state".
    """

    durable = True
    survives_clear = CLEAR_KEEPS_TASK_STATE

    def __init__(self, accessor: Any, key: str = KEY) -> None:
        self._accessor = accessor
        self._key = key

    @property
    def survives_success(self) -> bool:
        """Return whether a later try finds the record after the task succeeded."""
        return not conf.getboolean("state_store", "clear_on_success", fallback=False)

    def load(self) -> JSON:
        """Return the record, or None."""
        try:
            record: JSON = self._accessor.get(self._key)
        except Exception as error:
            raise _unreadable("Airflow's task state store", error) from error
        return record

    def save(self, record: JSON) -> None:
        """Keep the record for ever (Airflow's default is thirty days); None erases it."""
        try:
            if record is None:
                self._accessor.delete(self._key)
            else:
                self._accessor.set(self._key, record, retention=NEVER_EXPIRE)
        except Exception as error:
            raise _unwritable("Airflow's task state store", error) from error

    def beside(self, page: str) -> Store:
        """Return the store of a page, which has a key of its own."""
        return TaskStateStore(self._accessor, f"{self._key}.{page}")


class PathStore:
    """One file per task instance and key, below `[crewai] ledger_path` in object storage. A clear never deletes it."""

    durable = survives_clear = survives_success = True

    def __init__(self, folder: str, ti: Any, key: str = KEY) -> None:
        self._folder, self._ti, self._key = folder, ti, key
        parts = (quote(part, safe="").replace(".", "%2E") for part in (ti.dag_id, ti.run_id, ti.task_id))
        name = f"{getattr(ti, 'map_index', -1)}" if key == KEY else f"{getattr(ti, 'map_index', -1)}.{key}"
        self._file = object_storage_path(folder).joinpath(*parts, f"{name}.json")

    def load(self) -> JSON:
        """Return the record, or None."""
        try:
            # Not `exists()`: in fsspec it returns False on any error, but "cannot be read" is not "there is none".
            text = self._file.read_text()
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _unreadable(str(self._file), error) from error
        return _record_in(text, str(self._file))

    def save(self, record: JSON) -> None:
        """Keep the record; None erases it."""
        try:
            if record is None:
                self._file.unlink(missing_ok=True)
            else:
                replace(self._file, json.dumps(record).encode())
        except Exception as error:
            raise _unwritable(str(self._file), error) from error

    def beside(self, page: str) -> Store:
        """Return the store of a page, which is a file of its own."""
        return PathStore(self._folder, self._ti, f"{self._key}.{page}")


class PathFirst:
    """A path, whose record counts, and a copy in the task state store, where people see it in Airflow's UI."""

    durable = survives_clear = survives_success = True

    def __init__(self, path: Store, shown: Store) -> None:
        self._path = path
        self._shown = shown

    def load(self) -> JSON:
        """Return the record, or None."""
        # If the path has no record, the copy counts: it may be older than the setting `ledger_path`.
        record = self._path.load()
        return self._shown.load() if record is None else record

    def save(self, record: JSON) -> None:
        """Keep the record; None erases it."""
        self._path.save(record)
        if record is None:
            self._shown.save(None)
            return
        with suppress(CrewLedgerError):
            self._shown.save(record)

    def beside(self, page: str) -> Store:
        """Return the store of a page. It is in the path alone, because nobody looks for it in Airflow's UI."""
        return self._path.beside(page)


def claim_of(context: Context, crew: str, fingerprint: str, store: Store) -> Claim:
    """Return what this try is about to do, as a record describes it.

    :param crew: the crew's base URL.
    :param fingerprint: of what the try sends.
    """
    ti, dag_run = context["ti"], context.get("dag_run")
    began = getattr(dag_run, "start_date", None)
    return Claim(
        fingerprint,
        crew,
        ti.try_number,
        ti.max_tries or 0,
        dag_run=began.isoformat() if began else "",
        clear_keeps_record=store.survives_clear and store.survives_success,
        clears=getattr(dag_run, "clear_number", None),
    )


def store_for(context: Context, *, durable: bool) -> Store:
    """Return the best store that this Airflow has for this task instance.

    :param durable: False if the author wants each try to start a new run.
    """
    from airflow_provider_crewai.client.shell import NoStore

    if not durable:
        return NoStore()
    places = places_of(context["ti"], context.get("task_state_store"))
    return PathFirst(*places) if len(places) > 1 else next(iter(places), NoStore())


def places_of(ti: Any, accessor: Any, key: str = KEY) -> list[Store]:
    """Return where something is kept beside a task instance over all its tries, the place that counts first.

    :param accessor: reads and writes the task's state in Airflow, or None below 3.3.
    """
    folder = conf.get("crewai", "ledger_path", fallback="")
    path: list[Store] = [PathStore(folder, ti, key)] if folder else []
    return [*path, TaskStateStore(accessor, key)] if accessor else path


def _record_in(text: str, file: str) -> JSON:
    try:
        record: JSON = json.loads(text)
    except ValueError as error:
        raise CrewLedgerError(
            f"The record of this task's run in {file} is not valid JSON ({error}); a crash may have cut it off. No "
            "kickoff was sent, because a run may have been started before: look on the crew's page, then delete the "
            "file. Until then every retry fails in the same way."
        ) from error
    return record


def _unreadable(where: str, error: Exception) -> CrewLedgerError:
    return CrewLedgerError(
        f"The record of this task's run cannot be read from {where} ({type(error).__name__}: {error}). No kickoff was "
        "sent, because a run may have been started before. A retry reads the record again."
    )


def _unwritable(where: str, error: Exception) -> CrewLedgerError:
    return CrewLedgerError(
        f"The record of this task's run cannot be written to {where} ({type(error).__name__}: {error})."
    )
