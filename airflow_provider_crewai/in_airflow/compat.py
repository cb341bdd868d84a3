"""Which Airflow is this? The only file with version branches."""

from __future__ import annotations

import asyncio
import contextvars
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

_BELOW_3_4 = tuple(map(int, __version__.split(".")[:2])) < (3, 4)

CLEAR_KEEPS_TASK_STATE = _BELOW_3_4
"""Whether a user's clear keeps the task state store. 3.4 keeps it only where the user ticks "keep task state"."""

CANCELS_MOVED_TRIGGERS = _BELOW_3_4
"""Whether `on_kill` is called also for a trigger that another triggerer has taken over."""

if TYPE_CHECKING:
    from airflow.sdk import RetryDecision, RetryPolicy
else:
    try:
        from airflow.sdk import RetryDecision, RetryPolicy
    except ImportError:  # below 3.3: a task cannot be given a policy, so none is ever asked
        RetryDecision, RetryPolicy = None, object

TRIGGER_FAILED = "__fail__"
"""The `next_method` with which Airflow resumes a task whose trigger failed; it has no public name."""

__all__ = [
    "CANCELS_MOVED_TRIGGERS",
    "CLEAR_KEEPS_TASK_STATE",
    "NEVER_EXPIRE",
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
    "aget_connection",
    "conf",
    "default_deferrable",
    "name_among_states",
    "object_storage_path",
    "on_kill_timeout",
    "state_now",
    "task_states",
    "xcom_now",
]


def default_deferrable() -> bool:
    """Whether operators defer where their author says nothing: `[operators] default_deferrable`."""
    return bool(conf.getboolean("operators", "default_deferrable", fallback=False))


async def aget_connection(conn_id: str, hook: type[Any]) -> tuple[Any, dict[str, Any]]:
    """Look a connection up from an event loop; returns it with its extra.

    A synchronous look-up raises in a triggerer: it talks to a supervisor over the same loop.
    """
    from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson

    connection = await get_async_connection(conn_id, hook)
    return connection, await get_async_extra_dejson(connection)


def on_kill_timeout() -> float:
    """Seconds that Airflow gives a trigger's `on_kill`."""
    return float(conf.getint("triggerer", "on_kill_timeout", fallback=30))


async def task_states(dag_id: str, task_ids: list[str], run_ids: list[str]) -> dict[str, dict[str, str | None]]:
    """Return the states of task instances as they are now, asked from a triggerer (3.3+).

    :return: for each Dag run, by the task's id, with `_` and the map index where it is mapped.
    """
    from airflow.sdk.execution_time import task_runner
    from airflow.sdk.execution_time.comms import GetTaskStates

    question = GetTaskStates(dag_id=dag_id, task_ids=task_ids, run_ids=run_ids)
    # Awaited, not asked from a thread as `RuntimeTaskInstance.get_task_states` would have it: threads may all be busy.
    answer: Any = await task_runner.SUPERVISOR_COMMS.asend(question)
    states: dict[str, dict[str, str | None]] = answer.task_states
    return states


async def xcom_now(ti: Any, key: str) -> Any:
    """Return an XCom of a task instance's present try, asked from a triggerer (3.3+); None where there is none.

    It is read through the backend that Airflow is configured with. That may read a file, so it is done in a thread.
    """
    from airflow.sdk.execution_time.xcom import XCom

    names = {"dag_id": ti.dag_id, "task_id": ti.task_id, "run_id": ti.run_id, "map_index": ti.map_index}
    # In a context of its own: 3.4 answers a cancelled trigger's task "not a live attempt" (403), and others as before.
    ask = partial(contextvars.Context().run, XCom.get_one, key=key, **names)
    return await asyncio.get_running_loop().run_in_executor(None, ask)


def state_now(ti: Any) -> str | None:
    """Return a task instance's state as it is now, asked from the worker that runs it."""
    # 2.11 has workers that read the database themselves.
    if hasattr(ti, "current_state"):
        state: str | None = ti.current_state()
        return state
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    now: str | None = states.get(ti.run_id, {}).get(name_among_states(ti))
    return now


def name_among_states(ti: Any) -> str:
    """Return the name under which Airflow tells the state of a task instance."""
    return ti.task_id if ti.map_index is None or ti.map_index < 0 else f"{ti.task_id}_{ti.map_index}"


def object_storage_path(path: str) -> Any:
    """Return a path in object storage; imported late since it loads fsspec."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path)
