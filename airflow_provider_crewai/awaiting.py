"""Waiting for a run in a task: look, then defer or stay, come back, and end in the truth.

The operator and the sensor both wait through this one class, so they cannot drift apart.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_crewai._compat import (
    TRIGGER_FAILED,
    AirflowTaskTimeout,
    BaseOperator,
    Context,
    default_deferrable,
)
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch
from airflow_provider_crewai.hooks import DEFAULT_CONN_ID, CrewHook
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import JSON
from airflow_provider_crewai.written import checked

if TYPE_CHECKING:
    from airflow_provider_crewai.client.sync import CrewClient

MAX_DEFERRALS = 5
"""After so many the task waits in the worker: something keeps waking it for nothing."""

BACKSTOP = 900.0
"""Seconds after the deadline at which Airflow itself ends a deferral. Ours must always come first."""


HEAD_START = 10.0
"""Seconds by which our deadline comes before Airflow's `execution_timeout`, at most."""

Limit = float | timedelta | None
"""Seconds, a timedelta, or None for no limit."""


@dataclass(frozen=True, slots=True)
class Wait:
    """A run to wait for, with all that must survive a deferral. JSON scalars only.

    :param started_at: when it was kicked off, epoch seconds; for a run that something else started, since when it
        is waited for.
    :param deadline: epoch second at which we stop waiting, or None.
    :param seen_alive: whether the run is known to exist.
    :param deferrals: how often the task has deferred for it.
    """

    kickoff_id: str
    started_at: float
    deadline: float | None
    seen_alive: bool = False
    deferrals: int = 0


class AwaitsRun(BaseOperator):
    """What the operator and the sensor share: how they wait for a run.

    :param crewai_conn_id: the connection of type `crewai`.
    :param poll_interval: seconds, the shortest wait between two looks at the run.
    :param max_poll_interval: seconds, the longest.
    :param unreachable_timeout: seconds for which the API may fail to answer before the task gives up.
    :param deferrable: whether to wait in the triggerer, without a worker slot. Default: Airflow's
        `[operators] default_deferrable`.
    """

    knows_the_start: ClassVar[bool] = True
    """Whether `Wait.started_at` is when the run was kicked off, so that its age can be told."""

    def __init__(
        self,
        *,
        crewai_conn_id: str = DEFAULT_CONN_ID,
        poll_interval: float = 2.0,
        max_poll_interval: float = 60.0,
        unreachable_timeout: float = 900.0,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        _check_intervals(self.task_id, poll_interval, max_poll_interval, unreachable_timeout)
        self.crewai_conn_id = crewai_conn_id
        self.poll_interval = poll_interval
        self.max_poll_interval = max_poll_interval
        self.unreachable_timeout = unreachable_timeout
        self._awaited: tuple[CrewClient, str, Context] | None = None
        self.deferrable = default_deferrable() if deferrable is None else deferrable

    @classmethod
    def partial(cls, **kwargs: Any) -> Any:
        """Map the task; what cannot be stored is refused when the Dag is parsed, as it is without mapping."""
        return checked(super().partial(**kwargs))

    @property
    def awaits_human(self) -> bool:
        """Whether somebody is told when the crew waits for a human."""
        raise NotImplementedError

    def recall(self, context: Context) -> Wait:
        """Find the run again after a deferral that ended without an event."""
        raise NotImplementedError

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next."""
        raise NotImplementedError

    def retry_text(self, verdict: Verdict, kickoff_id: str, context: Context) -> str:
        """Say what a retry will do."""
        raise NotImplementedError

    def trigger_arguments(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - the operator's depend on it
        """Return arguments of the trigger beyond those that every wait has."""
        return {}

    def before_deferral(self, client: CrewClient, kickoff_id: str, context: Context) -> None:
        """Do what must be done before the task leaves its worker. Nothing, as a rule.

        :raises CrewError: the task must not defer.
        """

    def hook(self) -> CrewHook:
        """Return a hook on this task's connection."""
        return CrewHook(self.crewai_conn_id)

    def await_run(self, context: Context, wait: Wait, client: CrewClient | None = None, **seen: float | None) -> JSON:
        """Look at the run, and if it goes on, defer or wait here until it ends.

        :param client: the one that began the run, where it was begun just now.
        :param seen: since when it has been out of sight, where a trigger saw that; see `Watch`.
        :return: the crew's answer.
        """
        client = client or self.hook().get_conn()
        watch = self._watch(wait, **seen)
        try:
            self._awaited = client, wait.kickoff_id, context
            ending = self._ending(client, watch, wait, context)
        except CrewError as error:  # what is no kickoff_id cannot be asked for
            self.fail(error)
        except AirflowTaskTimeout:
            # A look took longer than the time we keep for it. Left to Airflow, this would count as a kill.
            ending = watch.cut_short(time.time())
        finally:
            # What kills the process from here on ends no wait (3.3.2: listeners and callbacks that take too long).
            self._awaited = None
        return self._conclude(ending, wait, context)

    def _ending(self, client: CrewClient, watch: Watch, wait: Wait, context: Context) -> Ending:
        from airflow_provider_crewai.client.flows import look_once
        from airflow_provider_crewai.journal import Journal

        journal = Journal(self.log, wait.kickoff_id)
        # A look before deferring: a finished run needs no trigger, and a trigger that fires at once races Airflow.
        step = client.drive(look_once(watch, client.dialect, journal))
        if isinstance(step, Ending):
            return step
        if self.deferrable and wait.deferrals < MAX_DEFERRALS:
            self.before_deferral(client, wait.kickoff_id, context)
            self._defer(replace(wait, seen_alive=watch.seen_alive, deferrals=wait.deferrals + 1), context)
        return client.wait(watch, journal)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None, **wait: Any) -> JSON:
        """Come back from a trigger: its event is a hint, so the run is read again.

        :return: the crew's answer.
        """
        event = event or {}
        # `dag.test()` drops what a deferral carries (seen with Airflow 3.3.2).
        known = Wait(**wait) if wait else self.recall(context)
        known = replace(known, seen_alive=known.seen_alive or bool(event.get("seen_alive")))
        since = event.get("since")
        match event.get("ending"):
            case Verdict.UNREACHABLE:
                return self.await_run(context, known, missing_since=since)
            case Verdict.LOST:
                return self.await_run(context, known, unknown_since=since)
            case _:
                return self.await_run(context, known)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from a deferral; where the trigger itself failed, read the run instead of failing with it."""
        if next_method != TRIGGER_FAILED:
            return super().resume_execution(next_method, next_kwargs, context)
        failure = next_kwargs or {}
        self.log.warning(
            "The trigger ended without an event (%s). The run is read again; if it goes on, this task waits for it "
            "in the worker.\n%s",
            failure.get("error", "no reason given"),
            "".join(failure.get("traceback") or []),
        )
        try:
            wait = self.recall(context)
        except CrewError as error:
            self.fail(error)
        return self.await_run(context, replace(wait, deferrals=MAX_DEFERRALS))

    def _watch(self, wait: Wait, **seen: float | None) -> Watch:
        patience = Patience(
            poll_interval=self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            deadline=wait.deadline,
            unreachable_timeout=self.unreachable_timeout,
            human_input=self.awaits_human,
        )
        return Watch(wait.kickoff_id, patience, started_at=wait.started_at, seen_alive=wait.seen_alive, **seen)

    def _defer(self, wait: Wait, context: Context) -> NoReturn:
        from airflow_provider_crewai.triggers import CrewStatusTrigger

        self.log.info("Waiting for run %s in the triggerer, without a worker slot.", wait.kickoff_id)
        trigger = CrewStatusTrigger(
            kickoff_id=wait.kickoff_id,
            crewai_conn_id=self.crewai_conn_id,
            started_at=wait.started_at,
            deadline=wait.deadline,
            poll_interval=self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            human_input=self.awaits_human,
            seen_alive=wait.seen_alive,
            **self.trigger_arguments(context),
        )
        backstop = None if wait.deadline is None else timedelta(seconds=wait.deadline - time.time() + BACKSTOP)
        self.defer(trigger=trigger, method_name="execute_complete", kwargs=asdict(wait), timeout=backstop)

    def _conclude(self, ending: Ending, wait: Wait, context: Context) -> JSON:
        from airflow_provider_crewai.client.messages import error_of
        from airflow_provider_crewai.times import duration
        from airflow_provider_crewai.xcom import hand_over

        if ending.verdict is not Verdict.SUCCEEDED or ending.run is None:
            where = f"connection {self.crewai_conn_id!r}"
            started_at = wait.started_at if self.knows_the_start else None
            retry = self.retry_text(ending.verdict, wait.kickoff_id, context)
            self.fail(error_of(ending, where=where, started_at=started_at, retry=retry))
        took = f", {duration(ending.at - wait.started_at)} after it was started" if self.knows_the_start else ""
        self.log.info("Run %s succeeded%s.", wait.kickoff_id, took)
        for remark in ending.run.remarks:
            self.log.warning("The answer of run %s %s.", wait.kickoff_id, remark)
        return hand_over(self, ending.run.answer)


def deadline_of(context: Context, timeout: Limit, execution_timeout: timedelta | None) -> float | None:
    """Return the epoch second at which the task stops waiting, or None.

    It is anchored to the task instance's start date, which Airflow keeps over deferrals: `execution_timeout`
    is not enforced while a task is deferred, and `defer(timeout=)` starts anew each time. Where Airflow does
    enforce it, it kills; so ours comes a moment before, to look once more and to say what is true.
    """
    limits = [] if timeout is None else [_seconds(timeout)]
    if execution_timeout is not None:
        limit = _seconds(execution_timeout)
        limits.append(limit - min(HEAD_START, limit / 10))
    return try_began(context) + min(limits) if limits else None


def try_began(context: Context) -> float:
    """Return the epoch second at which this try began."""
    start = getattr(context["ti"], "start_date", None)
    return float(start.timestamp()) if start else time.time()


def check_limit(task_id: str, name: str, limit: Limit) -> None:
    """Refuse what is no limit, when the Dag is parsed.

    :raises ValueError: it is none; names the task and the argument.
    """
    if limit is None or (isinstance(limit, int | float | timedelta) and _seconds(limit) > 0):
        return
    raise ValueError(f"Task {task_id!r}: {name} is {limit!r}; set it to seconds above 0, a timedelta, or None.")


def _seconds(limit: float | timedelta) -> float:
    return limit.total_seconds() if isinstance(limit, timedelta) else limit


def _check_intervals(task_id: str, shortest: float, longest: float, unreachable: float) -> None:
    if shortest <= 0:
        raise ValueError(f"Task {task_id!r}: poll_interval is {shortest}; set it to seconds above 0.")
    if longest < shortest:
        raise ValueError(
            f"Task {task_id!r}: poll_interval ({shortest}) is above max_poll_interval ({longest}); raise that, too."
        )
    if unreachable < 0:
        raise ValueError(f"Task {task_id!r}: unreachable_timeout is {unreachable}; set it to seconds, 0 or more.")
