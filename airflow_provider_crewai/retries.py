"""A retry policy for tasks that run crews (Airflow 3.3+)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from airflow_provider_crewai.in_airflow.compat import Context, RetryDecision, RetryPolicy, reschedule
from airflow_provider_crewai.in_airflow.failing import may_retry
from airflow_provider_crewai.wire.errors import (
    CrewApiError,
    CrewBatchFailed,
    CrewError,
    CrewQuotaError,
    CrewRateLimited,
    CrewRunFailed,
    CrewRunStopped,
    CrewServerError,
)

MAX_DELAY = 6 * 3600.0
"""Seconds. If the server asks for a longer wait, the retry comes after this time anyway."""

WAKING_UP = (502, 503, 504)
"""What answers for a deployment that is asleep, or starts: its gateway."""


class CrewRetryPolicy(RetryPolicy):
    """Retries errors that may go away, fails at once for all others, and lets the author decide about failed runs.

    Configuration, token, inputs or quota before there is a run: no retry. A kickoff that may have started: no retry,
    unless the task's `on_orphaned_kickoff` is `rerun`. Rate limit: a retry after the server's Retry-After. API, record,
    connection, token or answer out of reach, or the run did not end in time: a retry, which takes the run up again. A
    failed run: a retry (a new, paid run) only if the crew's own words hold one of `retry_failures`; so with a batch, if
    one of its failed runs has them. An answer that does
    not fit the task's `output_type`: no retry, unless its `on_output_mismatch` is `rerun`.

    From Airflow 3.4 on, a task that has no run yet and meets a quota, a rate limit or a deployment that wakes up is
    rescheduled instead: it tries again later, and uses up no try.

    In a `ChainRetryPolicy` (3.4+) this policy leaves errors that are not ours to the next one.

    :param retry_failures: words to look for, in any case, such as `rate limit`. If empty, no failed run is retried.
        None leaves failed runs to the next policy in a chain, or else to Airflow.
    :param reschedule_for: how long after a try's first reschedule it may be rescheduled; zero never reschedules.
    """

    def __init__(
        self, retry_failures: Iterable[str] | None = (), *, reschedule_for: timedelta = timedelta(hours=6)
    ) -> None:
        self.retry_failures = None if retry_failures is None else tuple(retry_failures)
        self.reschedule_for = reschedule_for

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - Airflow's signature
        max_tries: int,  # noqa: ARG002 - Airflow's signature
        context: Context | None = None,  # noqa: ARG002 - Airflow's signature
    ) -> RetryDecision:
        """Decide about one failure. Leaves errors that are not ours to Airflow."""
        if not isinstance(exception, CrewError):
            return RetryDecision.default()
        if isinstance(exception, CrewRunStopped):
            return RetryDecision.fail(reason="somebody stopped the run")
        if isinstance(exception, CrewRunFailed) or (isinstance(exception, CrewBatchFailed) and exception.reason):
            return self._after_a_failed_run(exception)
        name = type(exception).__name__
        if reschedule and self.reschedule_for and _costs_no_try(exception):
            return reschedule(
                _delay(exception), reason=f"{name}: the crew may take it later", reschedule_timeout=self.reschedule_for
            )
        if not may_retry(exception):
            return RetryDecision.fail(reason=f"{name}: a retry would fail in the same way")
        return RetryDecision.retry(delay=_delay(exception), reason=f"{name}: a retry may help")

    def serialize(self) -> dict[str, Any]:
        """Return the policy as JSON."""
        words = None if self.retry_failures is None else [*self.retry_failures]
        return {"retry_failures": words, "reschedule_for": self.reschedule_for.total_seconds()}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> CrewRetryPolicy:
        """Make the policy from what `serialize` returned."""
        return cls(data["retry_failures"], reschedule_for=timedelta(seconds=data["reschedule_for"]))

    def _after_a_failed_run(self, error: CrewRunFailed | CrewBatchFailed) -> RetryDecision:
        if self.retry_failures is None:
            return RetryDecision.default()
        said = (error.reason or "").lower()
        for words in self.retry_failures:
            if words.lower() in said and may_retry(error):
                return RetryDecision.retry(reason=f"the run failed with {words!r}, which retry_failures names")
        return RetryDecision.fail(reason="the run failed, and its error holds none of retry_failures")


def _costs_no_try(error: CrewError) -> bool:
    """Return whether no run was started, and the crew may only be busy, asleep or out of quota."""
    wakes_up = isinstance(error, CrewServerError) and error.status in WAKING_UP
    return wakes_up or isinstance(error, CrewRateLimited | CrewQuotaError)


def _delay(error: CrewError) -> timedelta | None:
    import time

    from airflow_provider_crewai.client.policy import retry_after

    seconds = retry_after(error, time.time()) if isinstance(error, CrewApiError) else 0.0
    return timedelta(seconds=min(seconds, MAX_DELAY)) if seconds else None
