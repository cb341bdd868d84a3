"""What a batch returns: one result for each item, in the order of the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from airflow_provider_crewai.client.batch_record import BatchRecord, ItemState, Left, Outcome
from airflow_provider_crewai.client.ledger import Rules
from airflow_provider_crewai.wire.model import JSONObject

_HELPED_BY_A_RETRY = (ItemState.FAILED, ItemState.STOPPED)
_NOT_ENDED = {ItemState.WAITS: "not_started", ItemState.OPEN: "running"}


def allowed_failures(allowed: float, items: int) -> int:
    """Return how many of so many items may have no answer.

    :param allowed: a whole number of items, or a share of them below 1.
    """
    return math.floor(allowed * items) if isinstance(allowed, float) else allowed


def results_of(record: BatchRecord, names: Sequence[str], outcomes: Iterable[Outcome]) -> list[JSONObject]:
    """Return a result for each item.

    :param names: the items' names.
    :param outcomes: of all pages that count, in their order: a later one of an item is the one that counts.
    """
    places = {name: index for index, name in enumerate(names)}
    last: dict[int | None, Outcome] = {}
    for outcome in outcomes:
        in_place = outcome.among == record.task.fingerprint
        last[outcome.index if in_place else places.get(outcome.item)] = outcome
    return [_result(record, index, last.get(index)) for index in range(len(names))]


def _result(record: BatchRecord, index: int, outcome: Outcome | None) -> JSONObject:
    state = ItemState(record.states[index])
    if outcome is None or state in (ItemState.WAITS, ItemState.OPEN, ItemState.LEFT):
        return _without_an_end(record, index, state)
    return {
        "state": outcome.state.name.lower(),
        "answer": outcome.answer,
        "kickoff_id": outcome.kickoff_id,
        "error": outcome.error,
        "usage": dict(outcome.usage),
        "duration": outcome.seconds,
    }


def _without_an_end(record: BatchRecord, index: int, state: ItemState) -> JSONObject:
    run = record.open.get(index)
    left = run.left if run else None
    word = left.name.lower() if left else _NOT_ENDED.get(state, "running")
    error = left.value if left else None
    kickoff_id = run.kickoff_id if run else None
    return {"state": word, "answer": None, "kickoff_id": kickoff_id, "error": error, "usage": {}, "duration": None}


def retry_helps(record: BatchRecord, rules: Rules) -> bool:
    """Return whether a retry would start or read again at least one of the items that have no answer."""
    count = record.count
    if any(count[state] for state in _HELPED_BY_A_RETRY):
        return True
    if count[ItemState.MISMATCHED] and rules.on_output_mismatch == "rerun":
        return True
    orphans = sum(run.left is Left.MAY_HAVE_STARTED for run in record.open.values())
    return count[ItemState.LEFT] > orphans or (orphans > 0 and rules.on_orphaned_kickoff == "rerun")
