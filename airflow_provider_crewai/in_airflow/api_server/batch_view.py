"""What the page shows of a task's batch: from its record, which is the newest, and from what the task has told.

It asks the deployment nothing: a batch may have hundreds of runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

from airflow_provider_crewai.client.batch_record import ItemState, Outcome, outcomes_on
from airflow_provider_crewai.in_airflow.api_server.airflow_api import RETURNED, Known
from airflow_provider_crewai.in_airflow.api_server.task_view import (
    OVER,
    Page,
    epoch_of,
    inputs_of,
    number_of,
    text_of,
)
from airflow_provider_crewai.in_airflow.xcom import CREW_BATCH
from airflow_provider_crewai.run_page.view import BatchView, Fact, ItemView, RunView, StoryLine
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON, Progress, RunState
from airflow_provider_crewai.wire.times import duration, moment

SHOWN = 100
"""So many items without an answer, and so many runs at work, are shown one by one."""

_BEGUN = "The task has begun no batch yet, as far as is known."
_STATES = {
    "success": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "up_for_retry": RunState.FAILED,
    "upstream_failed": RunState.FAILED,
}
_COUNTS = {
    "With an answer": ("succeeded",),
    "At work": ("open",),
    "Not started yet": ("waits",),
    "Without an answer": ("failed", "stopped", "refused", "mismatched", "left"),
}
_LEFT = {"lost": "lost", "may_have_started": "may have been started", "too_large": "answer too large"}
_LETTERS = {
    ItemState.FAILED: "failed",
    ItemState.STOPPED: "stopped",
    ItemState.REFUSED: "refused",
    ItemState.MISMATCHED: "answer does not fit",
    ItemState.LEFT: "left",
}


def is_batch(known: Known) -> bool:
    """Return whether a task runs a batch. Before it has told anything, its list of inputs says so."""
    return bool(known.batch or known.xcoms.get(CREW_BATCH)) or isinstance(
        inputs_of(known.task.get("rendered_fields")), list
    )


class BatchPage(Page):
    """A page of a task instance that runs a batch."""

    @property
    def told(self) -> Mapping[str, Any]:
        """Return what the task has told of its batch; see `client.batch_messages.summary`."""
        told = self.known.xcoms.get(CREW_BATCH)
        return told if isinstance(told, dict) else {}

    def view(self) -> RunView:
        """Return what the page shows."""
        state, is_live = self._state(), self.known.task.get("state") not in OVER
        without, at_work = list(self._without()), list(self._at_work())
        task = _object(self.known.batch.get("task"))
        return BatchView(
            f"{self.known.task.get('task_display_name')} of {self.known.task.get('dag_display_name')}",
            state,
            kickoff_id=text_of(self.told.get("batch_id")) or text_of(task.get("kickoff_id")),
            crew=text_of(self.told.get("crew")) or text_of(task.get("crew")),
            word=None if self.known.batch or self.told else "No batch yet",
            lines=tuple(self._lines()),
            progress=self._progress(),
            kicked_off_at=number_of(task.get("at")) or epoch_of(self.told.get("started_at")),
            facts=tuple(self._facts()),
            answer=self.known.xcoms.get(RETURNED) if state is RunState.SUCCEEDED else None,
            usage={"total_tokens": _whole(self._newest.get("tokens"))},
            inputs=self._inputs,
            story=tuple(sorted(self._story(), key=lambda happened: happened.at)),
            links=tuple(self._links()),
            is_live=is_live,
            without=tuple(without[:SHOWN]),
            more_without=max(self._count("Without an answer"), len(without)) - len(without[:SHOWN]),
            at_work=tuple(at_work[:SHOWN]),
            more_at_work=max(self._count("At work"), len(at_work)) - len(at_work[:SHOWN]),
        )

    @property
    def _newest(self) -> Mapping[str, Any]:
        """Return what knows the counts: the record is written at each kickoff, the XCom at each wave."""
        return self.known.batch or self.told

    def _count(self, name: str) -> int:
        counts = _object(self._newest.get("count"))
        return sum(_whole(counts.get(state)) for state in _COUNTS[name])

    def _state(self) -> RunState:
        if (state := _STATES.get(str(self.known.task.get("state")))) is not None:
            return state
        return RunState.RUNNING if self._newest else RunState.PENDING

    def _progress(self) -> Progress | None:
        items = sum(self._count(name) for name in _COUNTS)
        return Progress(self._count("With an answer") + self._count("Without an answer"), items) if items else None

    def _lines(self) -> Iterator[str]:
        said = self.told.get("said")
        if isinstance(said, list) and said:
            yield from (str(line) for line in said if not str(line).startswith("Look: http"))
        elif not self._newest:
            yield _BEGUN

    def _facts(self) -> Iterator[Fact]:
        for name in _COUNTS if self._newest else ():
            yield Fact(name, f"{self._count(name):,}")
        if (usual := number_of(self.told.get("usual_duration"))) is not None:
            yield Fact("A run takes", duration(usual))
        if (end := epoch_of(self.told.get("expected_end"))) is not None:
            yield Fact("Expected end", moment(end))
        yield from super()._facts()

    def _story(self) -> Iterator[StoryLine]:
        task = _object(self.known.batch.get("task"))
        if (at := number_of(task.get("at"))) is not None:
            yield StoryLine(at, f"Batch {task.get('kickoff_id')} began.")
        yield from super()._story()

    def _without(self) -> Iterator[ItemView]:
        """Yield the items without an answer: those that the task named at its end, or those that failed by now."""
        named = self.told.get("without_an_answer")
        for each in map(_object, named if isinstance(named, list) else ()):
            index, word = _whole(each.get("item")), str(each.get("state") or "").replace("_", " ")
            run, error = text_of(each.get("kickoff_id")), text_of(each.get("error"))
            yield ItemView(index, "broken", word, run, inputs=self._inputs_of(index), error=error)
        if not named:
            yield from self._failed_so_far()

    def _failed_so_far(self) -> Iterator[ItemView]:
        for index, letter in enumerate(str(self.known.batch.get("states") or "")):
            if letter in _LETTERS:
                run, came = self._open.get(index, {}), self._outcomes.get(index)
                word = _LEFT.get(str(run.get("left")), _LETTERS[ItemState(letter)])
                run_id = text_of(run.get("kickoff_id")) or (came.kickoff_id if came else None)
                error = came.error if came else None
                yield ItemView(index, "broken", word, run_id, inputs=self._inputs_of(index), error=error)

    @cached_property
    def _outcomes(self) -> dict[int, Outcome]:
        """Return what came of items lately, as far as the record's pages are in Airflow."""
        among = _object(self.known.batch.get("task")).get("fingerprint")
        found: dict[int, Outcome] = {}
        for page in self.known.pages:
            with suppress(CrewLedgerError):
                found |= {outcome.index: outcome for outcome in outcomes_on(page) if outcome.among == among}
        return found

    def _at_work(self) -> Iterator[ItemView]:
        for index, run in sorted(self._open.items()):
            if run.get("left") is None:
                run_id, at = text_of(run.get("kickoff_id")), number_of(run.get("at"))
                yield ItemView(index, "now", "at work", run_id, at, self._inputs_of(index))

    @cached_property
    def _open(self) -> dict[int, Mapping[str, Any]]:
        """Return the runs that may go on, as the record has them, by the item's index."""
        runs = _object(self.known.batch.get("open"))
        return {int(key[:9]): _object(run) for key, run in runs.items() if key.isdecimal()}

    @cached_property
    def _inputs(self) -> JSON:
        given: JSON = inputs_of(self.known.task.get("rendered_fields"))
        return given

    def _inputs_of(self, index: int) -> JSON:
        return self._inputs[index] if isinstance(self._inputs, list) and index < len(self._inputs) else None


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _whole(value: Any) -> int:
    """Return a count, or 0: people may edit what is stored."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else 0
