"""Reads a crew's answer in the task that uses it."""

from __future__ import annotations

from typing import Any, TypeVar, overload

from airflow_provider_crewai.in_airflow.answer_files import fetch, is_manifest
from airflow_provider_crewai.wire.model import JSON

T = TypeVar("T")


@overload
def read_answer(xcom: Any) -> JSON: ...
@overload
def read_answer(xcom: Any, output_type: type[T]) -> T: ...
@overload
def read_answer(xcom: Any, output_type: Any) -> Any: ...
def read_answer(xcom: Any, output_type: Any = None) -> Any:
    """Return the answer of a task that ran a crew, wherever it is kept.

    :param xcom: what the task returned: the answer, or the manifest of the file that holds it (see `result_path`).
    :param output_type: read the answer as this type, such as a pydantic model: the task's own `output_type`, as a rule.
    :return: the answer as JSON, or as an object of the type.
    :raises ValueError: the answer does not fit the type, or its file was changed; the message names the fields.
    :raises OSError: the file cannot be read.
    """
    answer = fetch(xcom) if is_manifest(xcom) else xcom
    if output_type is None:
        return answer
    from airflow_provider_crewai.in_airflow.output_type import loaded

    return loaded(output_type, answer)
