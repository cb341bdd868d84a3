"""What the page shows of a run, made from the rows of the database. No output is trusted to be text."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_provider_crewai.run_page.view import CrewTaskView, Fact, Link, Mark, RunView
from airflow_provider_crewai.server.crew_process.run_states import FINAL
from airflow_provider_crewai.server.page.origin import Origin
from airflow_provider_crewai.server.records import Step, StoredRun
from airflow_provider_crewai.server.status import progress_of
from airflow_provider_crewai.wire.beginnings import beginning, title
from airflow_provider_crewai.wire.model import JSON, JSONObject, Progress, RunState

STATES = {
    "PENDING": (RunState.PENDING, "Waiting for a free slot"),
    "STARTED": (RunState.RUNNING, "Starting"),
    "RUNNING": (RunState.RUNNING, "Running"),
    "PAUSED": (RunState.PAUSED, "Waiting for an answer"),
    "SUCCESS": (RunState.SUCCEEDED, "Succeeded"),
    "FAILED": (RunState.FAILED, "Failed"),
    "REVOKED": (RunState.STOPPED, "Stopped"),
}
"""How the states of the database are shown, and in which words."""

_UNFINISHED: dict[str, Mark] = {"PAUSED": "waiting", "FAILED": "broken", "REVOKED": "broken"}
_NAME = 1000


def run_view(
    run: StoredRun, inputs: JSON, steps: Sequence[Step], upcoming: Sequence[str], origin: Origin | None, now: float
) -> RunView:
    """Return what the page shows of a run.

    :param inputs: its inputs, without secrets in the clear.
    :param upcoming: the names of the crew tasks that have not begun.
    :param origin: the task in Airflow that started it, if that is known.
    :param now: epoch seconds.
    """
    state, word = STATES[run.state]
    return RunView(
        title(inputs) or "Run without inputs",
        state,
        kickoff_id=run.kickoff_id,
        word=word,
        progress=progress(run, steps),
        kicked_off_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        facts=(*_facts_of(origin), *((Fact("Taken up again", f"{run.lives - 1} times"),) if run.lives > 1 else ())),
        links=(Link("The task in Airflow", origin.url),) if origin and origin.url else (),
        crew_tasks=(
            *(_crew_task(step, run, now) for step in steps),
            *(CrewTaskView(name, "next") for name in upcoming),
        ),
        answer=run.answer.get("result"),
        answer_json=run.answer.get("result_json"),
        error=run.status if run.state in ("FAILED", "REVOKED") else None,
        usage=usage(run.answer),
        inputs=inputs,
        is_live=run.state not in FINAL,
    )


def _facts_of(origin: Origin | None) -> tuple[Fact, ...]:
    if origin is None:
        return ()
    return (Fact("Dag", origin.dag_id), Fact("Task", origin.task), Fact("Dag run", origin.run_id))


def progress(run: StoredRun, steps: Sequence[Step]) -> Progress | None:
    """Return how far a run is, if that is known."""
    said = progress_of(run, [*steps])
    if said is None:
        return None
    completed, total = (_count(said.get(key)) for key in ("completed", "total"))
    current, agent = (beginning(said.get(key), _NAME) or None for key in ("current", "current_agent"))
    return Progress(completed, total, current, agent)


def usage(answer: JSONObject) -> dict[str, int]:
    """Read the counts of tokens and requests from a run's answer."""
    said = answer.get("usage_metrics")
    counts = said.items() if isinstance(said, dict) else ()
    return {name: count for name, value in counts if (count := _count(value))}


def _crew_task(step: Step, run: StoredRun, now: float) -> CrewTaskView:
    mark = "done" if step.ended_at else _UNFINISHED.get(run.state, "now")
    seconds = (step.ended_at or run.ended_at or now) - step.started_at
    return CrewTaskView(step.name, mark, step.agent, step.started_at, seconds, step.tokens, _output(step.output))


def _output(step: JSONObject | None) -> JSON:
    """Return the output of a crew task or flow method: its text, if it has one, else everything."""
    if step is None:
        return None
    return next((step[key] for key in ("output", "raw") if isinstance(step.get(key), str)), step)


def _count(value: JSON) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
