"""Checks, when the Dag is parsed, that Airflow can store what its author wrote.

Airflow stores a Dag with its literals in its database. On PostgreSQL a single NUL in them ends the dag processor of the
whole site, and does so again after each restart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.values import check_written


def check_fields(task_id: str, values: Mapping[str, Any], fields: Collection[str]) -> None:
    """Refuse arguments that no database can hold. Leaves references that Airflow resolves later alone.

    :param fields: the names of the templated arguments, which Airflow stores.
    :raises ValueError: there is such an argument; the message names the task, the argument and the path.
    """
    for name in fields:
        try:
            check_written(values.get(name), name)
        except CrewConfigError as error:
            raise ValueError(f"Task {task_id!r}: {str(error).removesuffix(' Nothing was sent.')}") from None


def checked(partial: Any) -> Any:
    """Make what `Operator.partial()` returned check its arguments when it is expanded: no task is made at that time."""
    # Airflow has no hook for this, and the class differs between its versions.
    partial.__class__ = _checked_kind(type(partial))
    return partial


def _checked_kind(kind: Any) -> Any:
    class CheckedPartial(kind):  # type: ignore[misc]  # known at run time only
        __slots__ = ()

        def _expand(self, expand_input: Any, **how: Any) -> Any:
            self._expand_called = True  # type: ignore[misc]  # Airflow's slot; without it Airflow warns that nobody expanded
            mapped = expand_input.value
            for values in (self.kwargs, *([mapped] if isinstance(mapped, Mapping) else _plain_items(mapped))):
                check_fields(self.kwargs["task_id"], values, self.operator_class.template_fields)
            return super()._expand(expand_input, **how)

    return CheckedPartial


def _plain_items(mapped: Any) -> list[Mapping[str, Any]]:
    return [item for item in mapped if isinstance(item, Mapping)] if isinstance(mapped, list | tuple) else []
