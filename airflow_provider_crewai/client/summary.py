"""What does a task leave behind about its run? One object, the same after a success and after a failure."""

from __future__ import annotations

from airflow_provider_crewai.client.watch import Ending
from airflow_provider_crewai.wire.model import JSONObject, Progress, Run, RunState
from airflow_provider_crewai.wire.times import iso


def crew_run(ending: Ending, *, crew: str | None, started_at: float | None, try_number: int) -> JSONObject:
    """Return the object; `docs/crew_run.schema.json` describes it. Each key is always there.

    :param crew: the crew's base URL, or None if the connection could not be read.
    :param started_at: when the run was kicked off, epoch seconds, or None if that is not known.
    :param try_number: the try of the task that ended so.
    """
    run = ending.run or Run(ending.kickoff_id, RunState.UNKNOWN)
    # A deployment may have forgotten by now a run that was seen to end.
    state = ending.last.state if ending.last else run.state
    progress = run.progress or Progress()
    seconds = None if started_at is None else round(ending.at - started_at, 3)
    return {
        "kickoff_id": ending.kickoff_id,
        "crew": crew,
        "ending": ending.verdict.value,
        "state": state.value,
        "is_over": state.is_final,
        "started_at": None if started_at is None else iso(started_at),
        "ended_at": iso(ending.at),
        "duration": seconds,
        "crew_tasks_done": progress.completed,
        "crew_tasks_total": progress.total,
        "last_crew_task": progress.current,
        "usage": dict(run.usage),
        "execution_origin": run.origin,
        "events": dict(run.events),
        "try_number": try_number,
    }
