"""Hides the differences between Airflow's versions. The only file with version branches."""

from __future__ import annotations

import asyncio
import contextvars
import json
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow import __version__
from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseHook,
    BaseOperator,
    BaseSensorOperator,
    conf,
)

if TYPE_CHECKING:
    from airflow.sdk import Context
else:
    Context = dict

try:
    from airflow.sdk import NEVER_EXPIRE  # type: ignore[attr-defined]  # missing in Airflow's own stub (3.3.2)
except ImportError:  # below 3.3 there is no task state store either
    NEVER_EXPIRE = None

_VERSION = tuple(map(int, __version__.split(".")[:2]))
_BELOW_3_4 = _VERSION < (3, 4)

CLEAR_KEEPS_TASK_STATE = _BELOW_3_4
"""Whether a user's clear keeps the task state store. 3.4 keeps it only if the user ticks "keep task state"."""

CANCELS_MOVED_TRIGGERS = _BELOW_3_4
"""Whether Airflow also calls `on_kill` for a trigger that another triggerer has taken over."""

HAS_TASK_STATE = NEVER_EXPIRE is not None
"""Whether Airflow keeps a state for each task instance over all its tries (3.3+)."""

HAS_REQUIRED_ACTIONS = _VERSION >= (3, 1)
"""Whether a task can ask a person: whether there are Required Actions."""

RESPONSE_WAKES_TASK = _VERSION >= (3, 3)
"""Whether a person's response wakes a deferred task. Below, its trigger must read the response."""

KEEPS_FIRST_FORM = _BELOW_3_4
"""Whether a task instance's Required Action keeps its first subject, body and options when the task asks again."""

HAS_RUN_PAGES = _VERSION >= (3, 1)
"""Whether the api-server can serve the run page: whether plugins may bring FastAPI apps, and a login of Airflow's."""

HAS_TABS_OF_OWN = not _BELOW_3_4
"""Whether a plugin can say on which tasks its tab appears."""

if TYPE_CHECKING:
    from airflow.sdk import RetryDecision, RetryPolicy
else:
    try:
        from airflow.sdk import RetryDecision, RetryPolicy
    except ImportError:  # below 3.3: a task cannot be given a policy, so none is ever asked
        RetryDecision, RetryPolicy = None, object

reschedule: Callable[..., RetryDecision] | None = getattr(RetryDecision, "reschedule", None)
"""Decides that a task tries again later without using up a try, or None below 3.4."""

TRIGGER_FAILED = "__fail__"
"""The `next_method` with which Airflow resumes a task whose trigger failed; it has no public name."""

__all__ = [
    "CANCELS_MOVED_TRIGGERS",
    "CLEAR_KEEPS_TASK_STATE",
    "HAS_REQUIRED_ACTIONS",
    "HAS_RUN_PAGES",
    "HAS_TABS_OF_OWN",
    "HAS_TASK_STATE",
    "KEEPS_FIRST_FORM",
    "NEVER_EXPIRE",
    "RESPONSE_WAKES_TASK",
    "TRIGGER_FAILED",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "AirflowTaskTimeout",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "Context",
    "RetryDecision",
    "RetryPolicy",
    "TaskStateInDatabase",
    "aget_connection",
    "axcom_as_stored",
    "conf",
    "default_deferrable",
    "name_among_states",
    "object_storage_path",
    "on_kill_timeout",
    "put_xcom_in_database",
    "reschedule",
    "shared_secret",
    "state_now",
    "store_xcom",
    "task_states",
    "xcom_as_stored",
    "xcom_in_database",
    "xcom_now",
    "xcom_of",
]


def default_deferrable() -> bool:
    """Return whether operators defer when their author does not say: `[operators] default_deferrable`."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


async def aget_connection(conn_id: str, hook: type[Any]) -> tuple[Any, dict[str, Any]]:
    """Look up a connection from an event loop; return it with its extra.

    A synchronous look-up would raise in a triggerer, because it talks to the supervisor over the same loop.
    """
    from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

    connection = await get_async_connection(conn_id, hook)
    return connection, await get_async_extra_dejson(connection)


def on_kill_timeout() -> float:
    """Return the seconds that Airflow gives a trigger's `on_kill`."""
    return float(conf.getint("triggerer", "on_kill_timeout", fallback=30))


async def task_states(dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, dict[str, str | None]]:
    """Return the states of task instances as they are now. Asks from a triggerer (3.3+).

    :return: per run_id, the states by task id; a mapped task's id is followed by `_` and the map index.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates

    question = GetTaskStates(dag_id=dag_id, task_ids=task_ids, run_ids=run_ids)
    # Awaited, not called in a thread as `RuntimeTaskInstance.get_task_states` requires: all threads may be busy.
    answer: Any = await task_runner.SUPERVISOR_COMMS.asend(question)
    states: dict[str, dict[str, str | None]] = answer.task_states
    return states


async def xcom_now(ti: Any, key: str) -> Any:
    """Return an XCom of a task instance's present try, or None if there is none. Asks from a triggerer (3.3+).

    Reads it through the XCom backend that Airflow is configured with. That may read a file, so it runs in a thread.
    """
    from airflow.sdk.execution_time.xcom import XCom

    names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
    # In a context of its own: 3.4 answers a cancelled trigger's task "not a live attempt" (403), and others as before.
    ask = partial(contextvars.Context().run, XCom.get_one, key=key, **names)
    return await asyncio.get_running_loop().run_in_executor(None, ask)


def state_now(ti: Any) -> str | None:
    """Return a task instance's state as it is now. Asks from the worker that runs it."""
    # The workers of 2.11 read the database themselves.
    if hasattr(ti, "current_state"):
        state: str | None = ti.current_state()
        return state
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    now: str | None = states.get(ti.run_id, {}).get(name_among_states(ti))
    return now


def xcom_of(ti_key: Any, key: str) -> Any:
    """Return an XCom of a task instance, asked from the webserver of Airflow 2.11."""
    from airflow.models.xcom import XCom

    return XCom.get_value(ti_key=ti_key, key=key)


def name_among_states(ti: Any) -> str:
    """Return the name that Airflow uses for a task instance in its answer about states."""
    return ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"


def shared_secret() -> str | None:
    """Return `[api] secret_key`, which all processes of an Airflow share, or None where nobody has set it."""
    import airflow.configuration

    secret: str = conf.get("api", "secret_key", fallback="") or ""
    # Each process makes one up where none is set. Airflow's SDK (3.2+) then returns the template's name, which is known
    # to everybody.
    made_up = ("", "{SECRET_KEY}", getattr(airflow.configuration, "SECRET_KEY", ""))
    return None if secret in made_up else secret


def xcom_as_stored(ti: Any, key: str) -> Any:
    """Return an XCom of a task instance as the database holds it: no XCom backend is asked. Asks from a worker (3.1+).

    :return: the value, or None if there is none.
    """
    from airflow.sdk.execution_time import task_runner

    return getattr(task_runner.SUPERVISOR_COMMS.send(_get_xcom(ti, key)), "value", None)


async def axcom_as_stored(ti: Any, key: str) -> Any:
    """Return the same, asked from a triggerer."""
    from airflow.sdk.execution_time import task_runner

    comms: Any = task_runner.SUPERVISOR_COMMS
    return getattr(await comms.asend(_get_xcom(ti, key)), "value", None)


def _get_xcom(ti: Any, key: str) -> Any:
    from airflow.sdk.execution_time.comms import GetXCom

    return GetXCom(key=key, dag_id=ti.dag_id, run_id=ti.run_id, task_id=ti.task_id, map_index=ti.map_index)


def store_xcom(ti: Any, key: str, value: Any) -> None:
    """Store an XCom of this task as it is, without an XCom backend. Tells it from a worker (3.1+)."""
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import SetXCom

    names = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
    task_runner.SUPERVISOR_COMMS.send(SetXCom(key=key, value=value, **names))


def xcom_in_database(ti: Any, key: str, session: Any) -> Any:
    """Return an XCom of a task instance as the database holds it, or None. Reads the database: in an api-server (3.1+).

    :param ti: has the names of a task instance: dag_id, run_id, task_id and map_index.
    """
    from airflow.models.xcom import XComModel

    names = {"dag_ids": ti.dag_id, "run_id": ti.run_id, "task_ids": ti.task_id, "map_indexes": ti.map_index}
    found: Any = session.scalars(XComModel.get_many(key=key, **names).limit(1)).first()
    return None if found is None else found.value


def put_xcom_in_database(ti: Any, key: str, value: Any, session: Any) -> None:
    """Store an XCom of a task instance, without an XCom backend. Writes the database: in an api-server (3.1+)."""
    from airflow.models.xcom import XComModel

    as_it_is: Any = {"serialize": False} if _VERSION >= (3, 2) else {}  # 3.1 makes a text of it
    names = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
    XComModel.set(key, value, **names, **as_it_is, session=session)


class TaskStateInDatabase:
    """The task state store of a task instance, as an api-server reads and writes it (3.3+)."""

    def __init__(self, ti: Any, session: Any) -> None:
        from airflow.state import TaskScope

        self._scope = TaskScope(ti.dag_id, ti.run_id, ti.task_id, ti.map_index)
        self._session = session

    def get(self, key: str) -> Any:
        """Return the value of a key, or None."""
        from airflow.state import get_state_backend

        text = get_state_backend().get(self._scope, key, session=self._session)
        return None if text is None else json.loads(text)

    def set(self, key: str, value: Any, *, retention: Any) -> None:  # noqa: ARG002 - the signature of Airflow's own
        """Keep a value for ever."""
        from airflow.state import get_state_backend

        get_state_backend().set(self._scope, key, json.dumps(value), session=self._session)


def object_storage_path(path: str) -> Any:
    """Return a path in object storage. Imported late, because it loads fsspec."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path)
