"""Decides what a try of a batch does with the record of an earlier one: which items are done, which run, which begin.

the earlier record                                   what becomes of an item
---------------------------------------------------  ----------------------------------------------------------
none, or of a deleted Dag run                        starts
cleared, on_clear=rerun                              starts; runs that go on are left or stopped
the same item succeeded                              is kept with its answer
the same item failed, was stopped, was refused       starts again
the same item's answer does not fit                  is read again; starts again if on_output_mismatch=rerun
the same item's run may go on                        is taken up
the same item's kickoff was not answered             counts as failed; starts again if on_orphaned_kickoff=rerun
an item that is no longer in the list                is dropped; its run, if it goes on, is left or stopped, or
                                                     the task fails, if on_changed_inputs=fail
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from airflow_provider_crewai.client.batch_record import BatchRecord, ItemState, Left, Open, Outcome, list_fingerprint
from airflow_provider_crewai.client.ledger import Claim, Record, Rules


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What a try begins with.

    :param why: in words for the log.
    :param dropped: runs that may go on, and that nobody waits for from now on.
    """

    record: BatchRecord
    why: str
    dropped: tuple[Open, ...] = ()


def begins_anew(record: BatchRecord | None, claim: Claim, rules: Rules) -> str | None:
    """Return why nothing of an earlier try is kept, or None if it goes on."""
    if record is None:
        return "no earlier batch of this task is on record"
    if record.task.is_of_another_dag_run(claim):
        return "the record is from a deleted Dag run with the same run_id"
    if record.task.is_cleared(claim) and rules.on_clear == "rerun":
        return "the task was cleared"
    return None


def anew(earlier: BatchRecord | None, claim: Claim, size: int, batch_id: str, now: float, why: str) -> TakenUp:
    """Begin a batch of so many items."""
    first = earlier.pages if earlier else 0
    task = Record.intent(claim, now).submitted(batch_id)
    record = BatchRecord(task, ItemState.WAITS * size, first_page=first, pages=first)
    return TakenUp(record, f"Starting a batch of {size}: {why}.", tuple(earlier.open.values()) if earlier else ())


def go_on(
    earlier: BatchRecord, outcomes: Iterable[Outcome], claim: Claim, names: Sequence[str], rules: Rules
) -> TakenUp:
    """Go on with the batch of an earlier try.

    :param outcomes: of all pages that count, in their order.
    :param names: the items of this try.
    """
    ended = {outcome.item: outcome for outcome in outcomes}
    runs = {run.item: run for run in earlier.open.values()}
    rules = replace(rules, on_orphaned_kickoff="rerun") if earlier.task.is_cleared(claim) else rules
    took = [_taken_up(name, runs.get(name), ended.get(name), rules) for name in names]
    kept = {index: run for index, (_, run) in enumerate(took) if run is not None}
    record = replace(
        earlier,
        task=replace(earlier.task.adopted(claim), fingerprint=list_fingerprint(names)),
        states="".join(state for state, _ in took),
        open=kept,
        slow=None,
    )
    taken = {run.item for run in kept.values()}
    return TakenUp(record, _what_goes_on(record), tuple(run for run in earlier.open.values() if run.item not in taken))


def _taken_up(name: str, run: Open | None, ended: Outcome | None, rules: Rules) -> tuple[ItemState, Open | None]:
    if run is not None:
        return _with_a_run(run, rules)
    if ended is None:
        return ItemState.WAITS, None
    if ended.state is ItemState.MISMATCHED and rules.on_output_mismatch == "fail" and ended.kickoff_id:
        return ItemState.OPEN, Open(name, ended.at or 0.0, ended.kickoff_id, took=ended.seconds)
    return (ItemState.SUCCEEDED if ended.state is ItemState.SUCCEEDED else ItemState.WAITS), None


def _with_a_run(run: Open, rules: Rules) -> tuple[ItemState, Open | None]:
    if run.kickoff_id is not None:
        return ItemState.OPEN, replace(run, left=None)
    if rules.on_orphaned_kickoff == "rerun":
        return ItemState.WAITS, None
    return ItemState.LEFT, replace(run, left=Left.MAY_HAVE_STARTED)


def _what_goes_on(record: BatchRecord) -> str:
    count = record.count
    unknown = count[ItemState.LEFT]
    lost = f" Items that are not started again, because a run may go on that nobody can name: {unknown}."
    return (
        f"Going on with batch {record.batch_id}, {len(record.states)} items: {count[ItemState.SUCCEEDED]} done, "
        f"{len(record.watched)} runs taken up, {len(record.waiting)} to start."
        f"{lost if unknown else ''}"
    )
