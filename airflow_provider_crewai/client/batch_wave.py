"""Starts and reads the runs of a batch in waves, each item's exactly once: flows for the worker.

The process may die between any two steps. Each kickoff is sent with its intent on record, as for one run (`begin`), and
the record that names its run is the one with the intent of the next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from airflow_provider_crewai.client import defaults, flows, policy
from airflow_provider_crewai.client.batch_record import (
    BatchRecord,
    ItemState,
    Left,
    Open,
    Outcome,
    Slow,
    outcomes_on,
    pages_of,
)
from airflow_provider_crewai.client.batch_taking_up import TakenUp, anew, begins_anew, go_on
from airflow_provider_crewai.client.begin import Seal, as_it_is, in_time
from airflow_provider_crewai.client.killing import kill
from airflow_provider_crewai.client.ledger import Claim, Rules
from airflow_provider_crewai.client.shell import silent
from airflow_provider_crewai.client.watch import Again, Ending, Patience, Verdict, Watch
from airflow_provider_crewai.wire.errors import (
    CrewChangedInputs,
    CrewError,
    CrewInputError,
    CrewLedgerError,
    CrewMayHaveStarted,
    CrewQuotaError,
    CrewRateLimited,
    CrewServerError,
    CrewTooLate,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import JSON, Kickoff, Run
from airflow_provider_crewai.wire.times import moment
from airflow_provider_crewai.wire.words import line, listing

CONFIRM_EVERY = 5.0
"""Seconds after which a wave asks again whether the task is still wanted."""

SLOWEST = 600.0
"""The most seconds for which no kickoff is sent after one that was turned away."""

FIRST_PAUSE = 4
"""So many steps of doubling does the first of these pauses skip: it is 4 to 8 seconds."""

Judge = Callable[[Run], tuple[JSON, str | None]]
"""Returns a run's answer as the next task gets it, and why it is not what the task expects, or None."""


def _nothing(*_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """What a batch is to do.

    :param kickoffs: one for each item.
    :param names: the items' names; see `batch_record.named`.
    :param batch_id: the batch's own id, if it begins anew.
    :param slots: the most runs at a time.
    :param judge: reads an answer.
    :param bearable: how many items may fail before no other is started (fail_fast); None for any number.
    :param unreachable_timeout: seconds for which no kickoff may come through, or None.
    :param stop_replaced: whether to stop runs that nobody waits for any more.
    :param check: gets the inputs that the crew lists before runs are started; raises to refuse them.
    :param confirm: called before kickoffs, at most every `CONFIRM_EVERY` seconds; raises if nobody wants them any more.
    :param seal: see `begin.Plan`.
    :param begun: called with the record that names one more run.
    :param over: called with a run's ending, and the seconds since its kickoff, or None if that is not known.
    :param patience: seconds for which we try one call.
    :param deadline: epoch second at which the task stops waiting. No kickoff is sent after it.
    """

    kickoffs: Sequence[Kickoff]
    names: Sequence[str]
    claim: Claim
    rules: Rules
    batch_id: str
    slots: int
    judge: Judge
    bearable: int | None = None
    unreachable_timeout: float | None = defaults.UNREACHABLE_TIMEOUT
    stop_replaced: bool = False
    check: flows.Check | None = None
    confirm: Callable[[], None] | None = None
    seal: Seal = as_it_is
    begun: Callable[[BatchRecord], None] = _nothing
    over: Callable[[Ending, float | None], None] = _nothing
    patience: float = defaults.CALL_PATIENCE
    deadline: float = math.inf

    def bears(self, record: BatchRecord) -> bool:
        """Return whether more items may be started, in spite of those that failed."""
        return self.bearable is None or record.failures <= self.bearable


# ---- the begin of a try -----------------------------------------------------------------------------


def begin_batch(plan: BatchPlan, dialect: flows.Dialect, say: flows.Say) -> flows.Flow[BatchRecord]:
    """Take up the batch that an earlier try began, or begin one. Starts no run.

    :param say: called with a sentence that says what happens, and why.
    :raises CrewLedgerError: the record cannot be read or written.
    :raises CrewChangedInputs: the list changed while runs of other items go on, and the author chose to fail then.
    """
    earlier = yield from load_batch()
    now = (yield flows.Pause(0)).now
    why = begins_anew(earlier, plan.claim, plan.rules)
    if earlier is None or why is not None:
        taken = anew(earlier, plan.claim, len(plan.names), plan.batch_id, now, why or "")
    else:
        outcomes = yield from load_outcomes(earlier)
        taken = go_on(earlier, outcomes, plan.claim, plan.names, plan.rules)
        yield from _refuse_changes(plan, earlier, taken, dialect)
    say(taken.why)
    yield from _leave_behind(plan, taken.dropped, say)
    yield from _keep(taken.record)
    return taken.record


def load_batch() -> flows.Flow[BatchRecord | None]:
    """Return the record of this task's batch, or None if there is none.

    :raises CrewLedgerError: it cannot be read, which does not mean that there is none.
    """
    stored = yield from _load("")
    return None if stored is None else BatchRecord.from_json(stored)


def load_outcomes(record: BatchRecord) -> flows.Flow[list[Outcome]]:
    """Return the outcomes of all pages that count, in their order.

    :raises CrewLedgerError: one cannot be read.
    """
    outcomes: list[Outcome] = []
    for number in range(record.first_page, record.pages):
        outcomes += outcomes_on((yield from _load(str(number))))
    return outcomes


def _load(page: str) -> flows.Flow[JSON]:
    reply = yield flows.Load(page)
    if isinstance(reply.answer, flows.Stored):
        return reply.answer.record
    raise reply.error()


def _keep(record: BatchRecord) -> flows.Flow[None]:
    if error := (yield from _save(record)):
        raise CrewLedgerError(
            f"{error} Without the record a crash could lead to second runs, so nothing more was sent. A retry tries "
            "again."
        )


def _save(record: BatchRecord) -> flows.Flow[CrewError | None]:
    answer = (yield flows.Save(record.to_json())).answer
    return answer if isinstance(answer, CrewError) else None


def _refuse_changes(plan: BatchPlan, earlier: BatchRecord, taken: TakenUp, dialect: flows.Dialect) -> flows.Flow[None]:
    """Refuse to drop runs that may go on, if the author wants that."""
    if plan.rules.on_changed_inputs == "rerun":
        return
    repeats = plan.rules.on_orphaned_kickoff == "rerun" or earlier.task.is_cleared(plan.claim)
    runs: list[str] = []
    for run in taken.dropped:
        if run.kickoff_id is None:
            runs += [] if repeats else [f"one that may have started at {moment(run.at)}"]
        elif not (yield from _is_over(run.kickoff_id, dialect)):
            runs += [run.kickoff_id]
    if runs:
        raise CrewChangedInputs(
            f"The list changed since {len(runs)} runs were started for items that are no longer in it, they may still "
            f"go on, and on_changed_inputs is 'fail': {listing(runs)}. Nothing was sent. While they may, a retry "
            "refuses again; clear the task to start all items anew."
        )


def _is_over(kickoff_id: str, dialect: flows.Dialect) -> flows.Flow[bool]:
    seen, _ = yield from flows.look(kickoff_id, dialect)
    return isinstance(seen, Run) and seen.state.is_final


def _leave_behind(plan: BatchPlan, dropped: Iterable[Open], say: flows.Say) -> flows.Flow[None]:
    for run in dropped:
        if run.kickoff_id is None:
            say(
                f"A kickoff of an earlier try, at {moment(run.at)}, was not answered. If a run has started, it may "
                "still be going on and still cost money, and nobody knows it: look on the crew's page."
            )
        elif plan.stop_replaced:
            left = plan.deadline - (yield flows.Pause(0)).now
            say((yield from kill(run.kickoff_id, min(plan.patience, left))))
        else:
            say(f"Run {run.kickoff_id}, started by an earlier try, may still be going on and still cost money.")


# ---- a wave: read what has ended, start what waits --------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wave:
    """What came of a wave.

    :param gave_up: why we wait no longer for any run, or None.
    """

    record: BatchRecord
    gave_up: Ending | None = None


def wave(
    plan: BatchPlan, record: BatchRecord, watches: Iterable[Watch], dialect: flows.Dialect, say: flows.Say
) -> flows.Flow[Wave]:
    """Look at the runs that these watches are about, put on record what has ended, and start runs of other items.

    :param say: called with a sentence that says what happens, and why.
    :raises CrewLedgerError: an outcome or an intent could not be recorded.
    :raises CrewError: no run of any item can be started.
    """
    read = yield from _read(plan, record, watches, dialect)
    if read.gave_up is not None:
        return read
    record = yield from _refill(plan, read.record, say)
    if not plan.bears(record) and record.watched:
        record = yield from _end_early(plan, record, dialect, say)
    return Wave(record)


def _without_intents(record: BatchRecord) -> BatchRecord:
    """Wait for no kickoff that was not answered: Airflow may resume a try whose worker died."""
    for index, run in record.open.items():
        if run.kickoff_id is None and run.left is None:
            record = record.left(index, Left.MAY_HAVE_STARTED)
    return record


def _read(plan: BatchPlan, record: BatchRecord, watches: Iterable[Watch], dialect: flows.Dialect) -> flows.Flow[Wave]:
    before, outcomes = record, list[Outcome]()
    record = _without_intents(record)
    places = {run.kickoff_id: index for index, run in record.watched.items()}
    gave_up = None
    for watch in watches:
        step = yield from flows.look_once(watch, dialect, silent)
        if isinstance(step, Again):
            continue
        index = places[watch.kickoff_id]
        if step.verdict in _ENDED:
            outcomes.append(outcome := _outcome(record, index, step, plan.judge))
            plan.over(step, outcome.seconds)
        elif step.verdict in _LEFT:
            record = record.left(index, _LEFT[step.verdict])
        else:
            gave_up = step
            if step.verdict is not Verdict.TIMED_OUT:
                break
    if outcomes or record is not before:
        record = yield from _put_down(record, outcomes)
    return Wave(record, gave_up)


_ENDED = {
    Verdict.SUCCEEDED: ItemState.SUCCEEDED,
    Verdict.FAILED: ItemState.FAILED,
    Verdict.STOPPED: ItemState.STOPPED,
}
_LEFT = {Verdict.LOST: Left.LOST, Verdict.TOO_LARGE: Left.TOO_LARGE}


def _outcome(record: BatchRecord, index: int, ending: Ending, judge: Judge) -> Outcome:
    run, begun = ending.run, record.open[index]
    assert run is not None  # noqa: S101 - an ending of a run was seen
    state = _ENDED[ending.verdict]
    answer, error = (None, run.error or run.text) if state.is_failure else judge(run)
    if error is not None and not state.is_failure:
        state = ItemState.MISMATCHED
    took = begun.took
    if took is None and begun.at:
        took = max(round(ending.at - begun.at, 3), 0.0)  # the clock of another machine may be behind
    return Outcome(
        begun.item,
        index,
        record.task.fingerprint,
        state,
        ending.kickoff_id,
        begun.at or None,
        answer,
        error,
        dict(run.usage),
        took,
    )


def _put_down(record: BatchRecord, outcomes: Sequence[Outcome]) -> flows.Flow[BatchRecord]:
    """Write outcomes to new pages, and then the record that counts them."""
    for page in pages_of(outcomes):
        answer = (yield flows.Save(page, str(record.pages))).answer
        if isinstance(answer, CrewError):
            raise CrewLedgerError(
                f"Answers of this task's batch could not be kept ({answer}). A retry reads them again."
            )
        record = replace(record, pages=record.pages + 1)
    now = (yield flows.Pause(0)).now
    record = replace(_counted(record, outcomes), wave_at=now)
    yield from _keep(record)
    return record


def _counted(record: BatchRecord, outcomes: Iterable[Outcome]) -> BatchRecord:
    for outcome in outcomes:
        record = record.ended(outcome.index, outcome)
    return record


def _end_early(plan: BatchPlan, record: BatchRecord, dialect: flows.Dialect, say: flows.Say) -> flows.Flow[BatchRecord]:
    """Stop the other runs, or leave them: too many have failed."""
    runs = {index: str(run.kickoff_id) for index, run in record.watched.items()}
    if not plan.stop_replaced:
        say(f"These runs go on, because on_kill is 'leave': {listing(runs.values())}.")
        return record
    for index, kickoff_id in runs.items():
        left = plan.deadline - (yield flows.Pause(0)).now
        said = yield from kill(kickoff_id, min(plan.patience, left))
        say(f"Item {index}: {said}")
    # Looked at once more: an item whose run was stopped starts again on a retry.
    return (yield from _read(plan, record, [_last_look(run) for run in record.watched.values()], dialect)).record


def _last_look(run: Open) -> Watch:
    return Watch(str(run.kickoff_id), Patience(), started_at=run.at, seen_alive=True)


# ---- kickoffs ---------------------------------------------------------------------------------------


def _refill(plan: BatchPlan, record: BatchRecord, say: flows.Say) -> flows.Flow[BatchRecord]:
    """Start runs of items that wait, until all slots are taken or the deployment wants no more."""
    while items := _startable(plan, record, (yield flows.Pause(0)).now):
        try:
            yield from flows.wake(plan.check, plan.patience, plan.deadline)
        except CrewError as error:
            return (yield from _turned_away(plan, record, error, say))
        say(f"Starting runs: {len(items)}. At work: {len(record.watched)}.")
        record = yield from _start_all(plan, record, items, say)
    return record


def _startable(plan: BatchPlan, record: BatchRecord, now: float) -> list[int]:
    """Return the items whose runs may be started now."""
    is_slow = record.slow is not None and now < record.slow.until
    if is_slow or now >= plan.deadline or not plan.bears(record):
        return []
    return record.waiting[: max(plan.slots - len(record.watched), 0)]


def _start_all(plan: BatchPlan, record: BatchRecord, items: Iterable[int], say: flows.Say) -> flows.Flow[BatchRecord]:
    refused: list[Outcome] = []  # not counted by the record of an intent: no page has them yet
    confirmed = -math.inf
    for index in items:
        now = (yield flows.Pause(0)).now
        if now >= plan.deadline or not plan.bears(_counted(record, refused)):
            break
        if now >= confirmed + CONFIRM_EVERY:
            yield from _confirm(plan, record)
            confirmed = now
        record, error = yield from _start(plan, record, index)
        if isinstance(error, CrewTooLate):
            break
        if isinstance(error, CrewInputError):
            refused.append(_refused(plan, record, index, error))
            record = record.slowed(None)
        elif error is not None:
            record = yield from _put_down(record, refused)
            return (yield from _turned_away(plan, record, error, say))
        else:
            say(f"Item {index}: run {record.open[index].kickoff_id} is started.")
    return (yield from _put_down(record, refused))


def _confirm(plan: BatchPlan, record: BatchRecord) -> flows.Flow[None]:
    """Ask whether the task is still wanted. The record first: it may name a run that was started just now."""
    if plan.confirm is not None:
        yield from _keep(record)
        plan.confirm()


def _start(plan: BatchPlan, record: BatchRecord, index: int) -> flows.Flow[tuple[BatchRecord, CrewError | None]]:
    """Send the kickoff of one item, with its intent on record. Return what is known then, and what went wrong.

    :raises CrewLedgerError: the intent could not be recorded.
    :raises CrewConfigError: a webhook's connection cannot be used.
    """
    sent = (yield flows.Pause(0)).now
    try:
        kickoff = plan.seal(plan.kickoffs[index], sent)
        intent = record.opened(index, plan.names[index], sent)
        yield from _keep(intent)
    except CrewError:
        yield from _save(record)  # it may name a run that was started just now
        raise
    try:
        yield from in_time(plan.deadline)
        kickoff_id = yield from flows.kickoff_awake(kickoff, plan.patience, plan.deadline)
        _check_new(record, kickoff_id)
    except CrewMayHaveStarted as error:
        return intent.left(index, Left.MAY_HAVE_STARTED), error
    except CrewError as error:
        yield from _save(withdrawn := intent.withdrawn(index))
        return withdrawn, error
    plan.begun(started := intent.submitted(index, kickoff_id))
    return started, None


def _check_new(record: BatchRecord, kickoff_id: str) -> None:
    """Refuse an answer that names a run of another item: nobody could tell the two apart."""
    if any(run.kickoff_id == kickoff_id for run in record.open.values()):
        raise CrewMayHaveStarted(
            f"The kickoff of an item was answered with run {kickoff_id}, which is that of another item. A paid run may "
            "have started whose kickoff_id nobody knows. The kickoff was not sent again.",
            kickoff_id=None,
        )


def _refused(plan: BatchPlan, record: BatchRecord, index: int, error: CrewInputError) -> Outcome:
    among, why = record.task.fingerprint, f"the deployment refuses its inputs: {line(str(error))}"
    return Outcome(plan.names[index], index, among, ItemState.REFUSED, error=why)


def _turned_away(plan: BatchPlan, record: BatchRecord, error: CrewError, say: flows.Say) -> flows.Flow[BatchRecord]:
    """Send no kickoff for a while, instead of failing the items that wait.

    :raises CrewError: waiting does not help, or the deployment has been in trouble for too long.
    """
    reply = yield flows.Pause(0)
    slow = _slower(record.slow, error, reply.now, reply.chance)
    if slow is None or (slow.is_outage and _is_too_long(plan, slow, reply.now)):
        raise error
    say(f"No kickoff is sent for {slow.until - reply.now:.0f} seconds: {slow.why}")
    record = record.slowed(slow)
    yield from _keep(record)
    return record


def _is_too_long(plan: BatchPlan, slow: Slow, now: float) -> bool:
    return plan.unreachable_timeout is not None and now >= slow.since + plan.unreachable_timeout


def _slower(slow: Slow | None, error: CrewError, now: float, chance: float) -> Slow | None:
    """Return why and until when no kickoff is sent, or None if waiting does not help."""
    asks_for_patience = isinstance(error, CrewRateLimited | CrewQuotaError)
    in_trouble = isinstance(error, CrewServerError | CrewTransportError | CrewMayHaveStarted)
    if not (asks_for_patience or in_trouble or policy.out_of_reach(error)):
        return None
    count = slow.count + 1 if slow else 1
    pause = policy.backoff(count + FIRST_PAUSE - 1, longest=SLOWEST, chance=chance)
    pause = max(pause, min(policy.retry_after(error, now), SLOWEST))
    # A deployment that asks for patience is not in trouble, so the one ends the other.
    since = slow.since if slow and slow.is_outage is not asks_for_patience else now
    return Slow(since, now + pause, count, line(str(error)), is_outage=not asks_for_patience)
