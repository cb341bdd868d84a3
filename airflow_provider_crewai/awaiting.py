"""How a task waits for a run: look, then defer or stay, come back, and report what really happened.

The operator and the sensor both wait through this one class, so they always behave alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.waits import Wait
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch, is_over
from airflow_provider_crewai.in_airflow.compat import (
    HAS_REQUIRED_ACTIONS,
    TRIGGER_FAILED,
    AirflowTaskTimeout,
    Context,
)
from airflow_provider_crewai.in_airflow.dag_arguments import check_flag
from airflow_provider_crewai.in_airflow.failing import Briefly
from airflow_provider_crewai.in_airflow.limits import Limit, backstop
from airflow_provider_crewai.in_airflow.people import Notifiers, check_people
from airflow_provider_crewai.in_airflow.xcom import CREW_RUN
from airflow_provider_crewai.polling import PollsRuns
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import JSON, Kickoff, Run, RunState

if TYPE_CHECKING:
    from airflow_provider_crewai.client.shell import Store
    from airflow_provider_crewai.client.sync import CrewClient
    from airflow_provider_crewai.in_airflow.asking import Asking

MAX_DEFERRALS = 5
"""After this many deferrals the task waits in the worker: something keeps waking it without a reason."""


class AwaitsRun(PollsRuns):
    """Base of the operator and the sensor: how both wait for a run. See `PollsRuns` for the arguments of all waits.

    :param human_input: whether a question of the crew becomes a Required Action of the task (Airflow 3.1+). While a
        person thinks, the task holds no worker slot, also if `deferrable` is False. The response goes to the crew.
    :param assigned_users: who may respond: user ids, or objects with `id` and `name`. Default: everybody who may edit
        the task instance.
    :param human_timeout: seconds or timedelta that a person has for each question; None waits until the task's timeout.
    :param on_human_timeout: what happens then: `fail`, or one of the options, which is then chosen.
    :param on_question: notifiers, which are told of each question. Their templates have `question` and `action_url`.
    """

    def __init__(
        self,
        *,
        human_input: bool = False,
        assigned_users: Sequence[str | Mapping[str, str]] | None = None,
        human_timeout: Limit = None,
        on_human_timeout: str = defaults.ON_HUMAN_TIMEOUT,
        on_question: Notifiers = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.human_input = human_input
        self.assigned_users = assigned_users
        self.human_timeout = human_timeout
        self.on_human_timeout = on_human_timeout
        self.on_question = on_question
        check_flag(self.task_id, "human_input", human_input)
        check_people(self)
        self._awaited: tuple[CrewClient, str, Context] | None = None

    @property
    def awaits_human(self) -> bool:
        """Return whether somebody is told when the crew waits for a human."""
        raise NotImplementedError

    @property
    def has_mailbox(self) -> bool:
        """Return whether webhooks may bring questions to the task."""
        from airflow_provider_crewai.in_airflow.signed_urls import why_none

        return why_none() is None

    @property
    def is_silent(self) -> bool:
        """Return whether the wait goes on until the deadline, in spite of errors that may go away."""
        return False

    def recall(self, context: Context) -> Wait:
        """Return the run to wait for, after a deferral that ended without an event."""
        raise NotImplementedError

    def trigger_arguments(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - the operator's depend on it
        """Return further arguments for the trigger, besides those that every wait has."""
        return {}

    def store(self, context: Context) -> Store:  # noqa: ARG002 - the operator's depends on it
        """Return where the record of the task's run is kept. By default, nowhere."""
        from airflow_provider_crewai.client.shell import NoStore

        return NoStore()

    def hooks_again(self, context: Context) -> Kickoff:  # noqa: ARG002 - the operator's depends on it
        """Return a kickoff with the run's webhooks: a crew that is answered without them forgets them."""
        return Kickoff()

    def before_deferral(self, client: CrewClient, kickoff_id: str, context: Context) -> None:
        """Do what must happen before the task leaves its worker. By default, nothing.

        :raises CrewError: the task must not defer.
        """

    def on_kill(self) -> None:
        """Stop waiting. Airflow 3 calls this in a signal handler; after it the interrupted code goes on."""
        self._killed = True
        if self._awaited is not None:
            self._awaited[0].wait_no_longer()

    def await_run(
        self,
        context: Context,
        wait: Wait,
        client: CrewClient | None = None,
        event: dict[str, Any] | None = None,
        **seen: float | None,
    ) -> JSON:
        """Look at the run. If it is still going, defer, or wait here until it ends.

        :param client: the client that started the run, if this task started it just now.
        :param event: what woke the task: a trigger's event, or what Airflow says of a person's response.
        :param seen: since when the run cannot be seen, if a trigger found that; see `Watch`.
        :return: the crew's answer.
        """
        client = client or self._client(context)
        asking = self._asking(client, wait, context)
        watch = self._watch(wait, asking, **seen)
        try:
            self._awaited = client, wait.kickoff_id, context
            if asking and event:
                asking.take(event)
            ending = self._ending(client, watch, wait, context, asking)
        except CrewError as error:  # the kickoff_id is not valid, so we cannot ask for it
            self.fail_without_a_run(error, context, client)
        except AirflowTaskTimeout:
            # The last look took longer than the time we keep for it. Without this, Airflow would count it as a kill.
            ending = watch.cut_short(time.time())
        finally:
            # A kill after this point has no wait to end (3.3.2: listeners and callbacks that take too long).
            self._awaited = None
        return self._conclude(ending, wait, client, context)

    def _ending(self, client: CrewClient, watch: Watch, wait: Wait, context: Context, asking: Asking | None) -> Ending:
        from airflow_provider_crewai.client.flows import look_once
        from airflow_provider_crewai.client.journal import Journal
        from airflow_provider_crewai.in_airflow.metrics import counting

        journal = counting(Journal(self.log, wait.kickoff_id, self._hint(asking)))
        # Look before deferring: a finished run needs no trigger, and a trigger that fires at once races with Airflow.
        step = client.drive(look_once(watch, client.dialect, journal))
        # Also if the look failed: the connection may say where the page is.
        self._show_page(client.page_of(watch.run or Run(wait.kickoff_id, RunState.UNKNOWN)), context)
        while True:
            if is_over(step):
                return step
            if asking and (ending := asking.settle(watch)):
                return ending
            self._defer_if_possible(client, watch, wait, context, asking)
            step = client.wait(watch, journal)

    def _defer_if_possible(
        self, client: CrewClient, watch: Watch, wait: Wait, context: Context, asking: Asking | None
    ) -> None:
        """Defer, unless the task waits in its worker. While a person thinks, no task waits there."""
        wait = wait.after(asking.dialogue) if asking else wait
        self._leave_behind_meanwhile(watch, wait, client, context)
        # A run that was seen to end, and only its answer is missing, needs no trigger either: it would fire at once.
        if watch.ended or wait.deferrals >= MAX_DEFERRALS:
            return
        if wait.asked is not None or self._may_defer(wait, context):
            self.before_deferral(client, wait.kickoff_id, context)
            seen = replace(wait, seen_alive=watch.seen_alive, deferrals=wait.deferrals + 1).seen(watch.last)
            self._defer(seen, context, asks=asking is not None)

    def _asking(self, client: CrewClient, wait: Wait, context: Context) -> Asking | None:
        """Return what asks people, or None where a question cannot become a Required Action."""
        if not (self.human_input and HAS_REQUIRED_ACTIONS) or wait.deferrals >= MAX_DEFERRALS:
            return None
        if context["ti"].task_id != self.task_id:  # it cannot defer, so it could not wait for a person
            return None
        from airflow_provider_crewai.in_airflow.asking import Asking

        return Asking(self, client, wait, context, partial(self.hooks_again, context), self.store(context))

    def _hint(self, asking: Asking | None) -> str | None:
        return None if asking else self.connection_name

    def _client(self, context: Context) -> CrewClient:
        from airflow_provider_crewai.client.sync import CrewClient

        return CrewClient(self.hook().settings, store=self.store(context), say=self.log.warning)

    def _may_defer(self, wait: Wait, context: Context) -> bool:
        if not self.deferrable or context["ti"].task_id == self.task_id:
            return self.deferrable
        # Airflow would resume the other task, which does not know our trigger.
        self.log.warning(
            "Task %r calls execute() of this task, so we wait for run %s in the worker. To let it defer, make it a "
            "task of the Dag.",
            context["ti"].task_id,
            wait.kickoff_id,
        )
        return False

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None, **wait: Any) -> JSON:
        """Come back from a trigger. Its event is only a hint, so we read the run again.

        :return: the crew's answer.
        """
        from airflow_provider_crewai.client.messages import back

        event = event or {}
        known = self._carried(wait, context).told(event)
        if "ending" in event or "chosen_options" not in event:  # else Airflow's own event brings a person's response
            self.log.info("%s", back(known.kickoff_id, event, time.time() - known.started_at))
        since = event.get("since")
        match event.get("ending"):
            case Verdict.UNREACHABLE:
                return self.await_run(context, known, event=event, missing_since=since)
            case Verdict.AUTH_LOST:
                return self.await_run(context, known, event=event, denied_since=since)
            case Verdict.LOST:
                return self.await_run(context, known, event=event, unknown_since=since)
            case Verdict.TOO_LARGE:
                self.log.info(
                    "The answer of run %s is too large for the triggerer, so this task reads it in the worker.",
                    known.kickoff_id,
                )
                return self.await_run(context, replace(known, deferrals=MAX_DEFERRALS))
            case _:
                return self.await_run(context, known, event=event)

    def _carried(self, carried: dict[str, Any], context: Context) -> Wait:
        """Return the wait that a deferral carried. `dag.test()` drops it (3.3.2); a newer version may carry more."""
        known = {field.name for field in fields(Wait)}
        if unknown := sorted(carried.keys() - known):
            self.log.warning(
                "A newer version deferred this task. Ignoring what is unknown here: %s", ", ".join(unknown)
            )
        try:
            return Wait(**{name: value for name, value in carried.items() if name in known})
        except TypeError:
            return self.recall(context)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from a deferral. If the trigger itself failed, read the run instead of failing, too."""
        with Briefly():
            if next_method != TRIGGER_FAILED:
                return super().resume_execution(next_method, next_kwargs, context)
            return self._without_an_event(next_kwargs or {}, context)

    def _without_an_event(self, failure: dict[str, Any], context: Context) -> JSON:
        self.log.warning(
            "The trigger ended without an event (%s). We read the run again; if it is still going, this task waits for "
            "it in the worker.\n%s",
            failure.get("error", "no reason given"),
            "".join(failure.get("traceback") or []),
        )
        try:
            wait = self.recall(context)
        except CrewError as error:
            self.fail_without_a_run(error, context)
        return self.await_run(context, replace(wait, deferrals=MAX_DEFERRALS))

    def _watch(self, wait: Wait, asking: Asking | None, **seen: float | None) -> Watch:
        patience = Patience(
            poll_interval=self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            deadline=wait.deadline,
            unreachable_timeout=self.unreachable_timeout,
            human_input=wait.human_input or self.awaits_human,
            silent=self.is_silent,
        )
        return Watch(
            wait.kickoff_id,
            patience,
            started_at=wait.started_at,
            seen_alive=wait.seen_alive,
            last=wait.last,
            dialogue=asking.dialogue if asking else None,
            **seen,
        )

    def _defer(self, wait: Wait, context: Context, *, asks: bool) -> NoReturn:
        from airflow_provider_crewai.triggers import CrewStatusTrigger

        self.log.info("Waiting for run %s in the triggerer, without holding a worker slot.", wait.kickoff_id)
        trigger = CrewStatusTrigger(
            kickoff_id=wait.kickoff_id,
            crewai_conn_id=self.crewai_conn_id,
            started_at=wait.started_at,
            deadline=wait.deadline,
            poll_interval=self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            human_input=wait.human_input or self.awaits_human,
            seen_alive=wait.seen_alive,
            silent=self.is_silent,
            asks=asks,
            asked=wait.asked,
            given=wait.given,
            given_at=wait.given_at,
            human_deadline=wait.human_deadline,
            also=wait.also,
            mailbox=asks and self.has_mailbox,
            may_be_outdated=asks and context["ti"].try_number > 1,
            **self.trigger_arguments(context),
        )
        self.defer(
            trigger=trigger, method_name="execute_complete", kwargs=asdict(wait), timeout=backstop(wait.deadline)
        )

    def _conclude(self, ending: Ending, wait: Wait, client: CrewClient, context: Context) -> JSON:
        from airflow_provider_crewai.client.messages import error_of
        from airflow_provider_crewai.in_airflow import metrics

        run = ending.run if ending.verdict is Verdict.SUCCEEDED else None
        on_record = self.finds_again(context) if run else self.put_on_record(ending, context)
        said = partial(self._said, ending, wait, context, on_record=on_record)
        self._push(CREW_RUN, lambda: self._left(ending, wait, said(), client, context), context)
        metrics.ended(ending, ending.at - wait.started_at if self.knows_the_start else None)
        if run is None:
            error = error_of(ending, where=f"connection {self.crewai_conn_id!r}", lines=said())
            error.retry_helps = bool(on_record) and not ending.leads_to_no_crew
            self.fail(error)
        self._tell_success(ending, run, wait)
        return self._answer(ending, run, wait, client, context)
