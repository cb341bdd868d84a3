"""What a person reads about a batch: while it goes on, and when some of its items have no answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airflow_provider_crewai.client.batch_record import BatchRecord, ItemState
from airflow_provider_crewai.client.killing import OnKill
from airflow_provider_crewai.client.ledger import OnClear
from airflow_provider_crewai.client.messages import fill
from airflow_provider_crewai.client.watch import Ending, Verdict
from airflow_provider_crewai.wire.model import JSON, JSONObject
from airflow_provider_crewai.wire.times import duration, iso, moment
from airflow_provider_crewai.wire.words import line

SHOWN = 10
"""How many items without an answer a message names."""


def progress(record: BatchRecord, slots: int, now: float) -> str:
    """Return where a batch is, in one line."""
    count, total = record.count, len(record.states)
    done = total - count[ItemState.WAITS] - count[ItemState.OPEN]
    parts = [f"{done} of {counted(total, 'item')} done", f"{counted(len(record.watched), 'run')} at work"]
    parts += [f"{record.failures} without an answer"] if record.failures else []
    parts += [f"{record.tokens:,} tokens"] if record.tokens else []
    if (end := expected_end(record, slots, now)) is not None and done < total:
        parts.append(f"the end is expected at {moment(end)}")
    return f"Batch {record.batch_id}: {', '.join(parts)}."


def counted(number: int, what: str) -> str:
    """Return so many of something, in words: `1 run`, `3 runs`."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def expected_end(record: BatchRecord, slots: int, now: float) -> float | None:
    """Return the epoch second at which the batch will probably end, or None as long as nobody can tell.

    Each slot works on one item after another, and each takes as long as a run took on average so far.
    """
    if record.usual is None:
        return None
    left = len(record.waiting) + len(record.watched)
    return now + record.usual * left / max(min(slots, left), 1)


def slowed(record: BatchRecord, now: float) -> str | None:
    """Return why no kickoff is sent now, or None."""
    if record.slow is None or now >= record.slow.until or not record.waiting:
        return None
    waiting, since = counted(len(record.waiting), "item"), moment(record.slow.since)
    why = f"since {since} the deployment takes no kickoff ({record.slow.why})"
    return f"{waiting} not started: {why}. The next is sent at {moment(record.slow.until)}."


def gave_up(record: BatchRecord, ending: Ending) -> str:
    """Return why a task waits no longer for any run of its batch, without a full stop."""
    left = f", and {counted(len(record.waiting), 'item')} not started" if record.waiting else ""
    return f"{_GAVE_UP[ending.verdict]}: {counted(len(record.watched), 'run')} may go on{left}"


_GAVE_UP = {
    Verdict.TIMED_OUT: "The time is up",
    Verdict.UNREACHABLE: "The deployment has not answered for too long",
    Verdict.AUTH_LOST: "The token is refused",
    Verdict.UNWATCHABLE: "The connection is wrong, or does not lead to the crew",
}


def failed(
    record: BatchRecord, results: Sequence[JSONObject], *, why: str, after: str, look: Sequence[str]
) -> tuple[str, ...]:
    """Return the lines about a batch that fails.

    :param why: what ended it.
    :param after: what a retry and a clear will do.
    :param look: where to look, a line each.
    """
    return (*fill(why), *_items(results), *fill(_cost(record), after), *look)


def _items(results: Sequence[JSONObject]) -> Iterator[str]:
    bad = [(index, result) for index, result in enumerate(results) if _has_no_answer(result)]
    for index, result in bad[:SHOWN]:
        run = f" (run {result['kickoff_id']})" if result["kickoff_id"] else ""
        said = f": {line(str(result['error']))}" if result["error"] else ""
        yield f"Item {index}{run} {_WORDS.get(str(result['state']), str(result['state']))}{said}"
    if len(bad) > SHOWN:
        yield f"{counted(len(bad) - SHOWN, 'more item')} without an answer: the task's XCom crew_batch names them."


def _has_no_answer(result: JSONObject) -> bool:
    return result["state"] not in ("succeeded", "running", "not_started")


_WORDS = {
    "failed": "failed",
    "stopped": "was stopped",
    "refused": "was not started",
    "mismatched": "has an answer that does not fit",
    "lost": "is lost",
    "may_have_started": "may have been started",
    "too_large": "has an answer that is too large",
}


def _cost(record: BatchRecord) -> str:
    tokens = f" The runs that have ended took {record.tokens:,} tokens." if record.tokens else ""
    going, unknown = len(record.watched), len(record.open) - len(record.watched)
    if going:
        return f"Still at work, and still costing money: {counted(going, 'run')}.{tokens}"
    return f"{counted(unknown, 'run')} may go on, and cost money.{tokens}" if unknown else f"No run goes on.{tokens}"


def retry_text(record: BatchRecord, *, retried: bool, durable: bool, on_clear: OnClear, on_kill: OnKill) -> str:
    """Return what a retry and a clear will do.

    :param retried: whether a retry helps.
    :param durable: whether a retry finds the batch on record.
    """
    if not durable:
        who = "a retry or a clear" if retried else "the task is not retried: a retry or a clear"
        return f"Recovery is off, so {who} starts all items again, and pays for all of them."
    kept = counted(record.count[ItemState.SUCCEEDED], "answer")
    runs = ", takes up the runs that go on" if record.open else ""
    keeps = f"keeps {kept}{runs}, and starts only the items that have none"
    if on_clear == "reattach":
        return f"A retry or a clear {keeps}." if retried else f"A retry does not help. A clear {keeps}."
    clears = "a clear stops the runs that go on and starts" if record.open and on_kill == "stop" else "a clear starts"
    begin = f"A retry {keeps}" if retried else "The task is not retried, because a retry would not help"
    said = f"{begin}; {clears} all {counted(len(record.states), 'item')} again."
    return said if retried else f"{said} To keep {kept}, set on_clear='reattach' before you clear it."


def summary(
    record: BatchRecord, results: Sequence[JSONObject], said: Sequence[str], slots: int, now: float
) -> JSONObject:
    """Return what other tasks and the page are told of a batch.

    :param results: of all items at the end, or none while it goes on.
    """
    end = expected_end(record, slots, now)
    runs: list[JSON] = [run.kickoff_id for run in record.watched.values()]
    bad: list[JSON] = [
        {"item": index, **_in_short(result)} for index, result in enumerate(results) if _has_no_answer(result)
    ]
    return {
        "batch_id": record.batch_id,
        "crew": record.task.crew,
        "items": len(record.states),
        "count": {state.name.lower(): count for state, count in record.count.items()},
        "runs": runs[:100],
        "tokens": record.tokens,
        "usual_duration": None if record.usual is None else round(record.usual, 3),
        "started_at": iso(record.task.at),
        "expected_end": None if end is None or results else iso(end),
        "without_an_answer": bad[:1000],
        "said": list(said),
    }


def _in_short(result: JSONObject) -> JSONObject:
    return {"state": result["state"], "kickoff_id": result["kickoff_id"], "error": line(str(result["error"] or ""))}


def back(ended: int, seconds: float) -> str:
    """Return why the task has come back from its trigger."""
    return f"Back from the triggerer after {duration(seconds)}: {counted(ended, 'run')} ended."
