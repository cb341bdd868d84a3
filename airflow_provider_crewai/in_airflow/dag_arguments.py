"""Tells an author of a Dag, when it is parsed, which argument of a task is wrong: money is spent much later.

Airflow stores a Dag with its literals in its database. On PostgreSQL a single NUL in them ends the dag processor of the
whole site, and does so again after each restart. What a template or another task gives is judged when the task runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import cache
from inspect import unwrap
from typing import Any, ClassVar, Self

from airflow_provider_crewai.client.rendered import as_inputs, as_items, is_nothing
from airflow_provider_crewai.in_airflow.answer_files import check_size
from airflow_provider_crewai.in_airflow.compat import BaseOperator
from airflow_provider_crewai.in_airflow.config import UNSET
from airflow_provider_crewai.in_airflow.limits import check_interval, check_limit, check_patience
from airflow_provider_crewai.in_airflow.people import CHECKS
from airflow_provider_crewai.wire.errors import CrewConfigError
from airflow_provider_crewai.wire.values import check_written

_TEMPLATE = re.compile(r"\{[{%#]|[<(\[%@]{2}|<%|\$\{")
"""How a template may begin: as Jinja's own, or as a Dag with other delimiters may write it."""


def check_names(kind: type, task_id: object, given: Iterable[str]) -> None:
    """Refuse arguments that an operator does not take, and say which one was probably meant.

    :param kind: the operator's class.
    :raises TypeError: there is such an argument, as in any call.
    """
    known = _names(kind)
    if unknown := [name for name in given if name not in known and not name.startswith("_")]:
        from airflow_provider_crewai.client.inputs import near_misses

        meant = ", ".join(near_misses(unknown, sorted(known)).values())
        cure = f" Did you mean {meant}?" if meant else ""
        raise TypeError(f"Task {task_id!r}: {kind.__name__} takes no argument {', '.join(unknown)}.{cure}")


@cache
def _names(kind: type) -> frozenset[str]:
    """Return the arguments of a class and its bases. Not by `inspect.signature`, which takes a hundred times longer."""
    inits = (unwrap(vars(each)["__init__"]) for each in kind.__mro__ if "__init__" in vars(each))
    codes = [init.__code__ for init in inits if hasattr(init, "__code__")]
    return frozenset(name for code in codes for name in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount])


def check_fields(task_id: str, values: Mapping[str, Any], fields: Collection[str]) -> None:
    """Refuse arguments that no database can hold. Leaves references that Airflow resolves later alone.

    :param fields: the names of the templated arguments, which Airflow stores.
    :raises ValueError: there is such an argument; the message names the task, the argument and the path.
    """
    for name in fields:
        with _Naming(task_id):
            check_written(values.get(name), name)


def check_inputs(task_id: str, name: str, value: object) -> None:
    """Refuse inputs that can never be a JSON object. A template may become one, and so may another task's output.

    :raises ValueError: they cannot; the message names the task and the argument.
    """
    is_wrong_text = isinstance(value, str) and not _TEMPLATE.search(value)
    if (is_wrong_text and not is_nothing(value)) or isinstance(value, list | tuple | int | float):
        with _Naming(task_id):
            as_inputs(value, name)


def check_items(task_id: str, name: str, value: object) -> None:
    """Refuse the inputs of a batch that can never be a list of JSON objects. What comes from elsewhere may become one.

    :raises ValueError: they cannot; the message names the task and the argument.
    """
    if isinstance(value, list | tuple):
        for index, item in enumerate(value):
            check_inputs(task_id, f"{name}[{index}]", item)
        return
    is_wrong_text = isinstance(value, str) and not _TEMPLATE.search(value) and not is_nothing(value)
    if is_wrong_text or isinstance(value, Mapping | int | float):
        with _Naming(task_id):
            as_items(value, name)


def check_flag(task_id: str, name: str, value: object) -> None:
    """Refuse what is neither True nor False, such as the text "false", which Python takes for True.

    :raises ValueError: names the task and the argument.
    """
    if not isinstance(value, bool | None):
        raise ValueError(f"Task {task_id!r}: {name} is {value!r}; set it to True or False.")  # noqa: TRY004 - as all others


Check = Callable[[str, str, Any], None]
"""Gets the task's id, the argument's name and its value; raises ValueError."""

_CHECKS: dict[str, Check] = {
    "inputs": check_inputs,
    "poll_interval": check_interval,
    "max_poll_interval": check_interval,
    "unreachable_timeout": check_patience,
    "timeout": check_limit,
    "execution_timeout": check_limit,
    "max_xcom_bytes": check_size,
    **dict.fromkeys(("deferrable", "durable", "wait_for_completion", "validate_inputs", "human_input"), check_flag),
    **CHECKS,
}


def check_values(task_id: str, values: Mapping[str, Any], own: Mapping[str, Check] | None = None) -> None:
    """Refuse arguments of a kind that they cannot have, such as a number that is written as a text.

    :param own: the checks of arguments that mean something else in this operator than in the others.
    :raises ValueError: there is one; the message names the task and the argument.
    """
    checks = _CHECKS | dict(own or {})
    for name in checks.keys() & values.keys():
        if values[name] is not UNSET:
            checks[name](task_id, name, values[name])


class _Naming:
    """Turns our error about an argument into one that names the task, as an error of a Dag file must."""

    def __init__(self, task_id: str) -> None:
        self._task_id = task_id

    def __enter__(self) -> None:
        pass

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, CrewConfigError):
            why = str(error).removesuffix(" Nothing was sent.")
            raise ValueError(f"Task {self._task_id!r}: {why}") from None  # noqa: TRY004 - it is not about types


def checked(partial: Any) -> Any:
    """Make what `Operator.partial()` returned check its arguments when it is expanded: no task is made at that time."""
    # Airflow has no hook for this, and the class differs between its versions.
    partial.__class__ = _checked_kind(type(partial))
    return partial


def _checked_kind(kind: Any) -> Any:
    class CheckedPartial(kind):  # type: ignore[misc]  # known at run time only
        __slots__ = ()

        def expand(self, **mapped: Any) -> Any:
            check_names(self.operator_class, self.kwargs["task_id"], mapped)
            return super().expand(**mapped)

        def _expand(self, expand_input: Any, **how: Any) -> Any:
            self._expand_called = True  # type: ignore[misc]  # Airflow's slot; without it Airflow warns that nobody expanded
            task_id = self.kwargs["task_id"]
            own = self.operator_class.own_checks
            check_values(task_id, self.kwargs, own)
            for values in (self.kwargs, *_by_name(expand_input.value)):
                check_fields(task_id, values, self.operator_class.template_fields)
            for values in _one_by_one(expand_input.value):
                check_names(self.operator_class, task_id, values)
                check_values(task_id, values, own)
            return super()._expand(expand_input, **how)

    return CheckedPartial


def _by_name(mapped: Any) -> list[Mapping[str, Any]]:
    return [mapped] if isinstance(mapped, Mapping) else _plain_items(mapped)


def _one_by_one(mapped: Any) -> Iterator[Mapping[str, Any]]:
    """Yield what is written out of the arguments of each mapped task."""
    if not isinstance(mapped, Mapping):
        yield from _plain_items(mapped)
        return
    for name, values in mapped.items():
        if isinstance(values, list | tuple):
            yield from ({name: value} for value in values)


def _plain_items(mapped: Any) -> list[Mapping[str, Any]]:
    return [item for item in mapped if isinstance(item, Mapping)] if isinstance(mapped, list | tuple) else []


class ChecksArguments(BaseOperator):
    """Base of the tasks whose wrong arguments are refused when the Dag is parsed, mapped or not."""

    own_checks: ClassVar[Mapping[str, Check]] = {}
    """The checks of arguments that mean something else in this operator than in the others."""

    is_written_out: bool = True
    """Whether the arguments are what the Dag's author wrote."""

    def __new__(cls, **kwargs: Any) -> Self:
        """Refuse unknown arguments before Airflow does: it does not say which one was meant."""
        check_names(cls, kwargs.get("task_id"), kwargs)
        task = super().__new__(cls)
        # Airflow makes a mapped task when it runs, of what other tasks gave: nobody wrote that; `execute` judges it.
        object.__setattr__(task, "is_written_out", not kwargs.get("_airflow_from_mapped", False))
        return task

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map the task. As without mapping, wrong arguments are refused when the Dag is parsed."""
        check_names(cls, kwargs.get("task_id"), kwargs)
        return checked(super().partial(**kwargs))
