"""A run is begun exactly once, wherever the process dies: simulated, with the ledger's laws checked on the way."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from support.effort import LONG, examples, share
from support.scripted import EPOCH, Answer, Memory, ScriptedShell
from support.simulation import (
    CALLS,
    CHANGES,
    FATES,
    KICKOFFS,
    NOT_STARTED,
    Schedule,
    Try,
    World,
    any_rules,
    every_crash,
    live,
    live_try,
    simulate,
    summary,
)

from airflow_provider_crewai.client.begin import CALL_HOME_PATIENCE, Begun, Plan, begin
from airflow_provider_crewai.client.flows import Dialect, Load, Save, Stored
from airflow_provider_crewai.client.ledger import Claim, Record, Rules
from airflow_provider_crewai.client.messages import after_no_run, look_at_crew, no_run
from airflow_provider_crewai.wire.errors import CrewChangedInputs, CrewError, CrewLedgerError, CrewMayHaveStarted
from airflow_provider_crewai.wire.model import JSON, JSONObject, Kickoff, Request, Response

SCHEDULES = examples(3000)


def test_no_random_life_of_a_task_starts_a_run_twice_or_forgets_one() -> None:
    counts = simulate(SCHEDULES)
    print(f"\n{summary(counts)}")  # noqa: T201 - shown with pytest -s
    assert counts["schedules"] == SCHEDULES
    for step in ("load", "save", "wake", "kickoff", "look", "stop", "pause", "renew"):
        kills = counts[f"killed before a {step}"], counts[f"killed after a {step}"]
        assert all(kills) if LONG else any(kills)


def test_no_crash_at_any_step_starts_a_run_twice_or_forgets_one() -> None:
    lives: Counter[str] = Counter()
    for schedule, at in _small_lives():
        for crashed in every_crash(schedule, at=at):
            lives += live(crashed).counts
    print(f"\n{summary(lives)}")  # noqa: T201 - shown with pytest -s
    assert lives["kills"] >= lives["schedules"] > examples(5000)


def _small_lives() -> Sequence[tuple[Schedule, int]]:
    """Two or three tries, of which the first or the second dies at each of its steps."""
    return share([*_first_dies(), *_second_dies(), *_dies_while_waiting(), *_calls_home()])


def _first_dies() -> list[tuple[Schedule, int]]:
    return [
        (Schedule(rules, (Try(kickoffs=(kickoff, "ok")), Try(change), Try())), 0)
        for rules in any_rules()
        for kickoff in KICKOFFS
        for change in CHANGES
    ]


def _second_dies() -> list[tuple[Schedule, int]]:
    return [
        (Schedule(rules, (Try(), Try(change, (fate,), (kickoff,)), Try("other inputs")), stop_replaced=True), 1)
        for rules in any_rules()
        for change in CHANGES
        for fate in FATES
        for kickoff in ("ok", "lost, started", "422")
    ]


def _dies_while_waiting() -> list[tuple[Schedule, int]]:
    return [
        (
            Schedule(
                rules,
                (Try(fate=fate, lasts=5.0, looks=("401", "reset", "truth")), Try(change, lasts=5.0), Try(lasts=5.0)),
                waits=True,
            ),
            at,
        )
        for rules in any_rules()[::3]
        for change in CHANGES
        for fate in FATES[1:]
        for at in (0, 1)
    ]


def _calls_home() -> list[tuple[Schedule, int]]:
    """A try dies at each of its steps, also while it listens, and its run calls home in each way."""
    return [
        (Schedule(rules, (Try(kickoffs=(kickoff,), calls=(call,)), Try(change), Try()), listens=True), 0)
        for rules in any_rules()[::3]
        for kickoff in ("ok", "lost, started", "502, started", "lost, not started")
        for call in CALLS
        for change in CHANGES
    ]


# ---- by hand ----------------------------------------------------------------------------------------


def lived(*tries: Try, rules: Rules | None = None) -> World:
    return live(Schedule(rules or Rules(), tries))


def outcomes(world: World) -> list[str]:
    return [line.split("outcome: ")[1].split("(")[0] for line in world.trace if "outcome: " in line]


def test_a_retry_takes_up_the_run_of_the_earlier_try() -> None:
    world = lived(Try(), Try(), Try())
    assert list(world.runs) == ["run-1"]
    assert world.counts["outcome: took up a run"] == 2


@pytest.mark.parametrize("look", ["reset", "502", "401", "html"])
def test_a_retry_takes_a_run_up_that_it_cannot_see(look: str) -> None:
    assert list(lived(Try(), Try(looks=(look,))).runs) == ["run-1"]


def test_a_retry_takes_up_a_run_that_waits_for_a_human_or_is_done() -> None:
    for fate in ("waits for a human", "SUCCESS"):
        assert list(lived(Try(), Try(fates=(fate,))).runs) == ["run-1"]


def test_a_retry_after_a_failed_run_starts_another() -> None:
    for fate in ("FAILED", "REVOKED"):
        assert list(lived(Try(), Try(fates=(fate,))).runs) == ["run-1", "run-2"]


@pytest.mark.parametrize("kickoff", sorted(NOT_STARTED))
def test_a_kickoff_that_was_certainly_not_started_leaves_nothing_on_record(kickoff: str) -> None:
    world = lived(Try(kickoffs=(kickoff,)))
    assert world.record is None
    assert not world.runs


@pytest.mark.parametrize("kickoff", ["lost, started", "lost, not started", "502, started", "html, started"])
def test_a_kickoff_that_may_have_started_stops_every_retry_until_the_task_is_cleared(kickoff: str) -> None:
    world = lived(Try(kickoffs=(kickoff,)), Try(), Try(), Try("cleared"))
    assert outcomes(world) == ["CrewMayHaveStarted"] * 3 + ["Begun"]


def test_a_refused_rerun_leaves_the_earlier_run_on_record() -> None:
    world = lived(Try(), Try("other inputs", kickoffs=("422",)), Try("other inputs"))
    assert list(world.runs) == ["run-1"]
    assert outcomes(world) == ["Begun", "CrewInputError", "Begun"]


def heard(*tries: Try, rules: Rules | None = None) -> World:
    return live(Schedule(rules or Rules(), tries, listens=True))


LOST = "lost, started"


@pytest.mark.parametrize("call", ["at once", "after 30 s", "twice"])
def test_a_run_that_calls_home_in_time_is_the_one_that_the_lost_answer_would_have_named(call: str) -> None:
    world = heard(Try(kickoffs=(LOST,), calls=(call,)), Try())
    assert outcomes(world) == ["Begun", "Begun"]
    assert list(world.runs) == ["run-1"]


@pytest.mark.parametrize("call", ["after 90 s", "after 30 s", "at once"])
def test_a_retry_takes_up_the_run_that_has_called_home_meanwhile(call: str) -> None:
    schedule = Schedule(Rules(), (Try(kickoffs=(LOST,), calls=(call,)), Try(), Try()), listens=True)
    ended = [live(crashed) for crashed in every_crash(schedule, at=0)]
    started = [world for world in ended if world.counts[f"kickoff: {LOST}"] and world.counts["kills"]]
    assert len(started) > 5
    for world in started:
        assert outcomes(world)[-1] == "Begun"
        assert list(world.runs) == ["run-1"]


@pytest.mark.parametrize("call", ["none", "of another try", "forged"])
def test_what_no_run_of_this_kickoff_says_leaves_it_open_whether_one_has_started(call: str) -> None:
    world = heard(Try(kickoffs=(LOST,), calls=(call,)), Try())
    assert outcomes(world) == ["CrewMayHaveStarted", "CrewMayHaveStarted"]


def test_nobody_waits_for_a_call_longer_than_is_promised() -> None:
    world = heard(Try(kickoffs=(LOST,)), Try())
    assert CALL_HOME_PATIENCE <= world.now - EPOCH < CALL_HOME_PATIENCE + 130


def test_a_run_that_called_home_is_stopped_when_a_clear_replaces_it() -> None:
    tries = (Try(kickoffs=(LOST,), calls=("after 90 s",)), Try("cleared"))
    world = live(Schedule(Rules(), tries, stop_replaced=True, listens=True))
    assert [run.word for run in world.runs.values()] == ["REVOKED", "RUNNING"]


@pytest.mark.parametrize("save", ["error, kept", "error, lost"])
def test_without_an_intent_on_record_nothing_is_sent(save: str) -> None:
    world = lived(Try(saves=(save,)))
    assert outcomes(world) == ["CrewLedgerError"]
    assert world.counts["kickoff: ok"] == 0


@pytest.mark.parametrize("save", ["error, kept", "error, lost"])
def test_a_run_that_could_not_be_recorded_is_waited_for_all_the_same(save: str) -> None:
    world = lived(Try(saves=("ok", save)))
    assert outcomes(world) == ["Begun"]
    assert any("could not be recorded" in line for line in world.trace)


def test_each_rule_and_change_of_a_quiet_world_ends_without_an_unknown_error() -> None:
    for rules, change in itertools.product(any_rules(), CHANGES):
        assert set(outcomes(lived(Try(), Try(change), rules=rules))) <= {"Begun", "CrewChangedInputs"}


@pytest.mark.parametrize("change", ["cleared", "other inputs"])
def test_a_replaced_run_is_stopped_unless_the_author_leaves_it(change: str) -> None:
    world = live(Schedule(Rules(), (Try(), Try(change)), stop_replaced=True))
    assert [run.word for run in world.runs.values()] == ["REVOKED", "RUNNING"]
    world = live(Schedule(Rules(), (Try(), Try(change)), stop_replaced=False))
    assert [run.word for run in world.runs.values()] == ["RUNNING", "RUNNING"]
    assert any("still cost money" in line for line in world.trace)


@pytest.mark.parametrize("stop", ["404", "reset, not stopped", "html"])
def test_a_run_that_cannot_be_stopped_does_not_stop_the_new_one(stop: str) -> None:
    world = live(Schedule(Rules(), (Try(), Try("cleared", stops=(stop,))), stop_replaced=True))
    assert len(world.runs) == 2
    assert not any("is stopped" in line for line in world.trace)


def test_the_steps_of_a_start_are_in_the_order_that_survives_a_crash() -> None:
    world = World(Rules())
    steps = live_try(world, Try(), Schedule(Rules(), ()))
    order = [step for step in steps if isinstance(step, Load | Save | Request)]
    assert [type(step) for step in order] == [Load, Request, Save, Request, Save]
    assert [step.path for step in order if isinstance(step, Request)] == ["/inputs", "/kickoff"]


# ---- the record that cannot be read, and what the words say -------------------------------------------

CLAIM = Claim("same", "https://crew.example", try_number=2, max_tries=3)
EARLIER = Record("same", "https://crew.example", try_number=1, max_tries=3, at=EPOCH)


def attempt(record: JSON, claim: Claim = CLAIM, rules: Rules | None = None, state: str = "RUNNING") -> ScriptedShell:
    """Begin with this on record; the outcome is kept as `shell.outcome`."""

    def server(asked: object) -> Answer:
        del asked
        return Answer(Response(200, {}, f'{{"kickoff_id":"new","state":"{state}"}}'.encode()))

    shell = ScriptedShell(server, itertools.repeat(0.5), store=Memory(record))
    plan = Plan(Kickoff({"a": 1}), claim, rules or Rules())
    shell.outcome = _outcome(shell, plan)  # type: ignore[attr-defined]
    return shell


def _outcome(shell: ScriptedShell, plan: Plan) -> Begun | CrewError:
    try:
        return shell.drive(begin(plan, Dialect(), lambda _: None))
    except CrewError as error:
        return error


def sent(shell: ScriptedShell) -> list[str]:
    return [exchange.asked.request.path for exchange in shell.log]


@pytest.mark.parametrize(
    "record",
    ["text", 5, [], {}, {"version": 2}, {**EARLIER.to_json(), "at": "yesterday"}, {**EARLIER.to_json(), "version": 9}],
)
def test_a_record_that_cannot_be_understood_is_an_error_and_nothing_is_sent(record: JSON) -> None:
    for claim in (CLAIM, replace(CLAIM, max_tries=9)):
        shell = attempt(record, claim)
        assert isinstance(shell.outcome, CrewLedgerError)  # type: ignore[attr-defined]
        assert sent(shell) == []


@pytest.mark.parametrize("at", [1e300, -1e300, float("inf"), float("nan"), 10**400])
def test_a_record_of_an_impossible_time_is_an_error_of_ours_and_nothing_is_sent(at: float) -> None:
    shell = attempt({**EARLIER.to_json(), "at": at})
    assert isinstance(shell.outcome, CrewError)  # type: ignore[attr-defined]
    assert sent(shell) == []


def test_a_store_that_does_not_answer_is_an_error_and_nothing_is_sent() -> None:
    flow = begin(Plan(Kickoff(), CLAIM, Rules()), Dialect(), lambda _: None)
    assert isinstance(next(flow), Load)
    shell = ScriptedShell(lambda _: Answer(Response(200)), itertools.repeat(0.5))
    with pytest.raises(CrewLedgerError, match="Nothing was sent"):
        flow.send(shell._reply(None))  # noqa: SLF001 - a shell that says nothing


def test_a_refused_orphan_names_the_try_the_crew_the_time_and_the_ways_out() -> None:
    error = attempt(EARLIER.to_json()).outcome  # type: ignore[attr-defined]
    assert isinstance(error, CrewMayHaveStarted)
    look = look_at_crew(error, None, "https://crew.example", "crewai_default")
    lines = no_run(error, otherwise="", after=after_no_run(error, retried=False), look=look)
    for said in ("Try 1", "https://crew.example", "2026-01-01 00:00:00 UTC", "Nothing was sent", "The task is not retried.",
                 "To start another run, clear it", "on_orphaned_kickoff='rerun'"):  # fmt: skip
        assert said in " ".join(lines)


def test_refused_changed_inputs_name_the_run_the_time_and_the_way_out() -> None:
    record: JSONObject = EARLIER.submitted("run-7").to_json()
    error = attempt(record, replace(CLAIM, fingerprint="other"), Rules("fail")).outcome  # type: ignore[attr-defined]
    assert isinstance(error, CrewChangedInputs)
    for said in ("run-7", "try 1", "2026-01-01 00:00:00 UTC", "may still go on", "Nothing was sent", "clear the task"):
        assert said in str(error)


def test_a_taken_up_run_keeps_the_time_at_which_it_was_kicked_off() -> None:
    shell = attempt(EARLIER.submitted("run-7").to_json())
    outcome = shell.outcome  # type: ignore[attr-defined]
    assert isinstance(outcome, Begun)
    assert (outcome.kickoff_id, outcome.at, outcome.adopted) == ("run-7", EPOCH, True)
    assert isinstance(shell.store.load(), dict)
    assert Stored(shell.store.load()).record == EARLIER.submitted("run-7").adopted(CLAIM).to_json()
