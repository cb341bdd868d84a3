"""Can Airflow store what the author of a Dag wrote? Asked when the Dag is parsed.

A Dag is kept in Airflow's database with its literals. On PostgreSQL one NUL among them ends the dag processor of the
whole site, again at each restart.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.values import check_written


def check_fields(task_id: str, values: Mapping[str, Any], fields: Collection[str]) -> None:
    """Refuse arguments that hold what no database takes. References that Airflow resolves later are not touched.

    :param fields: the templated ones, which Airflow keeps.
    :raises ValueError: names the task, the argument and the path.
    """
    for name in fields:
        try:
            check_written(values.get(name), name)
        except CrewConfigError as error:
            raise ValueError(f"Task {task_id!r}: {str(error).removesuffix(' Nothing was sent.')}") from None


def checked(partial: Any) -> Any:
    """Return what `Operator.partial()` returned, which checks its arguments as it is expanded: no task is made then."""
    # It has no hook of its own, and its kind is not the same in all versions of Airflow.
    partial.__class__ = _checked_kind(type(partial))
    return partial


def _checked_kind(kind: Any) -> Any:
    class CheckedPartial(kind):  # type: ignore[misc]  # known at run time only
        __slots__ = ()

        def _expand(self, expand_input: Any, **how: Any) -> Any:
            self._expand_called = True  # type: ignore[misc]  # a slot of Airflow's, which warns where nobody expands
            mapped = expand_input.value
            for values in (self.kwargs, *([mapped] if isinstance(mapped, Mapping) else _plain_items(mapped))):
                check_fields(self.kwargs["task_id"], values, self.operator_class.template_fields)
            return super()._expand(expand_input, **how)

    return CheckedPartial


def _plain_items(mapped: Any) -> list[Mapping[str, Any]]:
    return [item for item in mapped if isinstance(item, Mapping)] if isinstance(mapped, list | tuple) else []
