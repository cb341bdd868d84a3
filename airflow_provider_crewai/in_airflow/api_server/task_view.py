"""What the page shows of a task's run: from what Airflow knows, and from a look at the deployment."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow._shared.secrets_masker import redact

from airflow_provider_crewai.in_airflow.api_server.airflow_api import RETURNED, Known, TaskKey
from airflow_provider_crewai.in_airflow.api_server.deployment import Look
from airflow_provider_crewai.in_airflow.link import CrewRunLink
from airflow_provider_crewai.in_airflow.xcom import CREW_RUN, KICKOFF_ID
from airflow_provider_crewai.run_page.view import CrewTaskView, Fact, Link, Mark, RunView, StoryLine
from airflow_provider_crewai.wire.model import JSON, Progress, Question, RunState

OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""The states in which a task stays until somebody acts."""

_WORDS = {"may_have_started": "May have started", "not_started": "Not started", "timed_out": "Did not end in time"}
_UNFINISHED: dict[RunState, Mark] = {
    RunState.PAUSED: "waiting",
    RunState.FAILED: "broken",
    RunState.STOPPED: "broken",
}
_END_OF_TIME = 1e11
_ACTS = {"clear": "cleared the task", "post_clear": "cleared the task", "patch": "set its state"}
_NO_RUN = "The task has begun no run yet, as far as is known."
_UNNAMED = "A kickoff was sent, and its answer is not known: a paid run may be going on. Look on the crew's page."
_ENDED = {
    RunState.SUCCEEDED: "has succeeded",
    RunState.FAILED: "has failed",
    RunState.STOPPED: "was stopped",
}


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a task instance.

    :param look: what the deployment said, or None where it was not asked.
    :param home: the path below which Airflow's UI is, without a slash at its end.
    :param own: the URL of this page.
    """

    key: TaskKey
    known: Known
    look: Look | None
    home: str
    own: str

    @property
    def left(self) -> Mapping[str, Any]:
        """Return what the task has left behind about its run; see `client.summary`."""
        left = self.known.xcoms.get(CREW_RUN)
        return left if isinstance(left, dict) else {}

    def view(self) -> RunView:
        """Return what the page shows."""
        run = self.look.run if self.look else None
        state = run.state if run and run.state is not RunState.NOT_FOUND else _state(self.left)
        is_live = self.known.task.get("state") not in OVER or (run is not None and run.state.is_alive)
        progress = (run.progress if run else None) or _progress(self.left)
        ended_at = epoch_of(self.left.get("ended_at"))
        return RunView(
            f"{self.known.task.get('task_display_name')} of {self.known.task.get('dag_display_name')}",
            state,
            kickoff_id=kickoff_id_of(self.known),
            crew=text_of(self.left.get("crew")),
            word=self._word() if run is None else None,
            lines=tuple(self._lines()),
            progress=progress,
            kicked_off_at=self._kicked_off_at(),
            ended_at=None if is_live or not state.is_final else ended_at,
            deadline=epoch_of(self.left.get("deadline")),
            facts=tuple(self._facts()),
            crew_tasks=tuple(_crew_tasks(progress, state)),
            answer=self._answer(state),
            answer_json=run.result_json if run else None,
            error=(run.reason or run.error if run else None) or text_of(self.left.get("error")),
            question=self._question(),
            usage=run.usage if run and run.usage else _counts(self.left.get("usage")),
            inputs=inputs_of(self.known.task.get("rendered_fields")),
            story=tuple(sorted(self._story(), key=lambda told: told.at)),
            links=tuple(self._links()),
            is_live=is_live,
        )

    def _question(self) -> Question | None:
        """Return what the run asks: a deployment hides it, and then only the waiting task knows it, from a webhook."""
        run, told = self.look.run if self.look else None, self.left.get("question")
        hides = run is not None and run.question is None and run.state in (RunState.PAUSED, RunState.NOT_FOUND)
        if not hides or not isinstance(told, dict) or self.known.task.get("state") in OVER:
            return run.question if run else None
        return Question(str(told.get("id")), str(told.get("message") or ""), str(told.get("output") or ""))

    def _word(self) -> str | None:
        if self._is_unnamed():
            return _WORDS["may_have_started"]
        if not self.left and kickoff_id_of(self.known) is None:
            return "No run yet"
        return _WORDS.get(str(self.left.get("ending")))

    def _is_unnamed(self) -> bool:
        """Return whether a kickoff was sent whose answer nobody has seen: its task may have died before it said so."""
        return not self.left and bool(self.known.record) and kickoff_id_of(self.known) is None

    def _kicked_off_at(self) -> float | None:
        if kickoff_id_of(self.known) is None:
            return None
        return epoch_of(self.left.get("started_at")) or number_of(self.known.record.get("at"))

    def _lines(self) -> Iterator[str]:
        said = self.left.get("said")
        lines = [str(line) for line in said] if isinstance(said, list) and said else self._unsaid()
        # The page's links lead there.
        yield from (line for line in lines if not line.startswith("Look: http"))
        if self.look and self.look.why:
            yield f"The deployment cannot be asked just now, so this is what the task has left behind. {self.look.why}"
        elif self.look and self.look.run and self.look.run.state is RunState.NOT_FOUND:
            yield "The deployment does not know the run, so this is what the task has left behind."
        elif self.look and self.look.run and self.left:
            yield from self._meanwhile(self.look.run.state)

    def _unsaid(self) -> list[str]:
        if self._is_unnamed():
            return [_UNNAMED]
        return [] if kickoff_id_of(self.known) else [_NO_RUN]

    def _meanwhile(self, state: RunState) -> Iterator[str]:
        """Say what has changed since the task wrote its lines."""
        if state.is_final and not _state(self.left).is_final:
            yield f"Seen just now: the run {_ENDED[state]}, so it costs no more."
        elif state.is_alive and self.left.get("ending") is not None:
            yield "Seen just now: the run is still going on, so it still costs money."

    def _facts(self) -> Iterator[Fact]:
        task = self.known.task
        yield Fact("Task", str(task.get("state") or "not scheduled").replace("_", " "))
        yield Fact("Try", f"{task.get('try_number')} of {max(task.get('max_tries') or 0, 0) + 1}")

    def _answer(self, state: RunState) -> JSON:
        if self.look and self.look.run and self.look.run.state is RunState.SUCCEEDED:
            return self.look.run.result
        returned: JSON = self.known.xcoms.get(RETURNED)
        return returned if state is RunState.SUCCEEDED else None

    def _story(self) -> Iterator[StoryLine]:
        record = self.known.record
        if (at := number_of(record.get("at"))) is not None:
            run = record.get("kickoff_id")
            which = f"run {run}" if run else "a run whose kickoff_id is not known"
            yield StoryLine(at, f"Try {record.get('try_number')} sent the kickoff of {which}.")
        for each in self.known.tries:
            yield from _told(each.get("start_date"), f"Try {each.get('try_number')} started.")
            yield from _told(each.get("end_date"), f"Try {each.get('try_number')} ended: {each.get('state')}.")
        for act in self.known.acts:
            what = next((word for event, word in _ACTS.items() if str(act.get("event")).startswith(event)), "acted")
            yield from _told(act.get("when"), f"{act.get('owner') or 'Somebody'} {what}.")

    def _links(self) -> Iterator[Link]:
        yield Link("The task and its log in Airflow", f"{self.home}{self.key.ui}")
        page = self.known.xcoms.get(CrewRunLink().xcom_key)
        if isinstance(page, str) and not page.endswith(self.own):
            yield Link("The run's own page", page)


def kickoff_id_of(known: Known) -> str | None:
    """Return the run of the task's last try, if it is known: the record knows it before any XCom does."""
    left = known.xcoms.get(CREW_RUN)
    told = left.get("kickoff_id") if isinstance(left, dict) else None
    return text_of(known.xcoms.get(KICKOFF_ID)) or text_of(told) or text_of(known.record.get("kickoff_id"))


def connection_of(known: Known) -> str | None:
    """Return the id of the task's connection, or None if the task runs no crew."""
    fields = known.task.get("rendered_fields")
    given = fields.get("crewai_conn_id") if isinstance(fields, dict) else None
    return None if given is None else str(given)


def _crew_tasks(progress: Progress | None, state: RunState) -> Iterator[CrewTaskView]:
    """Yield what a deployment tells of its crew tasks: how many are done, the one at work, how many are to come."""
    if progress is None:
        return
    done = progress.completed or 0
    if done:
        yield CrewTaskView(_tasks(done), "done")
    if progress.current:
        yield CrewTaskView(progress.current, _UNFINISHED.get(state, "now"), progress.current_agent)
    left = (progress.total or 0) - done - bool(progress.current)
    if left > 0 and not state.is_final:
        yield CrewTaskView(_tasks(left), "next")


def _tasks(count: int) -> str:
    return f"{count} crew task{'s' * (count != 1)}"


def _state(left: Mapping[str, Any]) -> RunState:
    said = left.get("state")
    return RunState(said) if isinstance(said, str) and said in [*RunState] else RunState.UNKNOWN


def _progress(left: Mapping[str, Any]) -> Progress | None:
    done, total, current = (left.get(name) for name in ("crew_tasks_done", "crew_tasks_total", "last_crew_task"))
    return Progress(done, total, current) if done is not None or current else None


def inputs_of(fields: Any) -> JSON:
    """Return the inputs as Airflow shows them: rendered, and with secrets masked.

    Airflow has masked them when it stored them, but it looks for names of secrets in no text that holds JSON.
    """
    given: JSON = fields.get("inputs") if isinstance(fields, dict) else None
    masked: Any = redact(_read(given), "inputs")
    return masked  # type: ignore[no-any-return]  # JSON in, JSON out


def _read(given: JSON) -> JSON:
    if not isinstance(given, str):
        return given
    try:
        read: JSON = json.loads(given)
    except ValueError:
        return {"inputs": given}
    return read


def _told(when: Any, text: str) -> Iterable[StoryLine]:
    at = epoch_of(when)
    return () if at is None else (StoryLine(at, text),)


def epoch_of(when: Any) -> float | None:
    """Return the moment that a text names, or None if it names none."""
    try:
        return datetime.fromisoformat(when).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


def number_of(value: Any) -> float | None:
    """Return a moment that a calendar can write, or None: people may edit what is stored."""
    return float(value) if isinstance(value, int | float) and 0 <= value < _END_OF_TIME else None


def text_of(value: Any) -> str | None:
    """Return a text, or None if it is empty or no text."""
    return value if isinstance(value, str) and value else None


def _counts(value: Any) -> Mapping[str, int]:
    return value if isinstance(value, dict) else {}
