"""Each item of a batch runs exactly once, wherever the process dies: simulated, with the laws checked on the way."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from support.batch_world import (
    ROUGH,
    SIZE,
    BatchWorld,
    Life,
    Try,
    Weather,
    live,
    live_try,
    simulate,
)
from support.effort import LONG, examples
from support.scripted import EPOCH
from support.simulation import summary

from airflow_provider_crewai.client.batch_messages import progress
from airflow_provider_crewai.client.batch_record import (
    PAGE_SIZE,
    BatchRecord,
    ItemState,
    Left,
    Open,
    Outcome,
    Slow,
    list_fingerprint,
    named,
    outcomes_on,
    pages_of,
)
from airflow_provider_crewai.client.batch_results import results_of
from airflow_provider_crewai.client.batch_taking_up import TakenUp, anew, begins_anew, go_on
from airflow_provider_crewai.client.ledger import Claim, Record, Rules
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON

LIVES = examples(1000)


def test_no_random_life_of_a_batch_starts_an_item_twice_or_forgets_one() -> None:
    counts = simulate(LIVES, size=SIZE if LONG else SIZE // 2)
    print(f"\n{summary(counts)}")  # noqa: T201 - shown with pytest -s
    assert counts["lives"] == LIVES
    for step in ("load", "save", "wake", "kickoff", "look", "pause"):
        kills = counts[f"killed before a {step}"], counts[f"killed after a {step}"]
        assert all(kills) if LONG else any(kills)
    for what in ("runs", "orphans of a crash", "runs given up by a rule", "asked whether it is wanted", "slept", "resumed",
                 "ends that were read again",
                 "end: done", "end: failed early", "end: gave up: timed_out", "end: CrewLedgerError",
                 "end: CrewTaskKilled", "end: CrewChangedInputs", "result: succeeded", "result: failed",
                 "result: stopped", "result: mismatched", "result: refused", "result: lost",
                 "result: may_have_started", "result: too_large", "result: running", "result: not_started"):  # fmt: skip
        assert counts[what], what


# ---- by hand ----------------------------------------------------------------------------------------

ITEMS = tuple(f"topic {number}" for number in range(6))
STOPPED_EARLY = {"SUCCESS": 0.0, "FAILED": 1.0}


def lived(*tries: Try, rules: Rules | None = None, **said: Any) -> BatchWorld:
    return live(Life(rules or Rules(), tries, said.pop("items", ITEMS), **{"slots": 2, **said}))


def ends(world: BatchWorld) -> list[str]:
    return [line.split("the try ends: ")[1] for line in world.trace if "the try ends: " in line]


def test_a_quiet_batch_runs_each_item_once_and_never_more_than_its_slots() -> None:
    world = lived(Try(), slots=2)
    assert ends(world) == ["done"]
    assert [run.inputs.strip() for run in world.runs.values()] == list(ITEMS)
    assert world.counts["result: succeeded"] == len(ITEMS)


def test_equal_items_are_items_of_their_own() -> None:
    world = lived(Try(), items=("a", "a", "b", "a"))
    assert [run.inputs.strip() for run in world.runs.values()] == ["a", "a.2", "b", "a.3"]


def test_a_batch_of_no_items_is_done_at_once() -> None:
    world = lived(Try(), items=())
    assert ends(world) == ["done"]
    assert not world.runs


def test_a_retry_starts_only_the_items_that_have_no_answer() -> None:
    failing = Try(fates={"SUCCESS": 1, "FAILED": 1})
    world = lived(failing, Try())
    failed = [run.inputs for run in world.runs.values() if run.ending == "FAILED"]
    assert failed
    assert [run.inputs for run in world.runs.values() if run.started == 2] == failed


@pytest.mark.parametrize("kickoff", ["429", "429 for a minute", "402", "503 with a wait", "refused"])
def test_a_kickoff_that_is_turned_away_fails_no_item(kickoff: str) -> None:
    world = lived(Try(weather=Weather(kickoffs={kickoff: 2, "ok": 1})))
    assert world.counts[f"kickoff: {kickoff}"]
    assert ends(world) == ["done"]
    assert world.counts["result: succeeded"] == len(ITEMS)


def test_a_batch_that_bears_no_failure_starts_nothing_after_one_and_stops_the_others() -> None:
    world = lived(Try(fates=STOPPED_EARLY), bearable=0, stop_replaced=True)
    assert ends(world) == ["failed early"]
    assert len(world.runs) <= 3
    assert not any(run.alive for run in world.runs.values())


def test_a_batch_that_bears_no_failure_leaves_the_others_if_it_may_not_stop_them() -> None:
    world = lived(Try(fates=STOPPED_EARLY), bearable=0, slots=4)
    assert ends(world) == ["failed early"]
    assert any(run.alive for run in world.runs.values())
    assert any("go on, because on_kill is 'leave'" in said for said in world.told)


def test_an_outage_after_hours_of_rate_limits_has_not_lasted_for_hours() -> None:
    world = lived(Try(weather=Weather(kickoffs={"402": 1}, silent=(2000, 2800)), timeout=5000))
    assert ends(world) == ["too late"]


def test_an_outage_is_over_once_the_deployment_refuses_an_item() -> None:
    weather = Weather(silent=(0, 700), first=("422", "lost, not started", "lost, not started"))
    assert ends(lived(Try(weather=weather))) == ["done"]


def test_an_outage_fails_the_batch_after_the_time_that_the_author_bears() -> None:
    assert ends(lived(Try(weather=Weather(silent=(0, 5000))))) == ["CrewTransportError"]


ORPHANED = Try(weather=Weather(first=("lost, started",)), lasts=7200, timeout=30)


@pytest.mark.parametrize(
    ("rules", "end"),
    [(Rules("fail"), "CrewChangedInputs"), (Rules("fail", "rerun"), "done"), (Rules("rerun"), "done")],
)
def test_a_run_that_may_have_started_is_forgotten_with_its_item_only_if_the_author_allows_it(
    rules: Rules, end: str
) -> None:
    world = lived(ORPHANED, rules=rules)
    world.topics = world.topics[1:]
    live_try(world, Try())
    assert ends(world)[-1] == end
    assert end != "done" or any("was not answered" in said for said in world.told)


def test_a_try_that_is_resumed_after_its_worker_died_waits_for_no_kickoff_that_was_not_answered() -> None:
    resumed = [lived(Try(killed=(number, True)), Try(change="resumed")) for number in range(1, 40)]
    assert any(world.counts["result: may_have_started"] for world in resumed)
    assert all(ends(world) == ["done"] for world in resumed)


def test_each_step_of_a_rough_try_may_be_the_last_one() -> None:
    for number in range(1, examples(150)):
        for took_effect in (False, True):
            lived(Try(seed=number, weather=ROUGH, killed=(number, took_effect)), Try(), Try(change="cleared"))


def test_after_a_clear_the_pages_of_the_earlier_batch_count_no_more_and_are_left_alone() -> None:
    world = lived(Try())
    old = dict(world.pages)
    live_try(world, Try(change="cleared"))
    assert {world.runs[str(kept.kickoff_id)].started for kept in world.kept.values()} == {2}
    assert old.items() < world.pages.items()


# ---- the table of `batch_taking_up` -----------------------------------------------------------------

NAMES = named(["a" * 32, "b" * 32, "c" * 32])
FIRST = Claim(list_fingerprint(NAMES), "https://crew.example", try_number=1, max_tries=2, dag_run="2026-01-01")
RETRY = replace(FIRST, try_number=2)
CLEARED = replace(RETRY, max_tries=4)
ALL = 3


def earlier(states: str = "...", opened: dict[int, Open] | None = None, pages: int = 0) -> BatchRecord:
    task = Record.intent(FIRST, EPOCH).submitted("batch-1")
    return BatchRecord(task, states, opened or {}, pages=pages)


def run_of(index: int, kickoff_id: str | None = "run-1", left: Left | None = None) -> Open:
    return Open(NAMES[index], EPOCH, kickoff_id, left)


def outcome(index: int, state: ItemState, kickoff_id: str | None = "run-1", answer: JSON = None) -> Outcome:
    return Outcome(NAMES[index], index, FIRST.fingerprint, state, kickoff_id, EPOCH, answer)


def tried_again(
    record: BatchRecord, *outcomes: Outcome, rules: Rules | None = None, claim: Claim = RETRY, names: Any = NAMES
) -> TakenUp:
    return go_on(record, outcomes, replace(claim, fingerprint=list_fingerprint(names)), names, rules or Rules())


def test_with_nothing_on_record_all_items_start() -> None:
    assert begins_anew(None, FIRST, Rules()) is not None
    taken = anew(None, FIRST, ALL, "batch-1", EPOCH, "why")
    assert taken.record.states == "..."
    assert taken.record.batch_id == "batch-1"


def test_the_record_of_a_deleted_dag_run_counts_for_nothing() -> None:
    again = replace(FIRST, dag_run="2026-01-02")
    assert begins_anew(earlier("sss"), again, Rules(on_clear="reattach")) is not None


def test_a_batch_that_is_taken_up_is_of_the_dag_run_that_took_it_up() -> None:
    # The first try of the new Dag run was lost before it wrote anything.
    again = replace(RETRY, dag_run="2026-01-02")
    taken = tried_again(earlier("o..", {0: run_of(0)}), claim=again)
    assert begins_anew(taken.record, again, Rules()) is None


def test_a_clear_starts_all_items_and_drops_the_runs_that_go_on() -> None:
    record = earlier("so.", {1: run_of(1)}, pages=4)
    assert begins_anew(record, CLEARED, Rules()) is not None
    taken = anew(record, CLEARED, ALL, "batch-2", EPOCH, "why")
    assert (taken.record.states, taken.record.first_page, taken.record.pages) == ("...", 4, 4)
    assert [run.kickoff_id for run in taken.dropped] == ["run-1"]


def test_a_clear_with_reattach_goes_on_and_starts_again_what_may_have_started() -> None:
    rules = Rules(on_clear="reattach")
    record = earlier("slo", {1: run_of(1, None, Left.MAY_HAVE_STARTED), 2: run_of(2)}, pages=1)
    assert begins_anew(record, CLEARED, rules) is None
    assert tried_again(record, outcome(0, ItemState.SUCCEEDED), rules=rules, claim=CLEARED).record.states == "s.o"


def test_an_item_that_succeeded_is_kept() -> None:
    assert tried_again(earlier("s..", pages=1), outcome(0, ItemState.SUCCEEDED)).record.states == "s.."


@pytest.mark.parametrize("state", [ItemState.FAILED, ItemState.STOPPED, ItemState.REFUSED])
def test_an_item_that_has_no_answer_starts_again(state: ItemState) -> None:
    assert tried_again(earlier(f"{state}ss", pages=1), outcome(0, state)).record.states == "..."


def test_an_answer_that_does_not_fit_is_read_again_or_replaced_as_the_author_says() -> None:
    record, misfit = earlier("m..", pages=1), outcome(0, ItemState.MISMATCHED)
    read = tried_again(record, misfit).record
    assert (read.states, read.open[0].kickoff_id) == ("o..", "run-1")
    assert tried_again(record, misfit, rules=Rules(on_output_mismatch="rerun")).record.states == "..."


@pytest.mark.parametrize("left", [None, Left.LOST, Left.TOO_LARGE])
def test_a_run_that_may_go_on_is_taken_up(left: Left | None) -> None:
    record = tried_again(earlier("l..", {0: run_of(0, left=left)})).record
    assert (record.states, record.watched) == ("o..", {0: run_of(0)})


@pytest.mark.parametrize("left", [None, Left.MAY_HAVE_STARTED])
def test_a_kickoff_that_was_not_answered_is_not_repeated_unless_the_author_says_so(left: Left | None) -> None:
    record = earlier("o..", {0: run_of(0, None, left)})
    assert tried_again(record).record.states == "l.."
    assert tried_again(record).record.failures == 1
    again = tried_again(record, rules=Rules(on_orphaned_kickoff="rerun"))
    assert (again.record.states, again.record.open) == ("...", {})


def test_an_item_that_is_no_longer_in_the_list_is_dropped_and_the_others_keep_what_they_have() -> None:
    record = earlier("soo", {1: run_of(1), 2: run_of(2, "run-2")}, pages=1)
    taken = tried_again(record, outcome(0, ItemState.SUCCEEDED), names=("new", NAMES[2], NAMES[0]))
    assert taken.record.states == ".os"
    assert taken.record.open == {1: run_of(2, "run-2")}
    assert taken.dropped == (run_of(1),)


def test_an_item_that_comes_back_to_the_list_has_its_answer_again() -> None:
    without = tried_again(earlier("sss", pages=1), outcome(0, ItemState.SUCCEEDED), names=NAMES[1:])
    assert tried_again(without.record, outcome(0, ItemState.SUCCEEDED)).record.states == "s.."


# ---- pages and results ------------------------------------------------------------------------------


def test_the_last_outcome_of_an_item_is_the_one_that_is_returned() -> None:
    record = replace(earlier("s..", pages=3), task=replace(earlier().task, fingerprint=FIRST.fingerprint))
    elsewhere = replace(outcome(0, ItemState.SUCCEEDED, "run-2", "fine"), index=2, among="another list")
    results = results_of(record, NAMES, [outcome(0, ItemState.FAILED), elsewhere])
    assert (results[0]["state"], results[0]["answer"]) == ("succeeded", "fine")


def test_pages_stay_small_and_give_back_what_was_put_on_them() -> None:
    outcomes = [replace(outcome(0, ItemState.SUCCEEDED), answer="x" * size) for size in (10, 40_000, 40_000, 90_000, 5)]
    pages = list(pages_of(outcomes))
    assert [len(page["outcomes"]) for page in pages] == [2, 1, 1, 1]  # type: ignore[arg-type]  # lists
    assert all(len(json.dumps(page)) < PAGE_SIZE * 1.1 for page in pages if len(outcomes_on(page)) > 1)
    assert [each for page in pages for each in outcomes_on(json.loads(json.dumps(page)))] == outcomes


# ---- what somebody has changed by hand --------------------------------------------------------------

SLOW = Slow(EPOCH, EPOCH + 60, 1, "slower", is_outage=True)
OPENED = {0: run_of(0), 2: run_of(2, None, Left.MAY_HAVE_STARTED)}
WHOLE = replace(earlier("osl", OPENED, pages=1), slow=SLOW, seconds=2.5, timed=1, tokens=7, wave_at=EPOCH).to_json()
PAGE = next(pages_of([outcome(0, ItemState.SUCCEEDED, answer={"a": [None]}), outcome(1, ItemState.REFUSED, None)]))
HOSTILE: list[JSON] = [None, "", "text", "9", -1, 2.5, 10**400, 1e300, math.nan, math.inf, [], [None], {}, {"0": None},
                       {"x": {}}, {"-1": {}}, {"a": {"b": []}}, True, "o", "o" * 9]  # fmt: skip


def places_in(value: JSON, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all that is in a value."""
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in parts:
        yield (*path, key)
        yield from places_in(part, (*path, key))


def changed(value: Any, path: tuple[Any, ...], new: JSON) -> Any:
    """Return a copy of a value that has another part."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def without(value: Any, path: tuple[Any, ...]) -> Any:
    """Return a copy of a value that lacks a part."""
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    del inner[path[-1]]
    return copy


def test_a_record_and_a_page_are_read_as_they_were_written() -> None:
    assert BatchRecord.from_json(json.loads(json.dumps(WHOLE))).to_json() == WHOLE
    assert next(pages_of(outcomes_on(json.loads(json.dumps(PAGE))))) == PAGE


@pytest.mark.parametrize("kickoff_id", ["", ".", "..", 5, "x" * 5000, "a\nb"])
def test_a_record_that_names_a_run_that_cannot_be_looked_at_is_refused(kickoff_id: JSON) -> None:
    with pytest.raises(CrewLedgerError, match="cannot be understood"):
        BatchRecord.from_json(changed(WHOLE, ("open", "0", "kickoff_id"), kickoff_id))


@pytest.mark.parametrize("path", list(places_in(WHOLE)), ids=str)
def test_a_changed_record_is_refused_or_can_be_gone_on_with(path: tuple[Any, ...]) -> None:
    for broken in [without(WHOLE, path), *(changed(WHOLE, path, new) for new in HOSTILE)]:
        try:
            record = BatchRecord.from_json(broken)
        except CrewLedgerError:
            continue
        taken = tried_again(record, outcome(1, ItemState.SUCCEEDED))
        assert BatchRecord.from_json(json.loads(json.dumps(taken.record.to_json(), allow_nan=False))) == taken.record
        assert progress(record, 4, EPOCH)
        assert len(results_of(taken.record, NAMES, [])) == len(NAMES)


@pytest.mark.parametrize("record", HOSTILE)
def test_what_is_no_record_is_an_error_of_ours(record: JSON) -> None:
    with pytest.raises(CrewLedgerError, match="cannot be understood"):
        BatchRecord.from_json(record)
    with pytest.raises(CrewLedgerError, match="cannot be understood"):
        outcomes_on(record)


@pytest.mark.parametrize("states", ["oss", "sss", "osll", "ol", "osx", "ssl", ""])
def test_a_record_whose_letters_and_runs_differ_is_refused(states: str) -> None:
    with pytest.raises(CrewLedgerError, match="cannot be understood"):
        BatchRecord.from_json(WHOLE | {"states": states})


@pytest.mark.parametrize("path", list(places_in(PAGE)), ids=str)
def test_a_changed_page_is_refused_or_can_be_gone_on_with(path: tuple[Any, ...]) -> None:
    record = earlier("sss", pages=1)
    for broken in [without(PAGE, path), *(changed(PAGE, path, new) for new in HOSTILE)]:
        try:
            outcomes = outcomes_on(broken)
        except CrewLedgerError:
            continue
        assert json.dumps(list(pages_of(outcomes)))
        assert tried_again(record, *outcomes).record.to_json()
        assert len(results_of(record, NAMES, outcomes)) == len(NAMES)
