"""Which Airflow is this? The only file with version branches."""

from __future__ import annotations

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

CLEAR_KEEPS_TASK_STATE = tuple(map(int, __version__.split(".")[:2])) < (3, 4)
"""Whether a user's clear keeps the task state store. 3.4 keeps it only where the user ticks "keep task state"."""

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
    "object_storage_path",
    "state_now",
    "task_now",
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


async def task_now(ti: Any, xcom_key: str) -> tuple[str | None, Any]:
    """Return a task instance's state and one of its XComs as they are now, asked from a triggerer (3.3+)."""
    from airflow.sdk.bases.xcom import BaseXCom
    from asgiref.sync import sync_to_async

    state = await sync_to_async(_state)(ti)
    xcom = await BaseXCom.aget_one(
        key=xcom_key, dag_id=ti.dag_id, task_id=ti.task_id, run_id=ti.run_id, map_index=ti.map_index
    )
    return state, xcom


def state_now(ti: Any) -> str | None:
    """Return a task instance's state as it is now, asked from the worker that runs it."""
    # 2.11 has workers that read the database themselves.
    return ti.current_state() if hasattr(ti, "current_state") else _state(ti)


def _state(ti: Any) -> str | None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    states = RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    return next(iter(states.get(ti.run_id, {}).values()), None)


def object_storage_path(path: str) -> Any:
    """Return a path in object storage; imported late since it loads fsspec."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path)
