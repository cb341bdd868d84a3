"""A batch runs a crew once for each item, in one task, in Airflow's own task runner and against a crew on a socket."""

from __future__ import annotations

import json
import re
import signal
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.execution_time import comms
from crew_tasks import FAST, sends, worker_dies_at
from in_memory import LOGICAL_DATE, Airflow, Killed, TaskInstance
from scripted_crew import LOST, Answer, Asked, ScriptedCrew, error, failure, success

from airflow_provider_crewai.operators import CrewBatchOperator

TOPICS = [{"topic": topic} for topic in ("tides", "winds", "stars", "maps", "knots")]
BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


def batch(**options: Any) -> CrewBatchOperator:
    return CrewBatchOperator(**{"task_id": "briefs", "inputs": TOPICS, "max_concurrency": 2, **FAST, **options})


def topics(crew: ScriptedCrew) -> list[str]:
    return [kickoff["inputs"]["topic"] for kickoff in crew.kickoffs]


def record(ti: TaskInstance) -> Any:
    return ti.airflow.records.get((ti.key, "crewai_batch"))


def states(ti: TaskInstance) -> list[str]:
    return [result["state"] for result in ti.answer]


@BOTH_WAYS
def test_each_item_is_run_once_and_the_results_come_in_the_order_of_the_inputs(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    ti = airflow.task(batch(deferrable=deferrable))
    crew.story("RUNNING", success("An answer.", {"n": 1}))
    assert ti.finish().state == "success"
    assert topics(crew) == ["tides", "winds", "stars", "maps", "knots"]
    assert [result["kickoff_id"] for result in ti.answer] == [f"run-{number}" for number in range(1, 6)]
    assert ti.answer[0]["answer"] == {"n": 1}
    assert states(ti) == ["succeeded"] * 5


@BOTH_WAYS
def test_never_more_runs_are_at_work_than_the_author_allows(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    at_work: list[int] = []
    crew.always("/kickoff", lambda _: at_work.append(len(crew.kickoffs) - len(finished(crew)) - 1))
    crew.story("RUNNING", success())
    assert airflow.task(batch(deferrable=deferrable)).finish().state == "success"
    assert max(at_work) == 1


def finished(crew: ScriptedCrew) -> set[str]:
    """The runs that were seen twice: their second look shows the end."""
    return {run for run in crew.looks if crew.looks.count(run) >= 2}


def test_a_wave_waits_without_a_worker_slot(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(batch(deferrable=True))
    crew.story("RUNNING", success())
    assert ti.run().state == "deferred"
    assert topics(crew) == ["tides", "winds"]
    assert ti.outcome
    arguments = ti.outcome.message.trigger_kwargs
    assert crew.token not in json.dumps(arguments, default=str)


def test_no_items_give_no_results_and_cost_nothing(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(batch(inputs=[]))
    assert ti.finish().state == "success"
    assert ti.answer == []
    assert not crew.kickoffs


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"topic": "tides"}, "is an object, not a list"),
        ("[1, 2]", r"inputs\[0\] is the number 1"),
        ([{"topic": "tides"}, ["winds"]], r"inputs\[1\] is a list"),
        ("", "gave nothing"),
    ],
)
def test_inputs_that_are_no_list_of_objects_are_refused_before_money_is_spent(
    airflow: Airflow, crew: ScriptedCrew, inputs: Any, said: str
) -> None:
    given_by_another_task = batch()
    given_by_another_task.inputs = inputs
    outcome = airflow.task(given_by_another_task).finish()
    assert outcome.state == "failed"
    assert re.search(said, outcome.told), outcome.told
    assert not crew.asked


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_concurrency": 0}, "max_concurrency is 0"),
        ({"max_concurrency": "10"}, "max_concurrency is '10'"),
        ({"on_item_failure": "stop"}, "'fail' or 'fail_fast'"),
        ({"allow_failures": -1}, "allow_failures is -1"),
        ({"allow_failures": 1.5}, "allow_failures is 1.5"),
    ],
)
def test_wrong_arguments_are_refused_when_the_dag_is_parsed(options: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        batch(**options)


# ---- failures ---------------------------------------------------------------------------------------


def first_fails(crew: ScriptedCrew) -> None:
    """Let the first run that is started fail, and no other."""

    def script(_: Asked) -> Answer | None:
        crew.story(failure("ValueError: no tides today") if len(crew.kickoffs) == 1 else success("An answer."))
        return None

    crew.always("/kickoff", script)


@BOTH_WAYS
def test_a_retry_runs_the_failed_items_alone_and_keeps_the_answers(
    airflow: Airflow, crew: ScriptedCrew, deferrable: bool
) -> None:
    ti = airflow.task(batch(deferrable=deferrable, retries=1))
    first_fails(crew)
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert "1 of 5 items have no answer, and 0 are allowed" in outcome.told
    assert "Item 0 (run run-1) failed: ValueError: no tides today" in outcome.told
    assert "A retry keeps 4 answers" in outcome.told
    assert len(topics(crew)) == 5
    assert ti.finish().state == "success"
    assert topics(crew)[5:] == ["tides"]
    assert [result["kickoff_id"] for result in ti.answer] == ["run-6", "run-2", "run-3", "run-4", "run-5"]


def test_allowed_failures_do_not_fail_the_task(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(batch(allow_failures=0.2))
    first_fails(crew)
    assert ti.finish().state == "success"
    assert states(ti) == ["failed", "succeeded", "succeeded", "succeeded", "succeeded"]
    assert ti.answer[0]["error"] == "ValueError: no tides today"


@pytest.mark.parametrize("on_kill", ["stop", "leave"])
def test_fail_fast_starts_no_other_run_and_stops_or_leaves_the_rest(
    airflow: Airflow, crew: ScriptedCrew, on_kill: str
) -> None:
    def script(_: Asked) -> Answer | None:
        crew.story(failure("no") if len(crew.kickoffs) == 1 else "RUNNING")
        return None

    crew.always("/kickoff", script)
    ti = airflow.task(batch(on_item_failure="fail_fast", on_kill=on_kill))
    assert ti.finish().state == "failed"
    assert topics(crew) == ["tides", "winds"]
    assert crew.stops == (["run-2"] if on_kill == "stop" else [])


def test_an_answer_that_does_not_fit_is_a_failure_of_its_item_alone(airflow: Airflow, crew: ScriptedCrew) -> None:
    def script(_: Asked) -> Answer | None:
        crew.story(success("no number") if len(crew.kickoffs) == 1 else success("7"))
        return None

    crew.always("/kickoff", script)
    ti = airflow.task(batch(output_type=int, allow_failures=1))
    assert ti.finish().state == "success"
    assert states(ti) == ["mismatched", *["succeeded"] * 4]
    assert [result["answer"] for result in ti.answer] == ["no number", 7, 7, 7, 7]


# ---- exactly once -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_worker_that_dies_at_any_write_of_the_record_starts_no_item_twice(
    airflow: Airflow, crew: ScriptedCrew, nth: int
) -> None:
    ti = airflow.task(batch(retries=3))
    crew.story("RUNNING", success())
    airflow.before = worker_dies_at("SetTaskStateStore", nth)
    assert isinstance(ti.finish().error, Killed)
    airflow.before = None
    ti.finish()
    started = topics(crew)
    assert len(started) == len(set(started)), started
    assert {*started} | {TOPICS[index]["topic"] for index in orphans(ti)} == {item["topic"] for item in TOPICS}


def orphans(ti: TaskInstance) -> list[int]:
    return [index for index, state in enumerate(record(ti)["states"]) if state == "l"]


def test_a_lost_answer_to_a_kickoff_costs_its_item_and_no_other(
    airflow: Airflow, crew: ScriptedCrew, clock: Any
) -> None:
    crew.once("/kickoff", LOST)
    ti = airflow.task(batch(allow_failures=1))
    assert ti.finish().state == "success"
    assert states(ti) == ["may_have_started", *["succeeded"] * 4]
    assert len(crew.kickoffs) == 5


def test_a_kickoff_id_that_comes_twice_costs_its_item_and_no_other(
    airflow: Airflow, crew: ScriptedCrew, clock: Any
) -> None:
    crew.story("RUNNING", success())
    crew.once("/kickoff", lambda _: None, Answer(body={"kickoff_id": "run-1"}))
    ti = airflow.task(batch(allow_failures=1))
    assert ti.finish().state == "success"
    assert states(ti) == ["succeeded", "may_have_started", *["succeeded"] * 3]


def test_a_rate_limit_slows_the_batch_down_and_fails_no_item(airflow: Airflow, crew: ScriptedCrew, clock: Any) -> None:
    crew.once("/kickoff", *[error(429, "Too many requests", Retry_After="60")] * 5)
    ti = airflow.task(batch())
    assert ti.finish().state == "success"
    assert states(ti) == ["succeeded"] * 5


def test_a_refused_item_costs_nothing_and_is_told(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/kickoff", error(422, "topic must be a number"))
    ti = airflow.task(batch(allow_failures=1))
    assert ti.finish().state == "success"
    assert states(ti)[0] == "refused"
    assert "topic must be a number" in ti.answer[0]["error"]


def test_a_list_that_changed_runs_what_is_new_and_keeps_what_is_done(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(batch(retries=1))
    first_fails(crew)
    assert ti.finish().state == "up_for_retry"
    ti.edit(batch(retries=1, inputs=[{"topic": "comets"}, *TOPICS[1:]]))
    assert ti.finish().state == "success"
    assert topics(crew)[5:] == ["comets"]
    assert [result["kickoff_id"] for result in ti.answer] == ["run-6", "run-2", "run-3", "run-4", "run-5"]


@pytest.mark.parametrize("on_kill", ["stop", "leave"])
def test_a_run_of_an_item_that_is_gone_is_stopped_or_left(
    airflow: Airflow, crew: ScriptedCrew, clock: Any, on_kill: str
) -> None:
    crew.story("RUNNING")
    options = {"retries": 1, "timeout": 60, "on_kill": on_kill}
    ti = airflow.task(batch(**options))
    assert ti.finish().state == "up_for_retry"
    assert topics(crew) == ["tides", "winds"]
    crew.now("run-2", success())
    crew.story(success())
    ti.edit(batch(inputs=TOPICS[1:], **options))
    assert ti.finish().state == "success"
    assert topics(crew) == ["tides", "winds", "stars", "maps", "knots"]
    assert crew.stops == (["run-1"] if on_kill == "stop" else [])


@pytest.mark.parametrize(("on_clear", "started"), [("rerun", 10), ("reattach", 5)])
def test_a_clear_starts_all_again_or_keeps_all(
    airflow: Airflow, crew: ScriptedCrew, on_clear: str, started: int
) -> None:
    ti = airflow.task(batch(on_clear=on_clear))
    assert ti.finish().state == "success"
    ti.clear()
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == started
    assert states(ti) == ["succeeded"] * 5


def test_below_airflow_3_3_a_batch_waits_with_its_record_in_xcoms(airflow: Airflow, crew: ScriptedCrew) -> None:
    airflow.has_state_store = False
    ti = airflow.task(batch(deferrable=True))
    crew.story("RUNNING", success())
    outcome = ti.finish()
    assert outcome.state == "success"
    assert states(ti) == ["succeeded"] * 5


def test_without_recovery_a_batch_is_not_retried_for_a_failed_item(airflow: Airflow, crew: ScriptedCrew) -> None:
    airflow.has_state_store = False
    ti = airflow.task(batch(retries=3))
    first_fails(crew)
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert "pays for all of them" in outcome.told


def test_without_recovery_a_batch_that_runs_out_of_time_is_not_retried(
    airflow: Airflow, crew: ScriptedCrew, clock: Any
) -> None:
    airflow.has_state_store = False
    ti = airflow.task(batch(retries=3, timeout=600, poll_interval=30, max_poll_interval=30))
    crew.story("RUNNING")
    assert ti.finish().state == "failed"


def test_with_a_result_path_the_answers_are_kept_there_as_they_come(
    airflow: Airflow, crew: ScriptedCrew, tmp_path: Any
) -> None:
    ti = airflow.task(batch(result_path=tmp_path.as_uri(), max_xcom_bytes=0))
    assert ti.finish().state == "success"
    assert ti.answer["crewai_manifest"] == 1
    pages = sorted(path.name for path in tmp_path.rglob("*crewai_batch*"))
    assert pages
    assert not [key for _, key in airflow.records if key.startswith("crewai_batch.")]


def test_results_that_cannot_be_stored_are_kept_and_the_retry_stores_them(
    airflow: Airflow, crew: ScriptedCrew, tmp_path: Any
) -> None:
    folder, away = tmp_path / "answers", tmp_path / "away"
    ti = airflow.task(batch(result_path=folder.as_uri(), max_xcom_bytes=0, retries=1))

    def in_the_way(message: Any) -> None:
        """Put a file where the folder was, once all items are done and their pages are read."""
        if type(message).__name__ == "SetXCom" and message.key == "crew_batch" and len(message.value["count"]) == 1:
            folder.rename(away)
            folder.write_text("a file where a folder must be")

    airflow.before = in_the_way
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert "could not be written" in outcome.told
    assert not record(ti)["task"]["answered"]
    airflow.before = None
    folder.unlink()
    away.rename(folder)
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 5


def test_the_record_is_written_about_once_for_each_kickoff(airflow: Airflow, crew: ScriptedCrew) -> None:
    items = [{"topic": str(number)} for number in range(40)]
    assert airflow.task(batch(inputs=items, max_concurrency=40)).finish().state == "success"
    assert airflow.count(comms.SetTaskStateStore) <= 40 + 8


# ---- what ends a batch early ------------------------------------------------------------------------


def test_when_the_time_is_up_the_task_says_what_goes_on_and_a_retry_takes_it_up(
    airflow: Airflow, crew: ScriptedCrew, clock: Any
) -> None:
    ti = airflow.task(batch(timeout=600, retries=1, poll_interval=30, max_poll_interval=30))
    crew.story("RUNNING")
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert "The time is up: 2 runs may go on, and 3 items not started" in outcome.told
    for run in ("run-1", "run-2"):
        crew.now(run, success())
    crew.story(success())
    ti.edit(batch(timeout=None))
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 5


def test_an_outage_ends_the_waiting_and_no_run(airflow: Airflow, crew: ScriptedCrew, clock: Any) -> None:
    ti = airflow.task(batch(retries=1, unreachable_timeout=60, poll_interval=5, max_poll_interval=5))
    crew.story("RUNNING")
    crew.always("/status", error(500, "no"))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert "The deployment has not answered for too long: 2 runs may go on" in outcome.told
    assert not crew.stops


def test_an_outage_before_the_first_kickoff_starts_nothing(airflow: Airflow, crew: ScriptedCrew, clock: Any) -> None:
    crew.always("/inputs", error(503, "asleep"))
    ti = airflow.task(batch(unreachable_timeout=600, retries=1))
    assert ti.finish().state == "up_for_retry"
    assert not crew.kickoffs


def test_a_revoked_token_fails_the_task_without_a_kickoff(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/inputs", error(401, "no"))
    outcome = airflow.task(batch(retries=1)).finish()
    assert outcome.state == "failed"
    assert not crew.kickoffs


def test_a_quota_that_stays_used_up_is_told_when_the_time_is_up(
    airflow: Airflow, crew: ScriptedCrew, clock: Any
) -> None:
    crew.always("/kickoff", error(403, "Execution limit of your plan reached"))
    outcome = airflow.task(batch(timeout=3600)).finish()
    assert outcome.state == "failed"
    assert "The time is up, and 5 of 5 items were not started" in outcome.told
    assert "Execution limit" in outcome.text


def test_a_trigger_that_failed_does_not_fail_the_batch(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(batch(deferrable=True))
    crew.story("RUNNING", success())
    assert ti.run().state == "deferred"
    ti.resume_failed()
    assert ti.finish_from_here().state == "success"
    assert len(crew.kickoffs) == 5


# ---- many batches -----------------------------------------------------------------------------------


def test_a_batch_can_be_mapped(airflow: Airflow, crew: ScriptedCrew) -> None:
    with DAG("regions", schedule=None, start_date=LOGICAL_DATE):
        mapped = CrewBatchOperator.partial(task_id="briefs", **FAST).expand(inputs=[TOPICS[:2], TOPICS[2:]])
    instances = [airflow.task(mapped, map_index=index) for index in range(2)]
    assert [ti.finish().state for ti in instances] == ["success"] * 2
    assert [len(ti.answer) for ti in instances] == [2, 3]
    assert topics(crew) == [item["topic"] for item in TOPICS]


@pytest.mark.parametrize("inputs", [{"topic": "tides"}, [TOPICS[0], 7], [["tides"]], 5, "no list"])
def test_inputs_that_can_never_be_a_list_of_objects_are_refused_when_the_dag_is_parsed(inputs: Any) -> None:
    with pytest.raises(ValueError, match="Task 'briefs': inputs"):
        batch(inputs=inputs)
    with DAG("regions", schedule=None, start_date=LOGICAL_DATE), pytest.raises(ValueError, match="inputs"):
        CrewBatchOperator.partial(task_id="briefs").expand(inputs=[inputs])


# ---- killed in a worker -----------------------------------------------------------------------------


@pytest.mark.parametrize("on_kill", ["stop", "leave"])
def test_a_user_who_ends_the_task_ends_all_its_runs(airflow: Airflow, crew: ScriptedCrew, on_kill: str) -> None:
    ti = airflow.task(batch(on_kill=on_kill, max_concurrency=4))
    crew.story("RUNNING")

    def ends(_: Asked) -> None:
        ti.state = "failed"
        sends(signal.SIGTERM)(_)

    crew.once("/status", ends)
    outcome = ti.run()
    assert outcome.state == "failed"
    assert sorted(crew.stops) == ([f"run-{number}" for number in range(1, 5)] if on_kill == "stop" else [])
    assert ("4 runs are stopped" if on_kill == "stop" else "The 4 runs of batch") in outcome.text
    assert len(crew.kickoffs) == 4


def test_a_worker_that_shuts_down_leaves_the_runs_to_the_retry(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(batch(retries=1, max_concurrency=5))
    crew.story("RUNNING", "RUNNING", success())
    crew.once("/status", sends(signal.SIGTERM))
    assert ti.run().state == "up_for_retry"
    assert not crew.stops
    assert ti.finish().state == "success"
    assert len(crew.kickoffs) == 5


def test_a_kill_in_the_middle_of_a_wave_starts_no_other_run(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(batch(max_concurrency=5))
    crew.story("RUNNING")

    def ends(_: Asked) -> None:
        if len(crew.kickoffs) == 3:
            ti.state = "failed"
            sends(signal.SIGTERM)(_)

    crew.always("/kickoff", ends)
    ti.run()
    assert len(crew.kickoffs) == 3
    assert sorted(crew.stops) == ["run-1", "run-2", "run-3"]
