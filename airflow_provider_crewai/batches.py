"""Run a crew once for each item of a list, in one task."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_provider_crewai.client.held import HeldBatch
from airflow_provider_crewai.client.killing import is_refused
from airflow_provider_crewai.client.rendered import is_nothing
from airflow_provider_crewai.in_airflow.batch_arguments import OnItemFailure, check_batch
from airflow_provider_crewai.in_airflow.batch_endings import EndsBatches
from airflow_provider_crewai.in_airflow.compat import TRIGGER_FAILED, Context
from airflow_provider_crewai.in_airflow.dag_arguments import Check, check_fields, check_items
from airflow_provider_crewai.in_airflow.failing import Briefly, fail
from airflow_provider_crewai.in_airflow.killed_in_worker import Termination, ask_state_if_cheap
from airflow_provider_crewai.in_airflow.ledger_store import RECOVERY_IS_OFF, claim_of
from airflow_provider_crewai.in_airflow.limits import backstop
from airflow_provider_crewai.in_airflow.link import run_page_url
from airflow_provider_crewai.in_airflow.xcom import CREW_BATCH_ID
from airflow_provider_crewai.starting import StartsRuns
from airflow_provider_crewai.wire.errors import (
    CrewAnswerMismatch,
    CrewChangedInputs,
    CrewError,
    CrewLedgerError,
    CrewTaskKilled,
)
from airflow_provider_crewai.wire.model import JSON, CrewInputs, JSONObject, Kickoff, Run

if TYPE_CHECKING:
    from airflow_provider_crewai.client.batch_pace import Pace
    from airflow_provider_crewai.client.batch_record import BatchRecord
    from airflow_provider_crewai.client.batch_wave import BatchPlan, Wave
    from airflow_provider_crewai.client.shell import Store
    from airflow_provider_crewai.client.sync import CrewClient
    from airflow_provider_crewai.client.watch import Watch

MAX_IDLE = 5
"""After so many deferrals that brought nothing, the task waits in its worker: something wakes it without a reason."""


class CrewBatchOperator(StartsRuns, EndsBatches):
    """Run a crew once for each item of a list, in one task, and return a list of results in the order of the inputs.

    Each item's run is started exactly once. The worker starts runs in waves, and the task waits without a worker slot
    in between. A retry keeps the answers, takes up the runs that go on, and starts only what is missing. An item is
    known by its inputs, so a retry finds it again in a list that has changed. Each result is an object with `state`
    (`succeeded`, `failed`, `stopped`, `refused`, `mismatched`, `lost`, `may_have_started`), `answer`, `kickoff_id`,
    `error`, `usage` and `duration` (seconds).

    :param inputs: a list of the crew's inputs, one object for each run: written out, another task's output, or a
        template that renders to JSON.
    :param max_concurrency: the most runs at a time.
    :param on_item_failure: `fail` once all items have ended, or `fail_fast` as soon as more have no answer than are
        allowed. Then no other is started, and `on_kill` says what becomes of the runs that go on.
    :param allow_failures: how many items may have no answer, as a number (3), or a share below 1 (0.05).
    :param kwargs: see `StartsRuns` and `PollsRuns`; what they say of a run holds for each item's. `output_type` is that
        of each answer. With `result_path` the answers are kept there as they come. And Airflow's `BaseOperator`.
    """

    own_checks: ClassVar[Mapping[str, Check]] = {"inputs": check_items}
    # Read by Airflow's registry of providers, which shows that retries take up what earlier tries began.
    __supports_durable_execution: ClassVar[bool] = True
    without_a_run: str = "The batch was not started"

    def __init__(
        self,
        inputs: Sequence[JSONObject] | str,
        *,
        max_concurrency: int = 10,
        on_item_failure: OnItemFailure = "fail",
        allow_failures: float = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.inputs = inputs
        self.max_concurrency = max_concurrency
        self.on_item_failure = on_item_failure
        self.allow_failures = allow_failures
        check_batch(self.task_id, max_concurrency, on_item_failure, allow_failures)
        if self.is_written_out:
            check_items(self.task_id, "inputs", inputs)
            check_fields(self.task_id, vars(self), self.template_fields)
        self._working: tuple[CrewClient, Context] | None = None
        self._killing: Termination | None = None
        self._waits = False

    def execute(self, context: Context) -> JSON:
        """Start the runs, or take up those of an earlier try, and wait for all of them.

        :return: a list of results, or the manifest of the file that holds it.
        """
        with Briefly():
            self._show_page(run_page_url(context), context)
            plan, client = self._planned(context)
            record = self._begun(plan, client, context)
            context["ti"].xcom_push(key=CREW_BATCH_ID, value=record.batch_id)
            return self._work(plan, client, record, self._watches(plan, record, None), context)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None, **carried: Any) -> JSON:
        """Come back from a trigger. Its event is only a hint: the worker reads the runs again.

        :return: the same as `execute`.
        """
        from airflow_provider_crewai.client.batch_messages import back

        event = event or {}
        ended = event.get("ended")
        with Briefly():
            if ended is not None:
                self.log.info("%s", back(len(ended), time.time() - carried.get("since", time.time())))
            return self._come_back(context, ended, int(carried.get("idle", 0)))

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Come back from a deferral. If the trigger itself failed, read the runs instead of failing, too."""
        with Briefly():
            if next_method != TRIGGER_FAILED:
                return super().resume_execution(next_method, next_kwargs, context)
            error = (next_kwargs or {}).get("error", "no reason given")
            self.log.warning("The trigger ended without an event (%s). This task waits in its worker.", error)
            return self._come_back(context, None, MAX_IDLE)

    def on_kill(self) -> None:
        """Stop the runs if their task is over, and start no more. Airflow calls this in a signal handler."""
        self._killed = True
        if self._working is None or self._known is None:
            return
        client, context = self._working
        client.start_nothing()
        self._killing = self._termination(client, self._known, context)
        self._killing.settle()
        if self._waits:  # else a kickoff may be under way, and what it started is to be recorded and stopped
            client.wait_no_longer()

    def _fail_with(self, error: CrewError, client: CrewClient, context: Context) -> NoReturn:
        if self._killing is not None and self._known is not None:
            self._killing.finish(_held(self._known))
        super()._fail_with(error, client, context)

    # ---- a try --------------------------------------------------------------------------------------

    def _come_back(self, context: Context, ended: Collection[Any] | None, idle: int) -> JSON:
        from airflow_provider_crewai.client.batch_wave import load_batch

        self.without_a_run = "The batch cannot go on"
        plan, client = self._planned(context)
        record = self._drive(client, load_batch(), context)
        if record is None:
            self.fail_without_a_run(
                CrewLedgerError("The record of this try's batch is gone. Nothing was sent."), context
            )
        if len(record.states) != len(plan.kickoffs):
            what = f"This try began with {len(record.states)} items, and inputs has {len(plan.kickoffs)} now."
            self.fail_without_a_run(CrewChangedInputs(f"{what} Nothing was sent; runs may go on."), context)
        return self._work(plan, client, record, self._watches(plan, record, ended), context, idle)

    def _work(
        self,
        plan: BatchPlan,
        client: CrewClient,
        record: BatchRecord,
        watches: Iterable[Watch],
        context: Context,
        idle: int = 0,
    ) -> JSON:
        self._working = client, context
        self._known = record
        if self._killed:
            self.on_kill()
        try:
            return self._waves(plan, client, record, watches, context, idle)
        finally:
            # A kill after this point has nothing to end (3.3.2: listeners and callbacks that take too long).
            self._working = None

    def _waves(
        self,
        plan: BatchPlan,
        client: CrewClient,
        record: BatchRecord,
        watches: Iterable[Watch],
        context: Context,
        idle: int,
    ) -> JSON:
        """Read what has ended and start what waits, again and again, until nothing is left or the task defers."""
        from airflow_provider_crewai.client.batch_wave import wave

        while True:
            before = record
            step = self._drive(client, wave(plan, record, watches, client.dialect, self.log.info), context)
            record = self._known = step.record
            if not self._goes_on(plan, step):
                return self._conclude(plan, step, client, context)
            if self._killed:
                told = "The task's process was told to end, so it waits no longer."
                self._fail_with(CrewTaskKilled(told), client, context)
            idle = 0 if record.states != before.states or record.slow else idle + 1
            self._tell(record, context)
            self._defer_if_possible(plan, record, client, context, idle)
            watches = self._wait_here(plan, record, client, context)

    def _begun(self, plan: BatchPlan, client: CrewClient, context: Context) -> BatchRecord:
        from airflow_provider_crewai.client.batch_wave import begin_batch

        return self._drive(client, begin_batch(plan, client.dialect, self.log.info), context)

    def _goes_on(self, plan: BatchPlan, step: Wave) -> bool:
        record = step.record
        if step.gave_up is not None or not plan.bears(record):
            return False
        return bool(record.watched) or (bool(record.waiting) and time.time() < plan.deadline)

    def _planned(self, context: Context) -> tuple[BatchPlan, CrewClient]:
        from airflow_provider_crewai.client.sync import CrewClient

        store = self.store(context)
        if self.durable and not store.durable:
            self.log.warning(RECOVERY_IS_OFF)
        client = CrewClient(self.hook().settings, store=store, say=self.log.warning)
        try:
            return self._plan(client, store, context), client
        except CrewError as error:
            self.fail_without_a_run(error, context, client)

    def _plan(self, client: CrewClient, store: Store, context: Context) -> BatchPlan:
        from airflow_provider_crewai.client.batch_record import list_fingerprint, named
        from airflow_provider_crewai.client.batch_results import allowed_failures
        from airflow_provider_crewai.client.batch_wave import BatchPlan
        from airflow_provider_crewai.client.ledger import fingerprint
        from airflow_provider_crewai.client.rendered import as_items
        from airflow_provider_crewai.in_airflow import metrics
        from airflow_provider_crewai.wire.codec import kickoff_request

        limit = self._deadline(context)
        deadline = math.inf if limit is None else limit
        items = as_items(self.inputs)
        kickoffs = _of_items(self._kickoff({}, context), items)
        self.check_answer_options()
        crew = client.connect(deadline)
        names = named(fingerprint(crew, kickoff_request(kickoff)) for kickoff in kickoffs)
        allowed = allowed_failures(self.allow_failures, len(items))
        return BatchPlan(
            kickoffs,
            names,
            claim_of(context, crew, list_fingerprint(names), store),
            self.rules,
            uuid.uuid4().hex[:12],
            self.max_concurrency,
            self._judge,
            bearable=allowed if self.on_item_failure == "fail_fast" else None,
            unreachable_timeout=self.unreachable_timeout,
            stop_replaced=self.kill_policy == "stop",
            check=partial(self._validate_all, items) if self.validate_inputs else None,
            confirm=partial(self._refuse_an_ended_task, context),
            seal=_connected,
            begun=self._note_begun,
            over=metrics.ended,
            deadline=deadline,
        )

    def _validate_all(self, items: Iterable[JSONObject], listed: CrewInputs) -> None:
        for names in {tuple(item): item for item in items}.values():
            self._validate(names, listed)

    def _note_begun(self, record: BatchRecord) -> None:
        from airflow_provider_crewai.in_airflow import metrics

        earlier, self._known = self._known, record
        metrics.begun(adopted=False)
        if self._killed and self._working is not None:
            new = set(_runs_of(record)) - set(_runs_of(earlier))
            self._termination(self._working[0], record, self._working[1], only=new).settle()

    def _judge(self, run: Run) -> tuple[JSON, str | None]:
        """Return a run's answer as the next task gets it, and why it does not fit `output_type`, or None."""
        from airflow_provider_crewai.in_airflow.xcom import as_it_can_be

        try:
            return as_it_can_be(self, self._typed(run.answer, run.kickoff_id)), None
        except CrewAnswerMismatch as error:
            return as_it_can_be(self, run.answer), str(error)

    def store(self, context: Context) -> Store:
        """Return where the record of the task's batch is kept."""
        from airflow_provider_crewai.in_airflow.batch_store import batch_store_for

        folder = None if is_nothing(self.result_path) else str(self.result_path).strip()
        return batch_store_for(context, durable=self.durable, result_path=folder)

    # ---- waiting ------------------------------------------------------------------------------------

    def _watches(self, plan: BatchPlan, record: BatchRecord, ended: Collection[Any] | None) -> list[Watch]:
        """Return what looks at the runs whose ends a trigger saw; without its word, at all of them."""
        from airflow_provider_crewai.client.batch_pace import OF_ALL
        from airflow_provider_crewai.client.watch import Verdict

        told = {str(kickoff_id): (Verdict(verdict), since) for kickoff_id, verdict, since in ended or ()}
        everything = not told or any(verdict in OF_ALL for verdict, _ in told.values())
        runs = [run for run in record.watched.values() if everything or run.kickoff_id in told]
        return [self._watch(plan, str(run.kickoff_id), run.at, *told.get(str(run.kickoff_id), ())) for run in runs]

    def _watch(
        self, plan: BatchPlan, kickoff_id: str, at: float, verdict: str = "", since: float | None = None
    ) -> Watch:
        from airflow_provider_crewai.client.watch import Patience, Verdict, Watch

        seen = {Verdict.UNREACHABLE: "missing_since", Verdict.AUTH_LOST: "denied_since", Verdict.LOST: "unknown_since"}
        patience = Patience(
            self.poll_interval,
            self.max_poll_interval,
            None if plan.deadline == math.inf else plan.deadline,
            self.unreachable_timeout,
            self._awaits_human,
        )
        known: dict[str, Any] = {seen[Verdict(verdict)]: since} if verdict in seen else {}
        return Watch(kickoff_id, patience, started_at=at, seen_alive=True, **known)

    @property
    def _awaits_human(self) -> bool:
        return bool(self.human_input_webhook) and not is_nothing(self.human_input_webhook)

    def _pace(self, plan: BatchPlan, record: BatchRecord) -> Pace:
        from airflow_provider_crewai.client.batch_pace import Pace

        bearable = None if plan.bearable is None else plan.bearable - record.failures
        wake_at = record.slow.until if record.slow else None
        return Pace(plan.slots, len(record.waiting), record.wave_at, record.usual, bearable, wake_at)

    def _wait_here(self, plan: BatchPlan, record: BatchRecord, client: CrewClient, context: Context) -> list[Watch]:
        """Wait in the worker, and return what looks at the runs that have ended."""
        from airflow_provider_crewai.client.batch_waits import until_news

        watches = self._watches(plan, record, None)
        self._waits = True
        endings = self._drive(client, until_news(watches, self._pace(plan, record), client.dialect), context)
        self._waits = False
        over = {ending.kickoff_id for ending in endings}
        return [watch for watch in watches if watch.kickoff_id in over]

    def _defer_if_possible(
        self, plan: BatchPlan, record: BatchRecord, client: CrewClient, context: Context, idle: int
    ) -> None:
        if not self.deferrable or idle >= MAX_IDLE or context["ti"].task_id != self.task_id:
            return
        state = ask_state_if_cheap(context["ti"])
        if is_refused(state):
            self._termination(client, record, context).settle_for(state, "The task cannot defer")
            raise CrewTaskKilled(f"The task is {state} now, so it does not wait for batch {record.batch_id}.")
        self._defer(plan, record, context, idle)

    def _defer(self, plan: BatchPlan, record: BatchRecord, context: Context, idle: int) -> NoReturn:
        from airflow_provider_crewai.triggers import CrewBatchTrigger

        pace, store = self._pace(plan, record), self.store(context)
        deadline = None if plan.deadline == math.inf else plan.deadline
        trigger = CrewBatchTrigger(
            batch_id=record.batch_id,
            runs=[[run.kickoff_id, run.at] for run in record.watched.values()],
            crewai_conn_id=self.crewai_conn_id,
            deadline=deadline,
            poll_interval=self.poll_interval,
            max_poll_interval=self.max_poll_interval,
            unreachable_timeout=self.unreachable_timeout,
            human_input=self._awaits_human,
            slots=pace.slots,
            left=pace.left,
            since=pace.since,
            usual=pace.usual,
            bearable=pace.bearable,
            wake_at=pace.wake_at,
            on_kill=self.kill_policy,
            on_clear=self.rules.on_clear,
            durable=store.durable,
            survives_clear=store.survives_clear,
        )
        self.log.info("Waiting for %s runs in the triggerer, without holding a worker slot.", len(record.watched))
        carried = {"idle": idle, "since": time.time()}
        self.defer(trigger=trigger, method_name="execute_complete", kwargs=carried, timeout=backstop(deadline))

    def fail(self, error: CrewError) -> NoReturn:
        """Raise the error in the form that tells Airflow what to do next."""
        fail(error, self.log, has_retry_policy=self.has_retry_policy)

    def _termination(
        self, client: CrewClient, record: BatchRecord, context: Context, only: Container[str] | None = None
    ) -> Termination:
        from airflow_provider_crewai.in_airflow.batch_store import TaskPart

        runs = tuple(run for run in _runs_of(record) if only is None or run in only)
        return Termination(
            client,
            HeldBatch(record.batch_id, runs),
            context,
            on_clear=self.rules.on_clear,
            policy=self.kill_policy,
            store=TaskPart(self.store(context)),
            log=self.log,
        )


def _runs_of(record: BatchRecord | None) -> list[str]:
    """Return all runs that may go on."""
    return [run.kickoff_id for run in record.open.values() if run.kickoff_id] if record else []


def _held(record: BatchRecord) -> HeldBatch:
    return HeldBatch(record.batch_id, tuple(run.kickoff_id for run in record.open.values() if run.kickoff_id))


def _connected(kickoff: Kickoff, _sent: float) -> Kickoff:
    """Add the credentials of the author's webhooks. No run of a batch calls home: the batch listens to none."""
    from airflow_provider_crewai.in_airflow.webhook_connections import connected

    return connected(kickoff)


def _of_items(kickoff: Kickoff, items: Iterable[JSONObject]) -> list[Kickoff]:
    """Return a kickoff for each item. Its `meta` says which item it is for."""
    meta: Any = kickoff.meta
    return [
        replace(kickoff, inputs=item, meta={**meta, "airflow": {**meta["airflow"], "item": index}})
        for index, item in enumerate(items)
    ]
