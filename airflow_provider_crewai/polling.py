"""How closely a task looks at its runs, and what it returns of their answers.

All tasks that wait for runs share this, whether they wait for one run or for many.
"""

from __future__ import annotations

from typing import Any

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.in_airflow.answer_files import check_size
from airflow_provider_crewai.in_airflow.compat import default_deferrable
from airflow_provider_crewai.in_airflow.config import UNSET, Unset, chosen
from airflow_provider_crewai.in_airflow.dag_arguments import ChecksArguments, check_flag
from airflow_provider_crewai.in_airflow.limits import check_intervals, check_limit
from airflow_provider_crewai.in_airflow.returning import ReturnsAnswers


class PollsRuns(ChecksArguments, ReturnsAnswers):
    """Base of the tasks that wait for runs.

    :param crewai_conn_id: the connection of type `crewai`.
    :param poll_interval: seconds, the shortest wait between two looks at the run.
    :param max_poll_interval: seconds, the longest wait.
    :param unreachable_timeout: seconds for which the API may fail to answer before the task gives up; None waits for
        ever.
    :param deferrable: whether to wait in the triggerer, without a worker slot. Default: Airflow's
        `[operators] default_deferrable`.
    :param output_type: what the answer must be: a pydantic model, a dataclass, a TypedDict or whatever else pydantic's
        `TypeAdapter` takes. It is read from the crew's `result_json`, else from JSON in its text, whole or in a block
        of code. The task returns JSON that the type loads again; `answers.read_answer` does that.
    :param result_path: a folder in object storage, such as `s3://connection@bucket/answers`, for answers above
        `max_xcom_bytes`. Then the task returns the manifest of a file, and `answers.read_answer` reads the file.
    :param max_xcom_bytes: how many bytes of JSON an answer may take in XCom. Above that it goes to `result_path`, or
        the log warns. 0 sends every answer to `result_path`; None allows any size.
    """

    def __init__(
        self,
        *,
        crewai_conn_id: str = defaults.CONN_ID,
        poll_interval: float | Unset = UNSET,
        max_poll_interval: float | Unset = UNSET,
        unreachable_timeout: float | Unset | None = UNSET,
        deferrable: bool | None = None,
        output_type: Any = None,
        result_path: str | None = None,
        max_xcom_bytes: int | Unset | None = UNSET,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_limit(self.task_id, "execution_timeout", self.execution_timeout)
        self.crewai_conn_id = crewai_conn_id
        self.poll_interval = chosen("poll_interval", poll_interval)
        self.max_poll_interval = chosen("max_poll_interval", max_poll_interval)
        self.unreachable_timeout = chosen("unreachable_timeout", unreachable_timeout)
        check_intervals(self.task_id, self.poll_interval, self.max_poll_interval, self.unreachable_timeout)
        self.output_type = output_type
        self.result_path = result_path
        self.max_xcom_bytes = chosen("max_xcom_bytes", max_xcom_bytes)
        check_size(self.task_id, "max_xcom_bytes", self.max_xcom_bytes)
        check_flag(self.task_id, "deferrable", deferrable)
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    @property
    def has_retry_policy(self) -> bool:
        """Return whether a retry policy decides after a failure (Airflow 3.3+)."""
        return getattr(self, "retry_policy", None) is not None

    def hook(self) -> CrewHook:
        """Return a hook for this task's connection."""
        return CrewHook(self.crewai_conn_id)
