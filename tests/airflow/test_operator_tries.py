"""One run over many tries: what a task does when it finds the record of an earlier one."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.comms import GetTaskStateStore, SetTaskStateStore
from conftest import Clock
from crew_tasks import brief, sends, starts_slowly, worker_dies_at
from in_memory import LOGICAL_DATE, Airflow, Killed, TaskInstance
from scripted_crew import INPUTS, LOST, TOKEN, Answer, ScriptedCrew, error, failure, success

from airflow_provider_crewai.in_airflow.ledger_store import RECOVERY_IS_OFF
from airflow_provider_crewai.retries import CrewRetryPolicy
from airflow_provider_crewai.wire import errors

BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
ADOPTED = "No new run is started."
Script = Callable[[Any], Any]


@pytest.fixture
def dies() -> Iterator[Script]:
    """A script for the crew: the worker dies while it waits for the answer."""

    def die(*_: object) -> None:
        raise Killed

    before = signal.signal(signal.SIGUSR1, die)
    yield sends(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


def crashed_while_waiting(airflow: Airflow, crew: ScriptedCrew, dies: Script, **options: Any) -> TaskInstance:
    """Let a first try end by a crash, with its run going on."""
    crew.story("RUNNING")
    crew.once("/status", Answer(body={"state": "RUNNING"}), dies)
    ti = airflow.task(brief(retries=2, deferrable=False, **options))
    outcome = ti.run()
    assert isinstance(outcome.error, Killed)
    assert outcome.state == "up_for_retry"
    return ti


# ---- the worker dies -------------------------------------------------------------------------------


def test_killed_while_waiting_the_retry_takes_the_same_run_up(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    crew.now("run-1", "RUNNING", "RUNNING", success())
    outcome = ti.finish()
    assert outcome.state == "success"
    assert ADOPTED in outcome.text
    assert ti.xcom("kickoff_id") == "run-1"
    assert len(crew.kickoffs) == 1


def test_killed_between_the_kickoff_and_its_record_the_retry_refuses_and_says_where_to_look(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    ti = orphaned(airflow, crew)
    outcome = ti.run()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert isinstance(outcome.error, errors.CrewMayHaveStarted)
    for words in (
        "Try 1 sent a kickoff at 20",
        "A paid run may be going on whose kickoff_id is not known",
        f"Look for it on the page of the crew {crew.url}, among the runs started at that time.",
        "Nothing was sent now.",
        "The task is not retried. To start another run, clear it or set on_orphaned_kickoff='rerun'.",
        "A paid run may have started (connection 'crewai_default').",
    ):
        assert words in outcome.told
    assert len(crew.kickoffs) == 1


def orphaned(airflow: Airflow, crew: ScriptedCrew, **options: Any) -> TaskInstance:
    """Let a first try end after its kickoff was sent and before its id was written down."""
    crew.story("RUNNING", success())
    airflow.before = worker_dies_at("SetTaskStateStore", 2)
    ti = airflow.task(brief(retries=2, **options))
    assert ti.run().state == "up_for_retry"
    assert ti.record["kickoff_id"] is None
    assert len(crew.kickoffs) == 1
    return ti


def test_an_orphaned_kickoff_is_refused_with_a_retry_policy_too(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = orphaned(airflow, crew, retry_policy=CrewRetryPolicy())
    outcome = ti.run()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, errors.CrewMayHaveStarted)


def test_an_orphaned_kickoff_is_run_again_where_the_author_says_so(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = orphaned(airflow, crew, on_orphaned_kickoff="rerun")
    assert ti.finish().state == "success"
    assert ti.record["kickoff_id"] == "run-2"
    assert len(crew.kickoffs) == 2


def test_after_an_orphaned_kickoff_a_clear_starts_anew(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = orphaned(airflow, crew)
    ti.run()
    ti.clear()
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


@BOTH_WAYS
def test_killed_between_the_record_and_the_deferral_the_retry_takes_the_same_run_up(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    crew.story("RUNNING", success())
    airflow.before = worker_dies_at("SetXCom", 2)  # the first is the link's
    ti = airflow.task(brief(retries=1, deferrable=deferrable))
    assert ti.run().state == "up_for_retry"
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize("meanwhile", ["it goes on", "it has ended"])
def test_killed_on_coming_back_the_retry_takes_the_same_run_up(
    airflow: Airflow, crew: ScriptedCrew, dies: Script, meanwhile: str
) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(retries=1, deferrable=True))
    ti.run()
    crew.now("run-1", *(["RUNNING"] if meanwhile == "it goes on" else []), success())
    crew.once("/status", dies)
    assert ti.resume({"ending": "succeeded"}).state == "up_for_retry"
    outcome = ti.finish()
    assert outcome.state == "success"
    assert ADOPTED in outcome.text
    assert len(crew.kickoffs) == 1


def test_a_worker_that_dies_before_the_kickoff_costs_nothing_but_is_not_distinguishable(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    airflow.before = worker_dies_at("SetTaskStateStore")
    ti = airflow.task(brief(retries=1))
    assert ti.run().state == "up_for_retry"
    assert crew.kickoffs == []
    assert ti.record is None
    assert ti.finish().state == "success"


# ---- the next try ----------------------------------------------------------------------------------


@BOTH_WAYS
def test_a_run_that_ended_meanwhile_is_returned_at_once(
    airflow: Airflow, crew: ScriptedCrew, dies: Script, deferrable: bool
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    ti.edit(brief(retries=2, deferrable=deferrable))
    crew.now("run-1", success("Done meanwhile."))
    assert ti.run().state == "success"
    assert ti.answer == "Done meanwhile."
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize("ended", [failure("out of tokens"), {"state": "REVOKED", "status": None}])
def test_a_run_that_ended_badly_is_started_again(airflow: Airflow, crew: ScriptedCrew, ended: dict[str, Any]) -> None:
    crew.story("RUNNING", ended)
    ti = airflow.task(brief(retries=1))
    assert ti.finish().state == "up_for_retry"
    crew.story("RUNNING", success("Better."))
    assert ti.finish().state == "success"
    assert ti.answer == "Better."
    assert ti.record["kickoff_id"] == "run-2"
    assert len(crew.kickoffs) == 2


def test_a_run_that_failed_while_nobody_looked_is_started_again(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    crew.now("run-1", failure("out of tokens"))
    crew.story("RUNNING", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


def test_a_run_that_cannot_be_looked_at_is_taken_up_all_the_same(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    crew.now("run-1", success())
    crew.once("/status", error(502, "Bad Gateway"), error(502, "Bad Gateway"))
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


def test_each_try_takes_up_the_run_of_the_one_before(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    crew.always("/status", error(502, "Bad Gateway"))
    ti = airflow.task(brief(retries=3, unreachable_timeout=0.005))
    assert [ti.finish().state for _ in range(3)] == ["up_for_retry"] * 3
    assert ti.record["try_number"] == 3
    crew.always("/status", None)
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


@BOTH_WAYS
def test_a_run_that_timed_out_is_taken_up_by_the_retry(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, deferrable: bool
) -> None:
    crew.story("RUNNING")
    starts_slowly(crew, clock, 60)
    ti = airflow.task(brief(retries=1, timeout=60, deferrable=deferrable))
    assert isinstance(ti.finish().error, errors.CrewRunTimedOut)
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


def test_inputs_are_not_checked_for_a_run_that_is_taken_up(airflow: Airflow, crew: ScriptedCrew, dies: Script) -> None:
    ti = crashed_while_waiting(airflow, crew, dies, validate_inputs=True)
    crew.now("run-1", success())
    crew.always("/inputs", error(404, "Not Found"))
    assert ti.finish().state == "success"


def test_a_retry_that_cannot_take_its_run_up_says_that_it_may_go_on(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    airflow.connections.clear()
    assert "run-1" in ti.finish().told


# ---- cleared by a user -----------------------------------------------------------------------------


@pytest.mark.parametrize("retries", [0, 2])
def test_clearing_a_task_that_succeeded_starts_a_new_run(airflow: Airflow, crew: ScriptedCrew, retries: int) -> None:
    crew.story("RUNNING", success("The first."))
    ti = airflow.task(brief(retries=retries))
    ti.finish()
    ti.clear()
    crew.story("RUNNING", success("The second."))
    outcome = ti.finish()
    assert outcome.state == "success"
    assert "the task was cleared" in outcome.text
    assert ti.answer == "The second."
    assert len(crew.kickoffs) == 2


@pytest.mark.parametrize("retries", [0, 2])
def test_clearing_with_reattach_returns_the_old_answer(airflow: Airflow, crew: ScriptedCrew, retries: int) -> None:
    crew.story("RUNNING", success("The first."))
    ti = airflow.task(brief(retries=retries, on_clear="reattach"))
    ti.finish()
    ti.clear()
    outcome = ti.finish()
    assert outcome.state == "success"
    assert ADOPTED in outcome.text
    assert ti.answer == "The first."
    assert len(crew.kickoffs) == 1


def test_clearing_a_deferred_task_stops_its_run_and_starts_a_new_one(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True))
    ti.run()
    ti.clear()
    outcome = ti.run()
    assert outcome.state == "deferred"
    assert "Run run-1 is stopped." in outcome.text
    assert ti.xcom("kickoff_id") == "run-2"
    assert crew.stops == ["run-1"]


def test_clearing_a_task_that_timed_out_stops_its_run(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    crew.story("RUNNING")
    starts_slowly(crew, clock, 60)
    ti = airflow.task(brief(timeout=60))
    ti.run()
    ti.task.timeout = None
    ti.clear()
    crew.story(success())
    assert ti.run().state == "success"
    assert crew.stops == ["run-1"]


def test_a_clear_is_noticed_where_the_author_has_lowered_the_retries(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief(retries=3))
    ti.finish()
    ti.edit(brief(retries=1))
    ti.clear()
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


def test_clearing_a_task_whose_run_is_left_starts_a_new_run_and_warns_of_the_old_one(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, on_kill="leave"))
    ti.run()
    ti.clear()
    outcome = ti.run()
    assert outcome.state == "deferred"
    assert "Run run-1, started by an earlier try, may still be going on and still cost money." in outcome.text
    assert ti.xcom("kickoff_id") == "run-2"
    assert crew.stops == []


def test_a_run_that_is_over_is_neither_warned_of_nor_stopped(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief())
    ti.finish()
    ti.clear()
    assert "cost money" not in ti.finish().text
    assert crew.stops == []


def test_clearing_a_deferred_task_with_reattach_takes_the_same_run_up(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(deferrable=True, on_clear="reattach"))
    ti.run()
    ti.clear()
    crew.now("run-1", "RUNNING", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


def test_a_retry_after_a_clear_is_a_retry_again(airflow: Airflow, crew: ScriptedCrew, dies: Script) -> None:
    crew.story(success())
    ti = airflow.task(brief(retries=2))
    ti.finish()
    ti.clear()
    crew.story("RUNNING")
    crew.once("/status", Answer(body={"state": "RUNNING"}), Answer(body={"state": "RUNNING"}), dies)
    assert ti.run().state == "up_for_retry"
    crew.now("run-2", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


# ---- the inputs or the crew changed ----------------------------------------------------------------

OTHER = {**INPUTS, "topic": "Turbines"}


def test_inputs_that_were_edited_between_tries_start_a_new_run_and_stop_the_old_one(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    ti.edit(brief(retries=2, inputs=OTHER))
    crew.story("RUNNING", success())
    outcome = ti.finish()
    assert outcome.state == "success"
    assert "inputs changed" in outcome.text
    assert "Run run-1 is stopped." in outcome.text
    assert crew.stops == ["run-1"]
    assert [body["inputs"] for body in crew.kickoffs] == [INPUTS, OTHER]


def test_a_template_that_renders_anew_for_each_try_starts_a_new_run(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies, inputs={"topic": "try {{ ti.try_number }}"})
    crew.story(success())
    assert ti.finish().state == "success"
    assert [body["inputs"]["topic"] for body in crew.kickoffs] == ["try 1", "try 2"]


@pytest.mark.parametrize("policy", [None, CrewRetryPolicy()], ids=["plain", "with policy"])
def test_edited_inputs_are_refused_where_the_author_says_so(
    airflow: Airflow, crew: ScriptedCrew, dies: Script, policy: CrewRetryPolicy | None
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    ti.edit(brief(retries=2, inputs=OTHER, on_changed_inputs="fail", retry_policy=policy))
    outcome = ti.finish()
    assert outcome.state == "failed"
    typed = outcome.error
    assert isinstance(typed, errors.CrewChangedInputs)
    for words in ("on_changed_inputs is 'fail'", "run run-1", "may still go on", "Nothing was sent.", "clear the task"):
        assert words in outcome.told
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize("ended", [success(), failure("out of tokens")], ids=["succeeded", "failed"])
def test_edited_inputs_are_not_refused_once_the_old_run_is_over(
    airflow: Airflow, crew: ScriptedCrew, dies: Script, ended: dict[str, Any]
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    crew.now("run-1", ended)
    crew.story(success())
    ti.edit(brief(retries=2, inputs=OTHER, on_changed_inputs="fail"))
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


def test_another_crew_is_a_change_too(airflow: Airflow, crew: ScriptedCrew, dies: Script) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    with ScriptedCrew() as other:
        airflow.connections["crewai_default"] = other.connection
        assert ti.finish().state == "success"
        assert len(other.kickoffs) == 1
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize(
    "other", [{"meta": {"owner": "somebody else"}}, {"crew_webhook_url": "https://elsewhere.example/?token=rotated"}]
)
def test_another_meta_or_webhook_is_no_change(
    airflow: Airflow, crew: ScriptedCrew, dies: Script, other: dict[str, Any]
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    crew.now("run-1", success())
    ti.edit(brief(retries=2, **other))
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


# ---- the answer to the kickoff is lost -------------------------------------------------------------


@pytest.mark.parametrize(
    "lost",
    [LOST, error(500, "Internal Server Error"), error(502, "Bad Gateway"), Answer(200, b"<html>"), Answer(200, {})],
    ids=["no answer", "500", "502", "HTML", "no id"],
)
@pytest.mark.parametrize("policy", [None, CrewRetryPolicy()], ids=["plain", "with policy"])
def test_a_kickoff_whose_answer_is_lost_is_never_sent_again_by_itself(
    airflow: Airflow, crew: ScriptedCrew, lost: Answer, policy: CrewRetryPolicy | None
) -> None:
    crew.once("/kickoff", lost)
    ti = airflow.task(brief(retries=2, retry_policy=policy))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert "A paid run may have started" in outcome.told
    assert "The kickoff was not sent again" in outcome.told
    assert "The task is not retried. To start another run, clear it" in outcome.told
    assert ti.finish().state == "failed"
    assert len(crew.kickoffs) == 1
    ti.clear()
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


def test_a_lost_answer_is_retried_where_the_author_accepts_a_second_run(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", LOST)
    ti = airflow.task(brief(retries=2, on_orphaned_kickoff="rerun"))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewMayHaveStarted)
    assert "A retry or a clear starts another run." in outcome.told
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


def test_a_kickoff_that_was_turned_away_leaves_no_false_alarm(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", error(429, "slow down", Retry_After="1000"))
    ti = airflow.task(brief(retries=1))
    assert ti.finish().state == "up_for_retry"
    assert ti.record is None
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


def test_a_kickoff_that_was_turned_away_leaves_what_stood_on_record_before(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    ti.edit(brief(retries=2, inputs=OTHER))
    crew.once("/kickoff", error(422, "Missing inputs: audience"))
    assert ti.finish().state == "failed"
    assert ti.record["kickoff_id"] == "run-1"


# ---- the record ------------------------------------------------------------------------------------


def test_a_record_that_cannot_be_read_is_not_no_record(airflow: Airflow, crew: ScriptedCrew, dies: Script) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    airflow.broken = {"GetTaskStateStore"}
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewLedgerError)
    assert (
        "No kickoff was sent, because a run may have been started before. A retry reads the record again"
        in outcome.told
    )
    assert len(crew.kickoffs) == 1
    airflow.broken = set()
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize("strange", ["run-1", 7, [], {"version": 99}, {"version": 1}, {"version": 1, "at": "noon"}])
def test_a_record_that_cannot_be_understood_is_not_no_record(
    airflow: Airflow, crew: ScriptedCrew, strange: Any
) -> None:
    ti = airflow.task(brief(retries=1))
    airflow.records[ti.key, "crewai_run"] = strange
    outcome = ti.finish()
    assert isinstance(outcome.error, errors.CrewLedgerError)
    assert "cannot be understood" in outcome.told
    assert crew.kickoffs == []


@pytest.mark.parametrize("policy", [None, CrewRetryPolicy()], ids=["plain", "with policy"])
def test_a_record_that_cannot_be_written_keeps_the_kickoff_from_being_sent(
    airflow: Airflow, crew: ScriptedCrew, policy: CrewRetryPolicy | None
) -> None:
    airflow.broken = {"SetTaskStateStore"}
    ti = airflow.task(brief(retries=1, retry_policy=policy))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewLedgerError)
    assert "cannot be written" in outcome.told
    assert crew.kickoffs == []


def test_a_run_that_could_not_be_recorded_is_waited_for_all_the_same(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", lambda _: airflow.broken.add("SetTaskStateStore"))
    crew.story("RUNNING", success())
    outcome = airflow.task(brief()).finish()
    assert outcome.state == "success"
    assert "Run run-1 was started, but this could not be recorded yet" in outcome.text


def test_a_run_that_could_not_be_recorded_at_first_is_recorded_before_the_task_fails(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING")
    crew.once("/kickoff", lambda _: airflow.broken.add("SetTaskStateStore") or clock.sleep(60))
    crew.once("/status", lambda _: airflow.broken.clear())
    ti = airflow.task(brief(retries=1, timeout=60))
    assert "A retry takes this run up again" in ti.run().told
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


def test_a_run_that_cannot_be_recorded_is_said_to_be_out_of_a_retrys_reach(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING")
    crew.once("/kickoff", lambda _: airflow.broken.add("SetTaskStateStore") or clock.sleep(60))
    outcome = airflow.task(brief(retries=1, timeout=60)).run()
    assert "It is not on record, so a retry cannot take it up" in outcome.told


def test_a_run_is_taken_up_even_where_that_cannot_be_recorded(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies)
    crew.now("run-1", success())
    airflow.broken = {"SetTaskStateStore"}
    outcome = ti.finish()
    assert outcome.state == "success"
    assert "Run run-1 is taken up, but this could not be recorded" in outcome.text


def test_the_record_is_kept_for_ever_and_holds_neither_token_nor_inputs(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief())
    ti.finish()
    assert airflow.expiries == {"crewai_run": None}
    assert ti.record["crew"] == crew.url
    for secret in (TOKEN, *INPUTS, *INPUTS.values()):
        assert secret not in str(ti.record)


def test_the_intent_is_written_before_the_kickoff_and_the_id_after_it(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief())
    at_kickoff = []
    crew.once("/kickoff", lambda _: at_kickoff.append(ti.record))
    ti.finish()
    assert at_kickoff[0]["kickoff_id"] is None
    assert ti.record == {**at_kickoff[0], "kickoff_id": "run-1", "answered": True}


def test_without_durability_each_try_starts_a_run_and_nothing_is_recorded(
    airflow: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(airflow, crew, dies, durable=False)
    crew.story("RUNNING", success())
    outcome = ti.finish()
    assert outcome.state == "success"
    assert RECOVERY_IS_OFF not in outcome.text
    assert airflow.records == {}
    assert airflow.count(GetTaskStateStore) == airflow.count(SetTaskStateStore) == 0
    assert len(crew.kickoffs) == 2


def test_without_durability_a_retry_is_said_to_start_a_second_run(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING")
    starts_slowly(crew, clock, 60)
    outcome = airflow.task(brief(durable=False, timeout=60)).finish()
    assert (
        "Recovery is off, so a retry or a clear starts a second run beside this one: stop this one first."
        in outcome.told
    )


# ---- an Airflow without a task state store ---------------------------------------------------------


@pytest.fixture
def older(airflow: Airflow) -> Airflow:
    """Airflow below 3.3."""
    airflow.has_state_store = False
    return airflow


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A place that all workers share."""
    monkeypatch.setenv("AIRFLOW__CREWAI__LEDGER_PATH", f"file://{tmp_path}/ledger")
    return tmp_path / "ledger"


def test_older_airflows_keep_the_record_in_the_ledger_path(
    older: Airflow, crew: ScriptedCrew, dies: Script, ledger: Path
) -> None:
    ti = crashed_while_waiting(older, crew, dies)
    assert [path.relative_to(ledger).as_posix() for path in ledger.rglob("*.json")] == [
        "briefs/manual__1/brief/-1.json"
    ]
    crew.now("run-1", success())
    outcome = ti.finish()
    assert outcome.state == "success"
    assert ADOPTED in outcome.text
    assert "Recovery is off" not in outcome.text
    assert len(crew.kickoffs) == 1


def test_run_ids_that_are_no_file_names_stay_apart_and_inside_the_ledger_path(
    older: Airflow, crew: ScriptedCrew, ledger: Path
) -> None:
    run_ids = ["manual__2026-01-05T00:00:00+00:00", "a/b", "a/../../escape", "a b", "a%20b", "ä"]
    for run_id in run_ids:
        assert older.task(brief(), run_id=run_id).finish().state == "success"
    places = [file.relative_to(ledger).parts for file in ledger.parent.rglob("-1.json")]
    assert {(dag, task) for dag, _, task, _ in places} == {("briefs", "brief")}
    assert len({run for _, run, _, _ in places}) == len(run_ids)
    assert len(crew.kickoffs) == len(run_ids)


@pytest.mark.parametrize("run_id", [".", ".."])
def test_a_run_id_of_dots_has_a_folder_of_its_own(
    older: Airflow, crew: ScriptedCrew, ledger: Path, run_id: str
) -> None:
    assert older.task(brief(), run_id=run_id).finish().state == "success"
    (file,) = ledger.rglob("*.json")
    assert len(file.relative_to(ledger).parts) == 4
    assert len(crew.kickoffs) == 1


def test_a_kickoff_that_was_turned_away_leaves_no_file(older: Airflow, crew: ScriptedCrew, ledger: Path) -> None:
    crew.once("/kickoff", error(422, "Missing inputs: topic"))
    older.task(brief()).finish()
    assert list(ledger.rglob("*.json")) == []


def test_a_ledger_file_that_cannot_be_read_is_not_no_record(older: Airflow, crew: ScriptedCrew, ledger: Path) -> None:
    file = ledger / "briefs" / "manual__1" / "brief" / "-1.json"
    file.parent.mkdir(parents=True)
    file.write_text('{"version": 1, "finger')
    outcome = older.task(brief(retries=1)).finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewLedgerError)
    assert str(file) in outcome.told
    assert crew.kickoffs == []


def test_a_torn_ledger_file_says_what_to_delete(older: Airflow, crew: ScriptedCrew, ledger: Path) -> None:
    file = ledger / "briefs" / "manual__1" / "brief" / "-1.json"
    file.parent.mkdir(parents=True)
    file.write_text("")
    outcome = older.task(brief(retries=1)).finish()
    assert isinstance(outcome.error, errors.CrewLedgerError)
    assert "look on the crew's page, then delete the file" in outcome.told
    file.unlink()
    assert older.task(brief()).finish().state == "success"


def test_a_ledger_file_is_replaced_in_one_step(older: Airflow, crew: ScriptedCrew, ledger: Path) -> None:
    older.task(brief()).finish()
    (file,) = ledger.rglob("*.json")
    with file.open() as before_the_next_try:
        crew.story(success())
        cleared = older.task(brief())
        cleared.try_number, cleared.max_tries = 1, 1
        cleared.finish()
        whole = json.loads(before_the_next_try.read())  # a file that were written in place would show the new record
    assert whole["kickoff_id"] == "run-1"
    assert json.loads(file.read_text())["kickoff_id"] == "run-2"
    assert [path.name for path in file.parent.iterdir()] == ["-1.json"]


def test_a_dag_run_made_anew_under_its_run_id_starts_anew(older: Airflow, crew: ScriptedCrew, ledger: Path) -> None:
    older.task(brief()).finish()
    anew = older.task(brief())
    anew.dag_run_began = LOGICAL_DATE + timedelta(days=1)
    crew.story(success())
    outcome = anew.finish()
    assert outcome.state == "success"
    assert "from a deleted Dag run with the same run_id" in outcome.text
    assert len(crew.kickoffs) == 2


def test_the_run_of_a_deleted_dag_run_is_stopped_where_it_still_goes_on(
    older: Airflow, crew: ScriptedCrew, ledger: Path
) -> None:
    crew.story("RUNNING")
    older.task(brief(deferrable=True)).run()
    anew = older.task(brief())
    anew.dag_run_began = LOGICAL_DATE + timedelta(days=1)
    crew.story("RUNNING", success())
    assert anew.finish().state == "success"
    assert crew.stops == ["run-1"]
    assert len(crew.kickoffs) == 2


def test_the_same_try_run_again_says_what_it_found(older: Airflow, crew: ScriptedCrew, ledger: Path) -> None:
    older.task(brief()).finish()
    again = older.task(brief()).finish()
    assert again.state == "success"
    assert "this same try has run before (clear the task to start a new run), and the earlier run is done" in again.text
    assert len(crew.kickoffs) == 1


def test_a_record_in_the_ledger_path_outlives_a_clear_that_empties_the_task_state_store(
    airflow: Airflow, crew: ScriptedCrew, ledger: Path
) -> None:
    ti = airflow.task(brief(on_clear="reattach"))
    ti.finish()
    assert ti.record["kickoff_id"] == "run-1"  # a copy, for people
    airflow.records.clear()
    ti.clear()
    outcome = ti.finish()
    assert outcome.state == "success"
    assert len(crew.kickoffs) == 1


def test_a_task_that_shall_reattach_says_that_its_record_was_discarded_after_its_success(
    airflow: Airflow, crew: ScriptedCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__STATE_STORE__CLEAR_ON_SUCCESS", "True")
    ti = airflow.task(brief(on_clear="reattach"))
    ti.finish()
    airflow.records.clear()  # as the api-server does
    ti.clear()
    crew.story(success())
    outcome = ti.finish()
    assert "Airflow has discarded the record" in outcome.text
    assert len(crew.kickoffs) == 2


def test_a_record_from_before_the_ledger_path_was_set_counts(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ti = airflow.task(brief(retries=1, timeout=60))
    crew.story("RUNNING")
    starts_slowly(crew, clock, 60)
    ti.finish()
    monkeypatch.setenv("AIRFLOW__CREWAI__LEDGER_PATH", f"file://{tmp_path}/ledger")
    crew.now("run-1", success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1


def test_a_kickoff_that_was_turned_away_leaves_no_record_in_either_place(
    airflow: Airflow, crew: ScriptedCrew, ledger: Path
) -> None:
    crew.once("/kickoff", error(422, "Missing inputs: topic"))
    ti = airflow.task(brief())
    ti.finish()
    assert ti.record is None
    assert list(ledger.rglob("*.json")) == []


def test_a_ledger_path_that_cannot_be_written_keeps_the_kickoff_from_being_sent(
    older: Airflow, crew: ScriptedCrew, ledger: Path
) -> None:
    ledger.write_text("a file where a folder should be")
    outcome = older.task(brief(retries=1)).finish()
    assert outcome.state == "up_for_retry"
    assert isinstance(outcome.error, errors.CrewLedgerError)
    assert crew.kickoffs == []


def test_without_a_place_for_records_the_log_warns_and_a_retry_starts_a_second_run(
    older: Airflow, crew: ScriptedCrew, dies: Script
) -> None:
    ti = crashed_while_waiting(older, crew, dies)
    assert ti.outcome
    assert "Recovery is off" in ti.outcome.text
    crew.story(success())
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 2


def test_a_finished_task_is_run_anew_by_a_clear_where_its_retries_were_lowered_by_the_tries_made(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    ti = airflow.task(brief(retries=1))
    ti.finish()
    ti.edit(brief(retries=0))
    ti.clear()
    assert ti.max_tries == 1, "as it was"
    assert "Starting a new run: the task was cleared" in ti.finish().text
    assert len(crew.kickoffs) == 2


def test_a_retry_after_another_task_was_cleared_takes_the_run_up(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING")
    starts_slowly(crew, clock, 60)
    ti = airflow.task(brief(retries=1, timeout=60))
    ti.run()
    ti.dag_run_clears += 1
    crew.now("run-1", success())
    ti.edit(brief(retries=1))
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 1
