"""How long may a task wait? Its limits, checked when the Dag is parsed, and what becomes of them in a try."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TypeGuard

from airflow_provider_crewai.client.watch import CENTURY
from airflow_provider_crewai.in_airflow.compat import BaseOperator, Context

BACKSTOP = 900.0
"""Seconds after our deadline at which Airflow itself ends the deferral. Our deadline must always come first."""

FARTHEST_BACKSTOP = 365 * 86400.0
"""Seconds. A deadline farther away gets no backstop, because not every database can hold it (MySQL: until 2038)."""

HEAD_START = 10.0
"""The most seconds by which our deadline comes before Airflow's `execution_timeout`."""

Limit = float | timedelta | None
"""Seconds, a timedelta, or None for no limit."""


def deadline_of(task: BaseOperator, context: Context, timeout: Limit) -> float | None:
    """Return the epoch second at which the task stops waiting, or None.

    It counts from the task instance's start date, which Airflow keeps over deferrals: Airflow does not enforce
    `execution_timeout` while a task is deferred, and `defer(timeout=)` starts anew each time. When Airflow does enforce
    it, it kills the task. So our deadline comes a moment earlier, and leaves time to look once more and to say what
    really happened.

    :raises ValueError: a limit was set after the Dag was parsed, for example by a policy of the site, and is not valid.
    """
    execution_timeout = task.execution_timeout
    check_limit(task.task_id, "timeout", timeout, zero=True)
    check_limit(task.task_id, "execution_timeout", execution_timeout)
    limits = [] if timeout is None else [seconds_of(timeout)]
    if execution_timeout is not None:
        limit = seconds_of(execution_timeout)
        limits.append(limit - min(HEAD_START, limit / 10))
    return try_began(context) + min(limits) if limits else None


def try_began(context: Context) -> float:
    """Return the epoch second at which this try began."""
    start = getattr(context["ti"], "start_date", None)
    return float(start.timestamp()) if start else time.time()


def backstop(deadline: float | None) -> timedelta | None:
    """Return how long Airflow lets the deferral go on: a little longer than our deadline, or None for ever."""
    left = FARTHEST_BACKSTOP if deadline is None else deadline - time.time() + BACKSTOP
    return None if left >= FARTHEST_BACKSTOP else timedelta(seconds=left)


def check_limit(task_id: str, name: str, limit: object, *, zero: bool = False) -> None:
    """Refuse a limit that is not valid, when the Dag is parsed.

    :param zero: whether 0 is allowed.
    :raises ValueError: it is not a limit, or is more than clocks, calendars and JSON can hold; the message names the
        task and the argument.
    """
    if limit is None:
        return
    seconds = limit.total_seconds() if isinstance(limit, timedelta) else limit
    if not _is_number(seconds) or not (0 < seconds <= CENTURY or (zero and seconds == 0)):
        raise ValueError(
            f"Task {task_id!r}: {name} is {limit!r}; set it to seconds above 0 or a timedelta, up to a century, or to "
            "None, which waits for ever."
        )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def seconds_of(limit: float | timedelta) -> float:
    """Return a limit in seconds."""
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


def check_intervals(task_id: str, shortest: float, longest: float, unreachable: float | None) -> None:
    """Refuse intervals that are not valid, when the Dag is parsed. All are seconds.

    :raises ValueError: names the task and the argument.
    """
    check_interval(task_id, "poll_interval", shortest)
    check_interval(task_id, "max_poll_interval", longest)
    if longest < shortest:
        raise ValueError(
            f"Task {task_id!r}: poll_interval ({shortest}) is larger than max_poll_interval ({longest}); raise "
            "max_poll_interval, too."
        )
    check_patience(task_id, "unreachable_timeout", unreachable)


def check_interval(task_id: str, name: str, interval: object) -> None:
    """Refuse an interval that is not valid.

    :raises ValueError: names the task and the argument.
    """
    if not _is_number(interval) or not 0 < interval <= CENTURY:
        raise ValueError(f"Task {task_id!r}: {name} is {interval!r}; set it to seconds above 0, up to a century.")


def check_patience(task_id: str, name: str, patience: object) -> None:
    """Refuse seconds to wait that are not valid.

    :raises ValueError: names the task and the argument.
    """
    if patience is not None and not (_is_number(patience) and 0 <= patience <= CENTURY):
        raise ValueError(
            f"Task {task_id!r}: {name} is {patience!r}; set it to seconds from 0 up to a century, or to None, which "
            "waits for ever."
        )
