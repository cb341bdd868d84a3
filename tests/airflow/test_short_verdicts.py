"""What a person sees first of a task that failed: a few short lines, one exception, and the same in the XCom."""

from __future__ import annotations

import time
import traceback
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from crew_tasks import brief, sensor, starts_slowly
from in_memory import Airflow, Outcome, TaskInstance
from scripted_crew import LOST, TOKEN, Answer, ScriptedCrew, error, failure, success
from test_left_behind import left

import airflow_provider_crewai
from airflow_provider_crewai.wire.errors import CrewError, CrewMayHaveStarted, CrewRunFailed

if TYPE_CHECKING:
    from conftest import Clock

ID = str(uuid.UUID(int=2**127))
"""As long as a real one."""
TOLD = {
    "progress": {"completed": 1, "total": 3, "current": "write the weekly brief", "current_agent": "Senior Writer"},
    "usage_metrics": {"total_tokens": 1_234_567},
}
GOING_ON = {"state": "RUNNING"} | TOLD
LONG_AGO = {"since": 1.79e9, "seen_alive": True, "state": "running", "at": 1.79e9}
SLOW = {"poll_interval": 60, "max_poll_interval": 60}
Stage = Callable[[Airflow, ScriptedCrew], TaskInstance]


def ends(*states: Any, **options: Any) -> Stage:
    """Let a run go through these states, and the task wait for its end."""

    def stage(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
        crew.once("/kickoff", Answer(body={"kickoff_id": ID}))
        crew.now(ID, *states)
        ti = airflow.task(brief(**options))
        ti.finish()
        return ti

    return stage


def comes_back(event: dict[str, Any], spoil: Callable[[Airflow, ScriptedCrew], object]) -> Stage:
    """Let a deferred task come back, and find that something is spoilt."""

    def stage(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
        crew.once("/kickoff", Answer(body={"kickoff_id": ID}))
        crew.now(ID, GOING_ON)
        ti = airflow.task(brief(deferrable=True, **SLOW))
        ti.run()
        spoil(airflow, crew)
        ti.resume(LONG_AGO | event)
        return ti

    return stage


def begins(path: str, answer: Any) -> Stage:
    """Let the crew answer so to what comes before the run."""

    def stage(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
        crew.always(path, answer)
        ti = airflow.task(brief(timeout=1))
        ti.finish()
        return ti

    return stage


def waits(*states: Any, **options: Any) -> Stage:
    """Let a sensor wait for a run that goes through these states."""

    def stage(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
        crew.now(ID, *states)
        ti = airflow.task(sensor(kickoff_id=ID, **options))
        ti.finish()
        return ti

    return stage


def never_answers(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", error(502, "Bad Gateway"))


def refuses_the_token(_: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", error(401, "Not authenticated"))


def has_no_token(airflow: Airflow, _: ScriptedCrew) -> None:
    airflow.connections["crewai_default"]["password"] = ""


def has_forgotten(_: Airflow, crew: ScriptedCrew) -> None:
    crew.now(ID, "NOT FOUND")


ENDINGS: dict[str, Stage] = {
    "failed": ends(GOING_ON, failure("ValueError: no tides on Mars.") | TOLD),
    "stopped": ends({"state": "REVOKED"} | TOLD),
    "timed_out": ends(GOING_ON, timeout=60, **SLOW),
    "unreachable": comes_back({"ending": "unreachable"}, never_answers),
    "auth_lost": comes_back({"ending": "auth_lost"}, refuses_the_token),
    "unwatchable": comes_back({"ending": "unwatchable"}, has_no_token),
    "lost": comes_back({"ending": "lost"}, has_forgotten),
    "answer not fetched": comes_back({"ending": "succeeded", "state": "succeeded"}, never_answers),
    "may_have_started": begins("/kickoff", LOST),
    "not_started: inputs": begins("/kickoff", error(422, "Missing required inputs: topic, audience")),
    "not_started: token": begins("/inputs", error(401, "Not authenticated")),
    "not_started: quota": begins("/kickoff", error(402, "Monthly execution limit reached")),
    "not_started: no crew": begins("/inputs", Answer(200, b"<html><body>Welcome</body></html>")),
    "sensor: failed": waits(failure("out of tokens") | TOLD),
    "sensor: timed_out": waits(GOING_ON, timeout=60, **SLOW),
}
EVERY_ENDING = pytest.mark.parametrize("stage", ENDINGS.values(), ids=ENDINGS)
TOLD_OF = {
    "failed": (
        "The run failed in crew task 2 of 3: write the weekly brief (Senior Writer).",
        "The crew says: ValueError: no tides on Mars.",
        "The run is over: 1,234,567 tokens, ",
        "A retry or a clear starts a new run.",
        f"Look: python -m airflow_provider_crewai status {ID}",
    ),
    "timed_out": (
        f"Run {ID} did not end in time; we stopped waiting.",
        "It was last seen running, in crew task 2 of 3: write the weekly brief (Senior Writer).",
        "It probably goes on and costs: 1,234,567 tokens, ",
        "A retry takes this run up again and starts no new one; a clear stops it and starts a new one.",
        f"Look: python -m airflow_provider_crewai status {ID}",
    ),
}


def ended(ti: TaskInstance) -> Outcome:
    assert ti.outcome
    assert ti.outcome.state == "failed", ti.outcome
    return ti.outcome


@EVERY_ENDING
def test_the_verdict_is_a_few_short_lines_and_stands_in_the_xcom_too(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, stage: Stage
) -> None:
    ti = stage(airflow, crew)
    verdict = ended(ti).verdict
    assert 3 <= len(verdict) <= 7, verdict
    assert max(map(len, verdict[:-1])) <= 100, verdict
    assert verdict[-1].startswith(("Look: ", "Look for it on ", "Fetch its answer: ", "Check the connection: ")), (
        verdict
    )
    assert left(ti)["said"] == [*verdict]
    assert TOKEN not in "".join(verdict)


@EVERY_ENDING
def test_the_exception_is_one_line_with_one_traceback_that_shows_no_frame_of_ours(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, stage: Stage
) -> None:
    ti = stage(airflow, crew)
    raised = ended(ti).error
    assert isinstance(raised, CrewError)
    assert raised.said == ended(ti).verdict
    assert len(str(raised)) < 110, raised
    assert "(connection 'crewai_default'" in str(raised)
    assert ID in str(raised) or left(ti)["kickoff_id"] is None
    printed = "".join(traceback.format_exception(raised))
    assert printed.count("Traceback (most recent call last)") == 1
    assert airflow_provider_crewai.__path__[0] not in printed
    assert not [line for line in raised.said if line in str(raised)]


@pytest.mark.parametrize("ending", TOLD_OF)
def test_the_lines_say_what_happened_in_the_crews_words_what_it_costs_what_comes_next_and_where_to_look(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, ending: str
) -> None:
    verdict = ended(ENDINGS[ending](airflow, crew)).verdict
    assert len(verdict) == 5
    for line, words in zip(verdict, TOLD_OF[ending], strict=True):
        assert line.startswith(words)


def test_a_days_run_with_millions_of_tokens_needs_no_more_lines(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    starts_slowly(crew, clock, 86_399)
    ti = airflow.task(brief(timeout=86_400, **SLOW))
    crew.story(GOING_ON)
    ti.finish()
    assert len(ended(ti).verdict) == 5


LONG = "Traceback (most recent call last):\n" + "  File x\n" * 50 + "litellm.RateLimitError: too many tokens"


@pytest.mark.parametrize(
    ("reason", "line"),
    [
        ("word " * 200, "The crew says: word word"),
        ("first\nsecond", "The crew says: first second"),
        (LONG, "The crew says: litellm.RateLimitError: too many tokens (whole: XCom crew_run)"),
    ],
)
def test_a_long_reason_is_two_lines_at_most_and_the_xcom_has_it_whole(
    airflow: Airflow, crew: ScriptedCrew, reason: str, line: str
) -> None:
    ti = ends(failure(reason))(airflow, crew)
    assert len(ended(ti).verdict) <= 6
    said = " ".join(map(str.strip, ended(ti).verdict[1:-3]))
    assert said.startswith(line)
    assert said.endswith("(whole: XCom crew_run)") or "second" in said
    assert left(ti)["error"].startswith(reason[:30].split("\n", maxsplit=1)[0])
    assert isinstance(ended(ti).error, CrewRunFailed)


def test_while_it_waits_the_xcom_says_where_the_run_stands_and_what_comes_next(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    crew.story(GOING_ON)
    ti = airflow.task(brief(deferrable=True, timeout=3600))
    assert ti.run().state == "deferred"
    value = left(ti)
    assert (value["kickoff_id"], value["ending"], value["state"], value["is_over"]) == ("run-1", None, "running", False)
    assert (value["ended_at"], value["duration"], value["crew_tasks_total"]) == (None, None, 3)
    assert value["deadline"] > value["started_at"]
    assert value["said"][0] == "Run run-1 is running, 1 of 3 done, now write the weekly brief (Senior Writer)."
    assert value["said"][1].startswith("It goes on and costs: 1,234,567 tokens, ")
    assert value["said"][2].startswith("A retry takes this run up again and starts no new one; a clear stops it")


@pytest.mark.parametrize(
    ("ending", "word", "is_over"),
    [("may_have_started", "may_have_started", False), ("not_started: inputs", "not_started", True)],
)
def test_without_a_run_the_xcom_says_whether_there_may_be_one(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, ending: str, word: str, is_over: bool
) -> None:
    value = left(ENDINGS[ending](airflow, crew))
    assert (value["kickoff_id"], value["ending"], value["is_over"]) == (None, word, is_over)
    assert value["ended_at"]


def test_a_run_of_an_earlier_try_that_may_go_on_is_not_over(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    crew.story("RUNNING")
    ti = airflow.task(brief(retries=1, timeout=60, **SLOW))
    ti.run()
    airflow.connections["crewai_default"]["password"] = ""
    outcome = ti.run()
    assert "Run run-1, started by try 1 at 20" in outcome.told
    assert left(ti)["is_over"] is False


def test_coming_back_the_worker_repeats_what_the_trigger_saw(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(GOING_ON, GOING_ON, success() | TOLD)
    ti = airflow.task(brief(deferrable=True))
    ti.run()
    outcome = ti.resume(ti.fire())
    (line,) = (line for line in outcome.log if "back from the triggerer" in line)
    assert line.startswith("Run run-1: back from the triggerer after ")
    assert line.endswith("; it was seen succeeded, 1 of 3 crew tasks done, 1,234,567 tokens.")


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"ending": "succeeded"},
        {"state": ["x"], "tokens": "many", "crew_tasks_done": True},
        {"crew_tasks_done": 1.5},
    ],
    ids=str,
)
def test_an_event_of_another_version_is_told_of_as_far_as_it_is_understood(
    airflow: Airflow, crew: ScriptedCrew, event: dict[str, Any]
) -> None:
    crew.story(GOING_ON)
    ti = airflow.task(brief(deferrable=True))
    ti.run()
    crew.now("run-1", success())
    outcome = ti.resume({"seen_alive": True, "at": time.time(), **event})
    assert outcome.state == "success"
    assert "; it was not seen." in outcome.text


def test_each_try_of_a_kickoff_is_a_line(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    crew.once("/kickoff", *[error(429, "slow down", Retry_After="3")] * 3)
    outcome = airflow.task(brief()).finish()
    assert outcome.state == "success"
    assert sum("Trying again in " in line for line in outcome.log) == 3
    assert len(crew.kickoffs) == 4


def test_a_callback_gets_the_lines_and_the_kind_of_the_error(airflow: Airflow, crew: ScriptedCrew) -> None:
    got: list[Any] = []
    crew.always("/kickoff", LOST)
    ti = airflow.task(brief(on_failure_callback=lambda context: got.append(context["exception"])))
    outcome = ti.run()
    assert isinstance(outcome.error, CrewMayHaveStarted)
    assert outcome.error.said == outcome.verdict
