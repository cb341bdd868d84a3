"""Start a run exactly once, and wait for its answer."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_crewai.awaiting import AwaitsRun
from airflow_provider_crewai.batches import CrewBatchOperator
from airflow_provider_crewai.client.held import HeldRun
from airflow_provider_crewai.client.killing import OnKill, is_refused
from airflow_provider_crewai.client.ledger import OnChangedInputs, OnClear, OnOrphanedKickoff, OnOutputMismatch, Record
from airflow_provider_crewai.client.rendered import is_nothing, written_texts
from airflow_provider_crewai.client.waits import Wait
from airflow_provider_crewai.client.watch import Ending
from airflow_provider_crewai.in_airflow.compat import Context
from airflow_provider_crewai.in_airflow.config import UNSET, Unset
from airflow_provider_crewai.in_airflow.dag_arguments import check_fields, check_flag, check_inputs
from airflow_provider_crewai.in_airflow.failing import Briefly, fail
from airflow_provider_crewai.in_airflow.killed_in_worker import Termination, ask_state_if_cheap, speak
from airflow_provider_crewai.in_airflow.limits import Limit, try_began
from airflow_provider_crewai.in_airflow.link import run_page_url
from airflow_provider_crewai.in_airflow.own_webhooks import calls_home, sealed, unseen, webhooks_of
from airflow_provider_crewai.in_airflow.xcom import KICKOFF_ID
from airflow_provider_crewai.resuming import CrewResumeOperator
from airflow_provider_crewai.starting import StartsRuns, map_index_of
from airflow_provider_crewai.wire.errors import (
    CrewError,
    CrewLedgerError,
    CrewMayHaveStarted,
    CrewTaskKilled,
)
from airflow_provider_crewai.wire.model import JSON, JSONObject, Kickoff, Run, RunState

if TYPE_CHECKING:
    from airflow_provider_crewai.client.begin import Begun, Plan
    from airflow_provider_crewai.client.ledger import Claim
    from airflow_provider_crewai.client.shell import Store
    from airflow_provider_crewai.client.sync import CrewClient

__all__ = ["CrewBatchOperator", "CrewKickoffOperator", "CrewResumeOperator"]


class CrewKickoffOperator(StartsRuns, AwaitsRun):
    """Start a run of a crew exactly once, wait for it, and return its answer.

    The task pushes `kickoff_id` to XCom before it waits. It returns the crew's `result_json` if there is one, else
    its text. A retry takes up the run of an earlier try instead of paying for a second one.

    :param inputs: the crew's inputs: an object, another task's output, or a template that renders to a JSON
        object. Values keep their JSON types; outputs of mapped tasks become lists. A template that renders to nothing
        is refused.
    :param restore_from_state_id: the kickoff_id of an earlier flow run. The new run starts from its state. If the
        deployment no longer has that state, the flow silently starts from its defaults: check its answer. The task
        warns if the deployment does not know the run.
    :param wait_for_completion: False returns the kickoff_id at once; see `CrewStatusSensor`.
    :param kwargs: see `StartsRuns` for `meta`, the webhooks, `validate_inputs`, `timeout`, `durable`,
        `on_changed_inputs`, `on_orphaned_kickoff`, `on_clear`, `on_output_mismatch` and `on_kill`; `PollsRuns` and
        `AwaitsRun` for `crewai_conn_id`, `poll_interval`, `max_poll_interval`,
        `unreachable_timeout`, `deferrable`, `output_type`, `result_path`, `max_xcom_bytes`, `human_input`,
        `assigned_users`, `human_timeout`, `on_human_timeout` and `on_question`, and Airflow's `BaseOperator`.
    """

    template_fields: Sequence[str] = (*StartsRuns.template_fields, "restore_from_state_id")
    # Read by Airflow's registry of providers, which shows that retries take up what earlier tries began.
    __supports_durable_execution: ClassVar[bool] = True

    def __init__(
        self,
        inputs: JSONObject | str | None = "{}",
        *,
        meta: JSONObject | None = None,
        task_webhook_url: str | None = None,
        step_webhook_url: str | None = None,
        crew_webhook_url: str | None = None,
        human_input_webhook: str | JSONObject | None = None,
        webhooks: JSONObject | None = None,
        restore_from_state_id: str | None = None,
        validate_inputs: bool = False,
        wait_for_completion: bool = True,
        timeout: Limit | Unset = UNSET,
        durable: bool = True,
        on_changed_inputs: OnChangedInputs | Unset = UNSET,
        on_orphaned_kickoff: OnOrphanedKickoff | Unset = UNSET,
        on_clear: OnClear | Unset = UNSET,
        on_output_mismatch: OnOutputMismatch | Unset = UNSET,
        on_kill: OnKill | Unset = UNSET,
        **kwargs: Any,
    ) -> None:
        # Written out, so that editors and type checkers know what an author may give.
        super().__init__(
            meta=meta,
            task_webhook_url=task_webhook_url,
            step_webhook_url=step_webhook_url,
            crew_webhook_url=crew_webhook_url,
            human_input_webhook=human_input_webhook,
            webhooks=webhooks,
            validate_inputs=validate_inputs,
            timeout=timeout,
            durable=durable,
            on_changed_inputs=on_changed_inputs,
            on_orphaned_kickoff=on_orphaned_kickoff,
            on_clear=on_clear,
            on_output_mismatch=on_output_mismatch,
            on_kill=on_kill,
            **kwargs,
        )
        self.inputs = inputs
        self.restore_from_state_id = restore_from_state_id
        self.wait_for_completion = wait_for_completion
        if self.is_written_out:
            check_fields(self.task_id, vars(self), self.template_fields)
            check_inputs(self.task_id, "inputs", inputs)
        check_flag(self.task_id, "wait_for_completion", wait_for_completion)
        if self.output_type is not None and not wait_for_completion:
            raise ValueError(
                f"Task {self.task_id!r}: output_type needs the answer, and wait_for_completion=False does not wait for "
                "it; give output_type to the CrewStatusSensor that waits."
            )
        if self.human_input and not wait_for_completion:
            raise ValueError(
                f"Task {self.task_id!r}: human_input needs a task that waits, and wait_for_completion=False "
                "does not wait; set human_input=True on the CrewStatusSensor that waits."
            )
        self._written = None if inputs is None else written_texts(inputs)
        self._beginning: CrewClient | None = None
        self._killing: Termination | None = None

    @property
    def awaits_human(self) -> bool:
        """Whether a webhook is called when the crew waits for a human."""
        from airflow_provider_crewai.in_airflow.signed_urls import why_none

        if self.human_input and why_none() is None:
            return True
        return bool(self.human_input_webhook) and not is_nothing(self.human_input_webhook)

    def hooks_again(self, context: Context) -> Kickoff:
        """Return a kickoff with the run's webhooks: a crew that is answered without them forgets them."""
        record = _record(self.store(context))
        return self._sealed(context, webhooks_of(self), record.at if record else try_began(context))

    def execute(self, context: Context) -> JSON:
        """Start the run or take up an earlier one, then wait for it.

        :return: the crew's answer, or the kickoff_id where `wait_for_completion` is False.
        """
        with Briefly():
            return self._execute(context)

    def _execute(self, context: Context) -> JSON:
        self._show_page(run_page_url(context), context)
        deadline = self._deadline(context)  # before the rest, since it may raise: no money is spent yet
        client, begun = self._begin(context)
        context["ti"].xcom_push(key=KICKOFF_ID, value=begun.kickoff_id)
        self._show_page(client.page_of(Run(begun.kickoff_id, RunState.UNKNOWN)), context)
        if not self.wait_for_completion:
            self._awaited = None
            return begun.kickoff_id
        wait = Wait(begun.kickoff_id, begun.at, deadline, seen_alive=True, human_input=self.awaits_human).seen(
            begun.last
        )
        return self.await_run(context, wait, client=client)

    def on_kill(self) -> None:
        """Stop the run if its task is over, and stop waiting. Airflow calls this in a signal handler, for 5 seconds."""
        self._killed = True
        if self._awaited is not None:
            self._killing = self._termination(*self._awaited)
            self._killing.settle()
            super().on_kill()
        elif self._beginning is not None:
            self._beginning.start_nothing()
            speak(
                self.log.warning,
                "Airflow ends the task's process before it knows its run (connection %r). It sends no kickoff from now "
                "on. If it has just sent one, that paid run goes on; so does the run of an earlier try.",
                self.crewai_conn_id,
            )

    def before_deferral(self, client: CrewClient, kickoff_id: str, context: Context) -> None:
        """Stop the run if a user has ended or cleared the task meanwhile: Airflow will refuse to defer it."""
        state = ask_state_if_cheap(context["ti"])
        if is_refused(state):
            self._termination(client, kickoff_id, context).settle_for(state, "The task cannot defer")
            raise CrewTaskKilled(f"The task is {state} now, so it does not wait for run {kickoff_id}.")

    def _termination(self, client: CrewClient, kickoff_id: str, context: Context) -> Termination:
        return Termination(
            client,
            HeldRun(kickoff_id),
            context,
            on_clear=self.rules.on_clear,
            policy=self.kill_policy,
            store=self.store(context),
            log=self.log,
        )

    def trigger_arguments(self, context: Context) -> dict[str, Any]:
        """Return what the trigger must know to decide about the run when Airflow cancels it."""
        store = self.store(context)
        return {
            "on_kill": self.kill_policy,
            "on_clear": self.rules.on_clear,
            "durable": store.durable,
            "survives_clear": store.survives_clear,
        }

    def await_run(self, context: Context, wait: Wait, *more: Any, **seen: Any) -> JSON:
        """Wait, and write down that the task returned the answer: only a user starts another try after that."""
        answer = super().await_run(context, wait, *more, **seen)
        self._note(Record.after_its_answer, wait.kickoff_id, context)
        return answer

    def after_a_mismatch(self, kickoff_id: str, context: Context) -> tuple[bool, str]:
        """Write down that the answer does not fit. Return whether a retry runs the crew again, and say what follows."""
        self._note(Record.left_mismatched, kickoff_id, context)
        if self.rules.on_output_mismatch == "rerun":
            return True, "A retry runs the crew again, as on_output_mismatch says."
        again = (
            "reads this answer again"
            if self.rules.on_clear == "reattach"
            else ("runs the crew again, or reads this answer again if you set on_clear='reattach' first")
        )
        return False, f"The task is not retried. Once output_type is right, a clear {again}."

    def _note(self, change: Callable[[Record], Record], kickoff_id: str, context: Context) -> None:
        """Change the record if it is of this run. It matters less than what the task is about to return or raise."""
        store = self.store(context)
        with suppress(CrewLedgerError):
            record = _record(store)
            if record is not None and record.kickoff_id == kickoff_id:
                store.save(change(record).to_json())

    def recall(self, context: Context) -> Wait:
        """Find the run again after a deferral that ended without an event."""
        deadline = self._deadline(context)
        record = _record(self.store(context))
        if record and record.kickoff_id:
            return Wait(record.kickoff_id, record.at, deadline, seen_alive=True)
        # The XCom is of this try: Airflow clears it before a retry, and keeps it during a deferral.
        kickoff_id = context["ti"].xcom_pull(task_ids=self.task_id, key=KICKOFF_ID, map_indexes=map_index_of(context))
        if not kickoff_id:
            raise CrewLedgerError(
                "The kickoff_id of this try is neither on record nor in XCom, so the task cannot find its run again "
                f"(connection {self.crewai_conn_id!r}). The run goes on. Look for it on the crew's page."
            )
        return Wait(str(kickoff_id), try_began(context), deadline, seen_alive=True)

    def put_on_record(self, ending: Ending, context: Context) -> bool | None:
        """Write down what a retry must know of the run. Return whether it will find it; None where recovery is off."""
        store = self.store(context)
        if not store.durable:
            return None
        try:
            known = _record(store)
            record = known and _brought_up_to_date(known, ending)
            if record is not None and record != known:
                store.save(record.to_json())
        except CrewLedgerError:
            return False
        return record is not None and record.kickoff_id == ending.kickoff_id

    def finds_again(self, context: Context) -> bool | None:
        """Return True where the run is recorded, else None."""
        return self.store(context).durable or None

    def retry_text(self, ending: Ending | None, *, on_record: bool | None) -> str:
        """Say what a retry and a clear will do."""
        from airflow_provider_crewai.client.messages import retry_text

        return retry_text(ending, on_record=on_record, on_clear=self.rules.on_clear, on_kill=self.kill_policy)

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next."""
        if self._killing is not None:
            self._killing.finish(self._killing.held)
        fail(error, self.log, has_retry_policy=self.has_retry_policy)

    def _begin(self, context: Context) -> tuple[CrewClient, Begun]:
        from airflow_provider_crewai.client.sync import CrewClient
        from airflow_provider_crewai.in_airflow import metrics
        from airflow_provider_crewai.in_airflow.ledger_store import RECOVERY_IS_OFF

        store = self.store(context)
        if self.durable and not store.durable:
            self.log.warning(RECOVERY_IS_OFF)
        client = self._beginning = CrewClient(self.hook().settings, store=store, say=self.log.warning)
        plan = None
        try:
            plan = self._plan(client, store, context)
            begun = client.begin(plan, self.log.info)
            self._awaited = client, begun.kickoff_id, context
        except CrewError as error:
            # Without a plan nobody has read the record yet: the run that it names goes on, and nobody watches it.
            if isinstance(error, CrewMayHaveStarted):
                error.rerun = self.rules.on_orphaned_kickoff == "rerun"
            self.fail_without_a_run(error, context, client, earlier=None if plan else _record(store))
        finally:
            self._beginning = None
        metrics.begun(adopted=begun.adopted)
        verb = "taken up" if begun.adopted else "started"
        self.log.info("Run %s is %s over %s.", begun.kickoff_id, verb, client.settings)
        if self._killed:
            self.on_kill()
        return client, begun

    def store(self, context: Context) -> Store:
        """Return where the record of the task's run is kept."""
        from airflow_provider_crewai.in_airflow.ledger_store import store_for

        return store_for(context, durable=self.durable)

    def _plan(self, client: CrewClient, store: Store, context: Context) -> Plan:
        from airflow_provider_crewai.client.begin import Plan
        from airflow_provider_crewai.in_airflow.mailbox import called_home

        limit = self._deadline(context)
        deadline = math.inf if limit is None else limit
        kickoff = self._rendered(context)
        self.check_answer_options()
        if self.human_input and (said := unseen(kickoff)):
            self.log.warning(said)
        return Plan(
            kickoff,
            self._claim(kickoff, client.connect(deadline), store, context),
            self.rules,
            stop_replaced=self.kill_policy == "stop",
            warn=self.log.warning,
            check=partial(self._validate, kickoff.inputs) if self.validate_inputs else None,
            confirm=partial(self._refuse_an_ended_task, context),
            seal=partial(self._sealed, context),
            listen=partial(called_home, context) if calls_home(kickoff) else None,
            deadline=deadline,
        )

    def _claim(self, kickoff: Kickoff, crew: str, store: Store, context: Context) -> Claim:
        from airflow_provider_crewai.client.ledger import fingerprint
        from airflow_provider_crewai.in_airflow.ledger_store import claim_of
        from airflow_provider_crewai.wire.codec import kickoff_request

        return claim_of(context, crew, fingerprint(crew, kickoff_request(kickoff)), store)

    def _rendered(self, context: Context) -> Kickoff:
        from airflow_provider_crewai.client.rendered import as_id, as_inputs, doubts

        inputs = {} if self._takes_none(context) else as_inputs(self.inputs)
        for doubt in doubts(inputs, self._written or frozenset()):
            self.log.warning(doubt)
        state = as_id(self.restore_from_state_id, "restore_from_state_id")
        return replace(self._kickoff(inputs, context), restore_from_state_id=state)

    def _takes_none(self, context: Context) -> bool:
        # Airflow makes a mapped task from rendered values: None comes from another task there, not from the author.
        return self._written is None and map_index_of(context) < 0

    def _sealed(self, context: Context, kickoff: Kickoff, sent: float) -> Kickoff:
        """Add what only the request itself may hold: the webhooks' credentials, and the URLs that lead here.

        :param sent: the epoch second that the record gives for the run's kickoff.
        """
        asks = self.human_input or not self.wait_for_completion  # a sensor may wait for the run instead
        return sealed(kickoff, context["ti"], sent, self._deadline(context), asks=asks)


def _record(store: Store) -> Record | None:
    stored = store.load()
    return None if stored is None else Record.from_json(stored)


def _brought_up_to_date(record: Record, ending: Ending) -> Record:
    if record.kickoff_id is None:
        record = record.submitted(ending.kickoff_id)
    return record.left_unread() if ending.lacks_a_reason else record
