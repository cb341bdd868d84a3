"""Which Airflow is this? The only file with version branches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
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

TRIGGER_FAILED = "__fail__"
"""The `next_method` with which Airflow resumes a task whose trigger failed; it has no public name."""

__all__ = [
    "TRIGGER_FAILED",
    "AirflowFailException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "BaseHook",
    "BaseOperator",
    "BaseSensorOperator",
    "NEVER_EXPIRE",
    "Context",
    "aget_connection",
    "conf",
    "default_deferrable",
    "object_storage_path",
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


def object_storage_path(path: str) -> Any:
    """Return a path in object storage; imported late since it loads fsspec."""
    from airflow.providers.common.compat.sdk import ObjectStoragePath

    return ObjectStoragePath(path)
