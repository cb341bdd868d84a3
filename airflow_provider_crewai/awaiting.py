"""How a task waits for a run: look, then defer or stay, come back, and report what really happened.

The operator and the sensor both wait through this one class, so they always behave alike.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn, Self

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.rendered import as_text
from airflow_provider_crewai.client.waits import Wait
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch
from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.in_airflow.answer_files import check_folder, check_size
from airflow_provider_crewai.in_airflow.compat import (
    TRIGGER_FAILED,
    AirflowTaskTimeout,
    Context,
    default_deferrable,
)
from airflow_provider_crewai.in_airflow.config import UNSET, Unset, chosen
from airflow_provider_crewai.in_airflow.dag_arguments import check_flag, check_names, checked
from airflow_provider_crewai.in_airflow.failing import Briefly
from airflow_provider_crewai.in_airflow.limits import Limit, backstop, check_intervals, check_limit
from airflow_provider_crewai.in_airflow.people import FAIL, Notifiers, check_people
from airflow_provider_crewai.in_airflow.traces import LeavesTraces
from airflow_provider_crewai.in_airflow.xcom import CREW_RUN
from airflow_provider_crewai.wire.errors import CrewAnswerMismatch, CrewAnswerNotStored, CrewError
from airflow_provider_crewai.wire.model import JSON, Run, RunState

if TYPE_CHECKING:
    from airflow_provider_crewai.client.sync import CrewClient

MAX_DEFERRALS = 5
"""After this many deferrals the task waits in the worker: something keeps waking it without a reason."""


class AwaitsRun(LeavesTraces):
    """Base of the operator and the sensor: how both wait for a run.

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
    :param human_input: whether a question of the crew becomes a Required Action of the task (Airflow 3.1+). While a
        person thinks, the task holds no worker slot, also if `deferrable` is False. The response goes to the crew.
    :param assigned_users: who may respond: user ids, or objects with `id` and `name`. Default: everybody who may edit
        the task instance.
    :param human_timeout: seconds or timedelta that a person has for each question; None waits until the task's timeout.
    :param on_human_timeout: what happens then: `fail`, or one of the options, which is then chosen.
    :param on_question: notifiers, which are told of each question. Their templates have `question` and `action_url`.
    """

    is_written_out: bool = True
    """Whether the arguments are what the Dag's author wrote."""

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
        human_input: bool = False,
        assigned_users: Sequence[str | Mapping[str, str]] | None = None,
        human_timeout: Limit = None,
        on_human_timeout: str = FAIL,
        on_question: Notifiers = (),
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
        self.human_input = human_input
        self.assigned_users = assigned_users
        self.human_timeout = human_timeout
        self.on_human_timeout = on_human_timeout
        self.on_question = on_question
        check_people(self)
        self._awaited: tuple[CrewClient, str, Context] | None = None
        self.deferrable = default_deferrable() if deferrable is None else deferrable

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

    @property
    def awaits_human(self) -> bool:
        """Return whether somebody is told when the crew waits for a human."""
        raise NotImplementedError

    @property
    def has_retry_policy(self) -> bool:
        """Return whether a retry policy decides after a failure (Airflow 3.3+)."""
        return getattr(self, "retry_policy", None) is not None

    @property
    def is_silent(self) -> bool:
        """Return whether the wait goes on until the deadline, in spite of errors that may go away."""
        return False

    def recall(self, context: Context) -> Wait:
        """Return the run to wait for, after a deferral that ended without an event."""
        raise NotImplementedError

    def put_on_record(self, ending: Ending, context: Context) -> bool | None:
        """Record what a retry must know of the run. Return whether it will find the run; None if recovery is off."""
        raise NotImplementedError

    def after_a_mismatch(self, kickoff_id: str, context: Context) -> tuple[bool, str]:
        """Note that the answer does not fit `output_type`. Return whether a retry runs the crew again, and say so."""
        raise NotImplementedError

    def check_answer_options(self) -> None:
        """Refuse, before money is spent, options by which no answer could be returned.

        :raises CrewConfigError: `output_type` is no type, or `result_path` leads nowhere.
        """
        self.result_path = as_text(self.result_path, "result_path")
        if self.result_path is not None:
            check_folder(self.result_path)
        if self.output_type is not None:
            from airflow_provider_crewai.in_airflow.output_type import adapter_of

            adapter_of(self.output_type)

    def trigger_arguments(self, context: Context) -> dict[str, Any]:  # noqa: ARG002 - the operator's depend on it
        """Return further arguments for the trigger, besides those that every wait has."""
        return {}

    def before_deferral(self, client: CrewClient, kickoff_id: str, context: Context) -> None:
        """Do what must happen before the task leaves its worker. By default, nothing.

        :raises CrewError: the task must not defer.
        """

    def on_kill(self) -> None:
        """Stop waiting. Airflow 3 calls this in a signal handler; after it the interrupted code goes on."""
        self._killed = True
        if self._awaited is not None:
            self._awaited[0].wait_no_longer()

    def hook(self) -> CrewHook:
        """Return a hook for this task's connection."""
        return CrewHook(self.crewai_conn_id)

    def await_run(self, context: Context, wait: Wait, client: CrewClient | None = None, **seen: float | None) -> JSON:
        """Look at the run. If it is still going, defer, or wait here until it ends.

        :param client: the client that started the run, if this task started it just now.
        :param seen: since when the run cannot be seen, if a trigger found that; see `Watch`.
        :return: the crew's answer.
        """
        client = client or self.hook().get_conn()
        watch = self._watch(wait, **seen)
        try:
            self._awaited = client, wait.kickoff_id, context
            ending = self._ending(client, watch, wait, context)
        except CrewError as error:  # the kickoff_id is not valid, so we cannot ask for it
            self.fail_without_a_run(error, context, client)
        except AirflowTaskTimeout:
            # The last look took longer than the time we keep for it. Without this, Airflow would count it as a kill.
            ending = watch.cut_short(time.time())
        finally:
            # A kill after this point has no wait to end (3.3.2: listeners and callbacks that take too long).
            self._awaited = None
        return self._conclude(ending, wait, client, context)

    def _ending(self, client: CrewClient, watch: Watch, wait: Wait, context: Context) -> Ending:
        from airflow_provider_crewai.client.flows import look_once
        from airflow_provider_crewai.client.journal import Journal
        from airflow_provider_crewai.in_airflow.metrics import counting

        journal = counting(Journal(self.log, wait.kickoff_id))
        # Look before deferring: a finished run needs no trigger, and a trigger that fires at once races with Airflow.
        step = client.drive(look_once(watch, client.dialect, journal))
        # Also if the look failed: the connection may say where the page is.
        self._show_page(client.page_of(watch.run or Run(wait.kickoff_id, RunState.UNKNOWN)), context)
        if isinstance(step, Ending):
            return step
        self._leave_behind_meanwhile(watch, wait, client, context)
        # The same goes for a run that was seen to end, and only its answer is missing: a trigger would fire at once.
        if not watch.ended and wait.deferrals < MAX_DEFERRALS and self._may_defer(wait, context):
            self.before_deferral(client, wait.kickoff_id, context)
            seen = replace(wait, seen_alive=watch.seen_alive, deferrals=wait.deferrals + 1).seen(watch.last)
            self._defer(seen, context)
        return client.wait(watch, journal)

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
        self.log.info("%s", back(known.kickoff_id, event, time.time() - known.started_at))
        since = event.get("since")
        match event.get("ending"):
            case Verdict.UNREACHABLE:
                return self.await_run(context, known, missing_since=since)
            case Verdict.AUTH_LOST:
                return self.await_run(context, known, denied_since=since)
            case Verdict.LOST:
                return self.await_run(context, known, unknown_since=since)
            case Verdict.TOO_LARGE:
                self.log.info(
                    "The answer of run %s is too large for the triggerer, so this task reads it in the worker.",
                    known.kickoff_id,
                )
                return self.await_run(context, replace(known, deferrals=MAX_DEFERRALS))
            case _:
                return self.await_run(context, known)

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

    def _watch(self, wait: Wait, **seen: float | None) -> Watch:
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
            **seen,
        )

    def _defer(self, wait: Wait, context: Context) -> NoReturn:
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

    def _answer(self, ending: Ending, run: Run, wait: Wait, client: CrewClient, context: Context) -> JSON:
        """Return the answer as the next task gets it. If it cannot be returned so, it is saved: it is paid for."""
        from airflow_provider_crewai.in_airflow.xcom import CREW_ANSWER, hand_over, save

        kickoff_id = ending.kickoff_id
        try:
            return hand_over(self, self._typed(run.answer, kickoff_id), kickoff_id)
        except (CrewAnswerMismatch, CrewAnswerNotStored) as error:
            self._push(CREW_ANSWER, lambda: save(self, run.answer, kickoff_id), context)
            self._explain(error, ending, wait, client, context)
            self.fail(error)

    def _explain(
        self,
        error: CrewAnswerMismatch | CrewAnswerNotStored,
        ending: Ending,
        wait: Wait,
        client: CrewClient,
        context: Context,
    ) -> None:
        from airflow_provider_crewai.client.messages import unusable
        from airflow_provider_crewai.in_airflow.xcom import CREW_ANSWER

        then = self._after_an_unusable_answer(error, ending, context)
        after = f"The whole answer is in this task's XCom {CREW_ANSWER}. {then}"
        look = self._look(wait, context)
        error.said = unusable(error, ending, started_at=self._start(wait), after=after, look=look)
        where = f"connection {self.crewai_conn_id!r}"
        error.args = (f"Run {ending.kickoff_id} succeeded, but its answer cannot be returned ({where}).",)
        self._push(CREW_RUN, lambda: self._left(ending, wait, error.said, client, context), context)

    def _typed(self, answer: JSON, kickoff_id: str) -> JSON:
        if self.output_type is None:
            return answer
        from airflow_provider_crewai.in_airflow.output_type import typed

        return typed(self.output_type, answer, kickoff_id)

    def _after_an_unusable_answer(
        self, error: CrewAnswerMismatch | CrewAnswerNotStored, ending: Ending, context: Context
    ) -> str:
        """Decide whether the task may be retried, and say what a retry will do."""
        if isinstance(error, CrewAnswerMismatch):
            error.rerun, then = self.after_a_mismatch(ending.kickoff_id, context)
            return then
        error.retry_helps = bool(self.put_on_record(ending, context))
        if error.retry_helps:
            return "A retry reads the answer again and stores it; it starts no new run."
        return "The task is not retried, because a retry would pay for a second run."
