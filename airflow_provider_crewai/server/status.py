"""The answer to `GET /status/{kickoff_id}`, in the shapes seen live."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from airflow_provider_crewai.server.crew_process.run_states import FINAL
from airflow_provider_crewai.server.records import Step, StoredEvent, StoredQuestion, StoredRun
from airflow_provider_crewai.wire.model import JSONObject

_SENTENCES = {
    "PENDING": "Task is pending",
    "STARTED": "Task is Running",
    "RUNNING": "Task is Running",
    "PAUSED": "Waiting for human input",
}
_NULLS: JSONObject = {
    "result": None,
    "result_json": None,
    "usage_metrics": None,
    "progress": None,
    "last_event": None,
    "events": None,
    "events_count": None,
    "events_by_type": None,
    "triggered_by": None,
    "execution_origin": "api",
    "last_step": None,
    "last_executed_task": None,
    "flow_id": None,
}
NOT_FOUND: JSONObject = {"state": "NOT FOUND", "status": "Task not found or Invalid kickoff id", **_NULLS}


def status_of(
    run: StoredRun, steps: list[Step], asked: Sequence[StoredQuestion], *, strict: bool = False
) -> JSONObject:
    """Return the answer for a run.

    :param asked: the questions that it waits for, the newest last; none from the answers on, even before the run goes
        on. The newest is shown under a key of our own, `human_input`: without a webhook nobody would know the `task_id`
        that a resume must name. If there are others, they stand there, too.
    :param strict: leaves that key out.
    """
    body: JSONObject = {"state": run.state, "status": run.status or _SENTENCES.get(run.state), **_NULLS}
    body |= {key: run.answer[key] for key in _NULLS.keys() & run.answer.keys()}
    if asked and run.answer.get("unit") == "method":
        body["flow_id"] = run.kickoff_id
    if run.state not in ("FAILED", "REVOKED"):
        body["progress"] = progress_of(run, steps)
    if asked and not strict:
        body["human_input"] = _human_input(*reversed(asked))
    return body


def _human_input(question: StoredQuestion, *others: StoredQuestion) -> JSONObject:
    told: JSONObject = {"task_id": question.question_id, "message": question.message, "output": question.output}
    told["options"] = list(question.options) if question.options else None
    if others:
        told["others"] = [{"task_id": other.question_id, "message": other.message} for other in others]
    return told


def events_in_short(counts: dict[str, int], last: StoredEvent | None) -> JSONObject:
    """Return what the answer says of crewai's events in a run.

    :param counts: how many there were of each type.
    :param last: the last one.
    """
    told: JSONObject | None = {"type": last.type, "timestamp": last.at, **last.data} if last else None
    return {"last_event": told, "events_count": sum(counts.values()), "events_by_type": {**counts}}


def progress_of(run: StoredRun, steps: list[Step]) -> JSONObject | None:
    """Return how far a run is, or None before it has begun. A flow does not know how many methods it will call."""
    if "unit" not in run.answer or run.started_at is None:
        return None
    total, completed = run.answer.get("total"), sum(step.ended_at is not None for step in steps)
    remaining = total - completed if isinstance(total, int) else None
    counts: JSONObject = {"unit": run.answer["unit"], "completed": completed, "total": total, "remaining": remaining}
    return counts | _current(run, steps) | _times(run, run.started_at, steps)


def _current(run: StoredRun, steps: list[Step]) -> JSONObject:
    unfinished = [step for step in steps if step.ended_at is None] if run.state not in FINAL else []
    current = unfinished[-1] if unfinished else None
    return {"current": current.name if current else None, "current_agent": current.agent if current else None}


def _times(run: StoredRun, started: float, steps: list[Step]) -> JSONObject:
    moments = [moment for step in steps for moment in (step.started_at, step.ended_at) if moment]
    updated = run.ended_at or max([started, *moments])
    return {
        "started_at": _utc(started),
        "updated_at": _utc(updated),
        "duration_seconds": round(updated - started, 3),
    }


def _utc(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")
