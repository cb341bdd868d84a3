"""When the worker of a batch wakes: what holds for every batch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hypothesis import assume, given
from hypothesis import strategies as st

from airflow_provider_crewai.client.batch_pace import LONGEST_UNREAD, OF_ALL, News, Pace
from airflow_provider_crewai.client.watch import Ending, Verdict

NOW = 1_767_225_600.0
times = st.floats(NOW - 1000, NOW + 1000)
seconds = st.floats(0, 10_000)


@dataclass(frozen=True)
class Wait:
    """What is known while a batch waits."""

    pace: Pace
    ended_at: tuple[float, ...]
    failed: int
    running: int

    @property
    def wakes_at(self) -> float | None:
        return self.pace.wakes_at(self.ended_at, self.failed, self.running, NOW)

    @property
    def wakes_now(self) -> bool:
        return self.wakes_at is not None and self.wakes_at <= NOW


@st.composite
def waits(draw: st.DrawFn) -> Wait:
    counts = st.integers(0, 200)
    pace = Pace(
        slots=draw(st.integers(1, 200)),
        left=draw(counts),
        since=draw(st.floats(NOW - 1000, NOW)),
        usual=draw(st.none() | seconds),
        bearable=draw(st.none() | st.integers(-1, 20)),
        wake_at=draw(st.none() | times),
    )
    ended_at = tuple(sorted(draw(st.lists(st.floats(pace.since, NOW), max_size=pace.slots))))
    return Wait(pace, ended_at, draw(st.integers(0, len(ended_at))), draw(st.integers(0, pace.slots - len(ended_at))))


@given(waits())
def test_it_sleeps_while_nothing_runs_only_until_a_kickoff_may_be_sent(wait: Wait) -> None:
    idle = replace(wait, running=0)
    may_start = idle.pace.wake_at if idle.pace.left else None
    assert idle.wakes_at is not None
    assert idle.wakes_now or (may_start is not None and idle.wakes_at <= may_start)


@given(waits())
def test_it_is_woken_by_nothing_where_nothing_ended_and_nothing_may_be_started(wait: Wait) -> None:
    quiet = replace(wait, pace=replace(wait.pace, wake_at=None), ended_at=(), failed=0, running=max(wait.running, 1))
    assert quiet.wakes_at is None


@given(waits())
def test_without_items_that_wait_it_is_woken_before_the_last_end_only_so_that_no_answer_is_forgotten(
    wait: Wait,
) -> None:
    last = replace(wait, pace=replace(wait.pace, left=0, bearable=None), running=max(wait.running, 1))
    assert last.wakes_at == (last.ended_at[0] + LONGEST_UNREAD if last.ended_at else None)


@given(waits())
def test_an_end_is_read_within_its_time_whatever_holds(wait: Wait) -> None:
    assume(wait.ended_at)
    assert wait.wakes_at is not None
    assert wait.wakes_at <= max(wait.ended_at[0] + LONGEST_UNREAD, NOW)


@given(waits())
def test_one_failure_more_than_is_bearable_wakes_it_at_once(wait: Wait) -> None:
    bearable = max(wait.pace.bearable or 0, 0)
    pace = replace(wait.pace, bearable=bearable)
    assert replace(wait, pace=pace, ended_at=(NOW,) * (bearable + 1), failed=bearable + 1).wakes_now


@given(waits())
def test_failures_that_are_bearable_wake_it_no_sooner_than_answers(wait: Wait) -> None:
    assume(wait.pace.bearable is None or wait.failed <= wait.pace.bearable or not wait.failed)
    assert wait.wakes_at == replace(wait, failed=0).wakes_at


@given(waits())
def test_free_slots_are_idle_for_no_longer_than_an_eighth_of_a_run_once_a_quarter_is_free(wait: Wait) -> None:
    pace = replace(wait.pace, left=max(wait.pace.left, 1), wake_at=None)
    at = replace(wait, pace=pace, ended_at=(NOW,) * max(1, pace.slots // 4), failed=0).wakes_at
    assert at is not None
    assert at <= max(NOW, pace.since + (pace.usual or 0) / 8)


@given(waits())
def test_between_two_waves_there_is_a_share_of_a_run_while_runs_go_on(wait: Wait) -> None:
    pace = replace(wait.pace, bearable=None, wake_at=None)
    at = replace(wait, pace=pace, running=max(wait.running, 1)).wakes_at
    unread = wait.ended_at[0] + LONGEST_UNREAD if wait.ended_at else math.inf
    assert at is None or at >= min(pace.since + (pace.usual or 0) / 8, unread)


@given(waits())
def test_while_no_kickoff_may_be_sent_free_slots_wake_nobody(wait: Wait) -> None:
    pace = replace(wait.pace, bearable=None, left=max(wait.pace.left, 1), wake_at=NOW + 10)
    slow = replace(wait, pace=pace)
    unread = wait.ended_at[0] + LONGEST_UNREAD if wait.ended_at else math.inf
    assert slow.wakes_at == min(NOW + 10, unread)


@given(waits(), st.floats(0, 1000))
def test_what_is_due_stays_due_and_what_is_not_is_told_the_same_as_time_goes_on(wait: Wait, later: float) -> None:
    before, after = wait.wakes_at, wait.pace.wakes_at(wait.ended_at, wait.failed, wait.running, NOW + later)
    if before is None or before > NOW + later:
        assert after == before
    else:
        assert after is not None
        assert after <= NOW + later


@given(waits())
def test_one_more_end_never_makes_it_later(wait: Wait) -> None:
    assume(wait.running)
    more = replace(wait, ended_at=(*wait.ended_at, NOW), running=wait.running - 1)
    assert (more.wakes_at or math.inf) <= (wait.wakes_at or math.inf)


# ---- with the endings of waits ----------------------------------------------------------------------


def ending(verdict: Verdict) -> Ending:
    return Ending(verdict, "run-1", NOW)


@given(waits(), st.sampled_from(sorted(OF_ALL)))
def test_what_holds_for_all_runs_wakes_it_at_once(wait: Wait, verdict: Verdict) -> None:
    news = News(wait.pace, wait.running + 1)
    news.add(ending(verdict))
    assert news.is_worth_it(NOW)


@given(st.sampled_from(sorted({*Verdict} - OF_ALL - {Verdict.SUCCEEDED})), st.integers(0, 5))
def test_a_run_without_an_answer_counts_as_failed(verdict: Verdict, bearable: int) -> None:
    news = News(Pace(100, 0, NOW, bearable=bearable), 50)
    for _ in range(bearable):
        news.add(ending(verdict))
    assert not news.is_worth_it(NOW)
    news.add(ending(Verdict.SUCCEEDED))
    assert not news.is_worth_it(NOW)
    news.add(ending(verdict))
    assert news.is_worth_it(NOW)
