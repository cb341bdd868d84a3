"""Where the record of a task's run is kept: Airflow's task state store, or a path in object storage.

Whatever goes wrong while reading is a `CrewLedgerError`: that is not the same as "there is no record".
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from airflow_provider_crewai._compat import NEVER_EXPIRE, Context, conf, object_storage_path
from airflow_provider_crewai.client.shell import NoStore, Store
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON, JSONObject

KEY = "crewai_run"
"""The record's key in the task state store. It lives in Airflow's database: never change it."""

RECOVERY_IS_OFF = (
    "Recovery is off: this Airflow has no task state store (3.3 has), and [crewai] ledger_path is not set. If this "
    "task is retried, it starts a second run, even where the first still goes on."
)


class TaskStateStore:
    """Airflow's own store (3.3+): shared by the tries of a task instance, and kept over a user's clear."""

    durable = True

    def __init__(self, accessor: Any) -> None:
        self._accessor = accessor

    def load(self) -> JSON:
        """Return the record, or None."""
        try:
            record: JSON = self._accessor.get(KEY)
        except Exception as error:
            raise _unreadable("Airflow's task state store", error) from error
        return record

    def save(self, record: JSONObject | None) -> None:
        """Keep the record for ever (thirty days is Airflow's default); None erases it."""
        try:
            if record is None:
                self._accessor.delete(KEY)
            else:
                self._accessor.set(KEY, record, retention=NEVER_EXPIRE)
        except Exception as error:
            raise _unwritable("Airflow's task state store", error) from error


class PathStore:
    """A file for each task instance below a path in object storage, for Airflow below 3.3."""

    durable = True

    def __init__(self, folder: str, ti: Any) -> None:
        parts = (ti.dag_id, ti.run_id, ti.task_id, str(getattr(ti, "map_index", -1)))
        self._path = object_storage_path(folder).joinpath(
            *(quote(part, safe="").replace(".", "%2E") for part in parts[:-1])
        )
        self._file = self._path / f"{parts[-1]}.json"

    def load(self) -> JSON:
        """Return the record, or None."""
        try:
            # Not `exists()`: it says no on any error (fsspec), and "cannot be read" is not "there is none".
            record: JSON = json.loads(self._file.read_text())
        except FileNotFoundError:
            return None
        except Exception as error:
            raise _unreadable(str(self._file), error) from error
        return record

    def save(self, record: JSONObject | None) -> None:
        """Keep the record; None erases it."""
        try:
            if record is None:
                self._file.unlink(missing_ok=True)
            else:
                self._path.mkdir(parents=True, exist_ok=True)
                self._file.write_text(json.dumps(record))
        except Exception as error:
            raise _unwritable(str(self._file), error) from error


def store_for(context: Context, *, durable: bool) -> Store:
    """Return the store for this task instance, the best that this Airflow has.

    :param durable: False where the author wants each attempt to start anew.
    """
    if not durable:
        return NoStore()
    if accessor := context.get("task_state_store"):
        return TaskStateStore(accessor)
    if folder := conf.get("crewai", "ledger_path", fallback=""):
        return PathStore(folder, context["ti"])
    return NoStore()


def _unreadable(where: str, error: Exception) -> CrewLedgerError:
    return CrewLedgerError(
        f"The record of this task's run cannot be read from {where} ({type(error).__name__}: {error}). No kickoff was "
        "sent, since a run may have been started before. A retry reads it again."
    )


def _unwritable(where: str, error: Exception) -> CrewLedgerError:
    return CrewLedgerError(
        f"The record of this task's run cannot be written to {where} ({type(error).__name__}: {error})."
    )
