"""A retry policy for tasks that run crews (Airflow 3.3+)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from airflow_provider_crewai.in_airflow.compat import Context, RetryDecision, RetryPolicy
from airflow_provider_crewai.in_airflow.failing import may_retry
from airflow_provider_crewai.wire.errors import CrewApiError, CrewError, CrewRunFailed, CrewRunStopped

MAX_DELAY = 6 * 3600.0
"""Seconds: a server that asks for more than this gets a retry all the same."""


class CrewRetryPolicy(RetryPolicy):
    """Retries what can get better, at once fails what cannot, and leaves failed runs to the author's choice.

    Before there is a run, configuration, token, inputs, quota: no retry. A kickoff that may have started: none either,
    but where the task's `on_orphaned_kickoff` is `rerun`. Rate limit: a retry after the server's Retry-After. API,
    record, connection, token or answer out of reach, run not ended in time: a retry, which takes the run up again. A
    run that failed: a retry (a new, paid run) only where the crew's own words hold one of `retry_failures`.

    :param retry_failures: words, compared without case, such as `rate limit`. Empty: a failed run is not retried.
    """

    def __init__(self, retry_failures: Iterable[str] = ()) -> None:
        self.retry_failures = tuple(retry_failures)

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002 - Airflow's signature
        context: Context | None = None,  # noqa: ARG002 - Airflow's signature
    ) -> RetryDecision:
        """Decide about one failure. Errors that are not ours are left to Airflow."""
        if not isinstance(exception, CrewError):
            return RetryDecision.default()
        if isinstance(exception, CrewRunStopped):
            return RetryDecision.fail(reason="the run was stopped by hand")
        if isinstance(exception, CrewRunFailed):
            return self._after_a_failed_run(exception)
        if not may_retry(exception):
            return RetryDecision.fail(reason=f"{type(exception).__name__}: a retry would meet it again")
        return RetryDecision.retry(delay=_delay(exception), reason=f"{type(exception).__name__}: may get better")

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON."""
        return {"retry_failures": list(self.retry_failures)}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> CrewRetryPolicy:
        """Make the policy from what `serialize` returned."""
        return cls(data["retry_failures"])

    def _after_a_failed_run(self, error: CrewRunFailed) -> RetryDecision:
        said = (error.reason or "").lower()
        for words in self.retry_failures:
            if words.lower() in said:
                return RetryDecision.retry(reason=f"the run failed with {words!r}, which retry_failures names")
        return RetryDecision.fail(reason="the run failed, and no word of retry_failures is in its error")


def _delay(error: CrewError) -> timedelta | None:
    import time

    from airflow_provider_crewai.client.policy import retry_after

    seconds = retry_after(error, time.time()) if isinstance(error, CrewApiError) else 0.0
    return timedelta(seconds=min(seconds, MAX_DELAY)) if seconds else None
