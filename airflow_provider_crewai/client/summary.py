"""What does a task leave behind about its run? One object: while it waits, after a success, and after a failure."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_provider_crewai.client.watch import Ending
from airflow_provider_crewai.wire.errors import CrewChangedInputs, CrewError, CrewLedgerError, CrewMayHaveStarted
from airflow_provider_crewai.wire.model import JSONObject, Progress, Question, Run, RunState
from airflow_provider_crewai.wire.times import iso


@dataclass(frozen=True, slots=True)
class Try:
    """What holds for all that one try of a task leaves behind.

    :param crew: the crew's base URL, or None if the connection could not be read.
    :param number: the try's.
    :param started_at: when the run was kicked off, epoch seconds, or None if that is not known.
    :param deadline: the epoch second at which the task stops waiting, or None.
    """

    crew: str | None
    number: int
    started_at: float | None = None
    deadline: float | None = None


def while_it_waits(this: Try, run: Run, said: tuple[str, ...]) -> JSONObject:
    """Return the object for a run that the task waits for; `docs/crew_run.schema.json` describes it.

    :param run: what was last seen of it.
    :param said: what a person is told, in short lines.
    """
    return _crew_run(this, said, run, run.state)


def at_its_end(this: Try, ending: Ending, said: tuple[str, ...]) -> JSONObject:
    """Return the object for a run that the task waits for no longer."""
    run = ending.run or Run(ending.kickoff_id, RunState.UNKNOWN)
    # A deployment may have forgotten by now a run that was seen to end.
    state = ending.last.state if ending.last else run.state
    return _crew_run(this, said, run, state, ending=ending.verdict.value, ended_at=ending.at)


def without_a_run(this: Try, error: CrewError, said: tuple[str, ...], now: float, *, earlier: bool) -> JSONObject:
    """Return the object for a task that has no run to wait for, or cannot name it.

    :param now: the epoch second.
    :param earlier: whether an earlier try's run may go on.
    """
    unnamed = isinstance(error, CrewMayHaveStarted)
    costs = unnamed or earlier or isinstance(error, CrewLedgerError | CrewChangedInputs)
    word = "may_have_started" if unnamed else "not_started"
    left = _crew_run(this, said, Run("", RunState.UNKNOWN), RunState.UNKNOWN, ending=word, ended_at=now)
    return left | {"kickoff_id": None, "is_over": not costs}


def _crew_run(
    this: Try,
    said: tuple[str, ...],
    run: Run,
    state: RunState,
    *,
    ending: str | None = None,
    ended_at: float | None = None,
) -> JSONObject:
    progress = run.progress or Progress()
    known = this.started_at is not None and ended_at is not None
    return {
        "kickoff_id": run.kickoff_id,
        "crew": this.crew,
        "ending": ending,
        "state": state.value,
        "is_over": state.is_final,
        "said": list(said),
        "error": run.error,
        "started_at": _iso(this.started_at),
        "ended_at": _iso(ended_at),
        "deadline": _iso(this.deadline),
        "duration": round(ended_at - this.started_at, 3) if known else None,  # type: ignore[operator]  # both are known
        "crew_tasks_done": progress.completed,
        "crew_tasks_total": progress.total,
        "last_crew_task": progress.current,
        "question": _question(run.question if ended_at is None else None),
        "usage": dict(run.usage),
        "execution_origin": run.origin,
        "events": dict(run.events),
        "try_number": this.number,
    }


def _question(question: Question | None) -> JSONObject | None:
    if question is None:
        return None
    return {
        "id": question.task_id,
        "message": question.message,
        "output": question.output,
        "options": list(question.options),
        "crew_task": question.crew_task,
    }


def _iso(epoch: float | None) -> str | None:
    return None if epoch is None else iso(epoch)
