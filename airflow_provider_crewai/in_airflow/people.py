"""Who may respond to a crew's questions, how long may they take, and who is told? Checked when the Dag is parsed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.in_airflow.limits import check_limit

Notifier = Callable[[Any], Any]
Notifiers = Notifier | Sequence[Notifier]

_NEED_HUMAN_INPUT = {
    "assigned_users": None,
    "human_timeout": None,
    "on_human_timeout": defaults.ON_HUMAN_TIMEOUT,
    "on_question": (),
}
"""The arguments that mean nothing without `human_input`, and their defaults."""


def check_people(task: Any) -> None:
    """Refuse arguments about people and questions that are not valid.

    :raises ValueError: there is one; the message names the task and the argument.
    """
    for name, check in CHECKS.items():
        check(task.task_id, name, getattr(task, name))
    if task.is_written_out and not task.human_input:
        for name, default in _NEED_HUMAN_INPUT.items():
            if getattr(task, name) != default:
                raise ValueError(
                    f"Task {task.task_id!r}: {name} has no effect without human_input=True; set that, too."
                )


def users(assigned: Sequence[str | Mapping[str, str]] | None) -> list[dict[str, str]]:
    """Return who may respond, as Airflow wants it: ids and names."""
    given = [{"id": each, "name": each} if isinstance(each, str) else each for each in assigned or ()]
    return [{"id": each["id"], "name": each["name"]} for each in given]


def notifiers(given: Notifiers) -> tuple[Notifier, ...]:
    """Return all who are told of a question."""
    return (given,) if callable(given) else tuple(given)


def _check_users(task_id: str, name: str, value: object) -> None:
    is_list = isinstance(value, list | tuple) and all(map(_is_user, value))
    if value is not None and not is_list:
        raise ValueError(
            f"Task {task_id!r}: {name} is {value!r}; set it to a list of user ids, or of objects with 'id' and 'name'."
        )


def _is_user(value: object) -> bool:
    if isinstance(value, Mapping):
        return value.keys() == {"id", "name"} and all(isinstance(text, str) and text for text in value.values())
    return isinstance(value, str) and bool(value)


def _check_option(task_id: str, name: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"Task {task_id!r}: {name} is {value!r}; set it to 'fail' or to an option, such as 'Approve'.")


def _check_notifiers(task_id: str, name: str, value: object) -> None:
    is_list = isinstance(value, list | tuple) and all(map(callable, value))
    if not (callable(value) or is_list):
        raise ValueError(f"Task {task_id!r}: {name} is {value!r}; set it to a notifier or a list of notifiers.")


CHECKS: dict[str, Callable[[str, str, Any], None]] = {
    "assigned_users": _check_users,
    "human_timeout": check_limit,
    "on_human_timeout": _check_option,
    "on_question": _check_notifiers,
}
"""How each of these arguments is checked."""
