"""The real operator and the real trigger, killed at each thing that they ask for or tell: of Airflow and of the crew."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from typing import Any

import pytest
from crew_tasks import brief, sends
from in_memory import Airflow, Killed, Outcome, TaskInstance
from scripted_crew import Asked, ScriptedCrew, success
from support.effort import examples

from airflow_provider_crewai.wire import errors

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
STORY = ("RUNNING", "RUNNING", "RUNNING", success("The answer."))
PAIRS = examples(60)
"""How many of all pairs of kills are tried, of each way to wait."""


@dataclass
class Reaper:
    """Counts what a task asks for and tells, and kills its process at some of these."""

    at: frozenset[int]
    count: int = 0
    met: list[str] = field(default_factory=list)

    def airflow(self, message: Any) -> None:
        """Kill before Airflow hears it."""
        self.count += 1
        if self.count in self.at:
            self.met.append(type(message).__name__)
            if threading.current_thread() is threading.main_thread():
                raise Killed(self.met[-1])
            sends(signal.SIGUSR1)(message)  # a thread asks; it is the process that dies

    def crew(self, asked: Asked) -> None:
        """Kill once the crew has heard it, before its answer comes."""
        self.count += 1
        if self.count in self.at:
            self.met.append(asked.path)
            sends(signal.SIGUSR1)(asked)


@pytest.fixture(autouse=True)
def _deadly_signal() -> Iterator[None]:
    def die(*_: object) -> None:
        raise Killed

    before = signal.signal(signal.SIGUSR1, die)
    yield
    signal.signal(signal.SIGUSR1, before)


def begin(crew: ScriptedCrew, at: tuple[int, ...], **options: Any) -> tuple[Reaper, TaskInstance]:
    """Make a task that is killed at these points of its life."""
    reaper = Reaper(frozenset(at))
    airflow = Airflow({"crewai_default": crew.connection}, before=reaper.airflow)
    for path in ("/kickoff", "/status"):
        crew.always(path, reaper.crew)
    crew.story(*STORY)
    return reaper, airflow.task(brief(retries=4, **options))


def live(ti: TaskInstance, clear_after: int = 0) -> Outcome:
    """Try it until Airflow would not try any more; a trigger that dies is run again, as by another triggerer."""
    while True:
        outcome = worked(ti, ti.run)
        while outcome.state == "deferred":
            event = fired(ti)
            outcome = worked(ti, partial(ti.resume, event))
        if ti.try_number == clear_after:
            ti.clear()
        elif outcome.state != "up_for_retry":
            return outcome


def worked(ti: TaskInstance, stay: Callable[[], Outcome]) -> Outcome:
    """Let it stay in a worker; if that dies before it has reported how it ended, Airflow tries again."""
    try:
        return stay()
    except Killed as killed:
        ti.state = "up_for_retry"
        return Outcome(ti.state, None, killed, ())


def fired(ti: TaskInstance) -> Any:
    while True:
        try:
            return ti.fire()
        except Killed:
            continue


def boundaries(*, deferrable: bool) -> int:
    """Count the points of an undisturbed life."""
    with ScriptedCrew() as crew:
        reaper, ti = begin(crew, (), deferrable=deferrable)
        assert live(ti).state == "success"
    return reaper.count


def orphaned(ti: TaskInstance) -> bool:
    return ti.record is not None and ti.record["kickoff_id"] is None


@BOTH_WAYS
def test_killed_anywhere_it_starts_one_run_and_ends_in_the_truth(deferrable: bool) -> None:
    points = boundaries(deferrable=deferrable)
    assert points > 10
    for point in range(1, points + 1):
        with ScriptedCrew() as crew:
            reaper, ti = begin(crew, (point,), deferrable=deferrable)
            outcome = live(ti)
            check(crew, ti, outcome, reaper)


def check(crew: ScriptedCrew, ti: TaskInstance, outcome: Outcome, reaper: Reaper) -> None:
    """Either the run's own answer, or that one may have started, where the record says no more."""
    if orphaned(ti):
        assert (outcome.state, len(crew.kickoffs) <= 1) == ("failed", True), reaper.met
        cause = outcome.error
        assert isinstance(cause, errors.CrewMayHaveStarted), reaper.met
        return
    assert (outcome.state, ti.answer, len(crew.kickoffs)) == ("success", "The answer.", 1), reaper.met


@BOTH_WAYS
def test_killed_twice_it_still_starts_one_run(deferrable: bool) -> None:
    pairs = list(combinations(range(1, boundaries(deferrable=deferrable) + 6), 2))
    for pair in random.Random(0).sample(pairs, PAIRS):  # noqa: S311 - dice
        with ScriptedCrew() as crew:
            reaper, ti = begin(crew, pair, deferrable=deferrable)
            check(crew, ti, live(ti), reaper)


@BOTH_WAYS
def test_killed_anywhere_and_told_to_run_orphans_again_it_starts_a_second_run_only_for_an_orphan(
    deferrable: bool,
) -> None:
    for point in range(1, boundaries(deferrable=deferrable) + 1):
        with ScriptedCrew() as crew:
            reaper, ti = begin(crew, (point,), deferrable=deferrable, on_orphaned_kickoff="rerun")
            assert live(ti).state == "success", reaper.met
            lost_sight = reaper.met in (["/kickoff"], ["SetTaskStateStore"])
            assert len(crew.kickoffs) == 1 or (lost_sight and len(crew.kickoffs) == 2), reaper.met


@BOTH_WAYS
def test_killed_anywhere_and_cleared_to_reattach_it_takes_its_run_up(deferrable: bool) -> None:
    for point in range(1, boundaries(deferrable=deferrable) + 1):
        with ScriptedCrew() as crew:
            reaper, ti = begin(crew, (point,), deferrable=deferrable, on_clear="reattach")
            assert live(ti, clear_after=1).state == "success", reaper.met
            lost_sight = reaper.met in (["/kickoff"], ["SetTaskStateStore"])
            assert len(crew.kickoffs) == 1 or (lost_sight and len(crew.kickoffs) == 2), reaper.met


@BOTH_WAYS
def test_killed_anywhere_and_cleared_it_starts_one_more_run_at_most(deferrable: bool) -> None:
    for point in range(1, boundaries(deferrable=deferrable) + 1):
        with ScriptedCrew() as crew:
            reaper, ti = begin(crew, (point,), deferrable=deferrable)
            assert live(ti, clear_after=1).state == "success", reaper.met
            assert len(crew.kickoffs) <= 2, reaper.met
