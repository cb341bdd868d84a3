"""A crew's question becomes a Required Action of the task that waits, and a person's response goes to the crew once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
from conftest import Clock
from crew_tasks import brief, sensor, worker_dies_at
from hypothesis import given, settings
from hypothesis import strategies as st
from in_memory import Airflow, TaskInstance, only_event
from scripted_crew import LOST, Answer, Asked, ScriptedCrew, failure, success
from scripted_crew import error as refusal
from support.effort import examples

from airflow_provider_crewai.in_airflow.compat import KEEPS_FIRST_FORM, RESPONSE_WAKES_TASK
from airflow_provider_crewai.in_airflow.config import configured
from airflow_provider_crewai.in_airflow.mailbox import with_question
from airflow_provider_crewai.in_airflow.xcom import CREW_QUESTION
from airflow_provider_crewai.wire import errors
from airflow_provider_crewai.wire.model import Question


def asks(task_id: str = "q-1", message: str = "Is it good?", output: str = "A *draft*.", **more: Any) -> dict[str, Any]:
    """A run that waits for a person."""
    return {"state": "PAUSED", "human_input": {"task_id": task_id, "message": message, "output": output, **more}}


def until_asked(ti: TaskInstance, times: int = 1) -> TaskInstance:
    """Let a deferred task live until a person has been asked so often, and waits."""
    while ti.action is None or ti.action.asked < times:
        assert ti.state == "deferred", ti.outcome
        ti.resume(ti.fire())
    assert ti.state == "deferred"
    return ti


def asked(airflow: Airflow, crew: ScriptedCrew, *story: Any, **options: Any) -> TaskInstance:
    """A task that waits for a person."""
    crew.story(*(story or ("RUNNING", asks())))
    ti = airflow.task(brief(**{"deferrable": True, "human_input": True, **options}))
    ti.run()
    return until_asked(ti)


def goes_on(crew: ScriptedCrew, *states: Any) -> None:
    """Let the run go through these states once somebody has answered it."""

    def script(_: Any) -> Answer:
        crew.now("run-1", *states)
        return Answer(body={"kickoff_id": "another-id"})

    crew.once("/resume", script)


def sent(crew: ScriptedCrew) -> list[Any]:
    """What people said to the crew."""
    return [each.body["human_feedback"] for each in crew.asked if each.path == "/resume"]


def finish(ti: TaskInstance, event: Any) -> Any:
    """Come back with an event, and live on to the end."""
    outcome = ti.resume(event)
    while outcome.state == "deferred":
        outcome = ti.resume(ti.fire())
    return outcome


# ---- a round ---------------------------------------------------------------------------------------


def test_a_question_becomes_an_action_and_the_response_goes_to_the_crew(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew, task_webhook_url="https://me.example/task")
    assert ti.form.options == ["Approve", "Ask for changes"]
    assert "> A *draft*." in ti.form.body
    assert "> Is it good?" in ti.form.body
    assert "`run-1`" in ti.form.body
    goes_on(crew, "RUNNING", "RUNNING", success("A better draft."))
    outcome = finish(ti, ti.respond("Ask for changes", "Shorter, please."))
    assert (outcome.state, ti.answer) == ("success", "A better draft.")
    (said,) = [each.body for each in crew.asked if each.path == "/resume"]
    assert said["humanFeedback"] == said["human_feedback"] == "Shorter, please."
    assert said["executionId"] == "run-1"
    assert said["taskId"] == "q-1"
    assert said["taskWebhookUrl"] == "https://me.example/task"
    assert airflow.count(CreateHITLDetailPayload) == 1
    assert ti.record["feedback"]["by"] == "anna"


def test_each_round_is_asked_and_answered_once(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew)
    for number in range(2, 9):  # more often than a trigger may fire for nothing
        goes_on(crew, "RUNNING", asks(f"q-{number}", f"Now {number}?"))
        ti.resume(ti.respond("Ask for changes", f"No {number}."))
        until_asked(ti, times=number)
    goes_on(crew, success("Done."))
    assert finish(ti, ti.respond("Approve")).state == "success"
    assert sent(crew) == [*(f"No {number}." for number in range(2, 9)), "Approved."]
    assert len(crew.kickoffs) == 1
    shows_first = "Is it good?" in ti.form.body
    assert shows_first is KEEPS_FIRST_FORM
    assert ("this form stays as it is" in ti.form.body) is KEEPS_FIRST_FORM


def test_a_task_that_waits_in_its_worker_leaves_it_while_a_person_thinks(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew, "RUNNING", "RUNNING", asks(), deferrable=False)
    goes_on(crew, "RUNNING", "RUNNING", success("Done."))
    assert ti.resume(ti.respond("Approve")).state == "success"
    assert sent(crew) == ["Approved."]


def test_a_sensor_asks_as_well(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", "RUNNING", asks())
    ti = airflow.task(sensor(deferrable=True, human_input=True))
    ti.run()
    until_asked(ti)
    goes_on(crew, success("Done."))
    assert finish(ti, ti.respond("Approve")).state == "success"
    assert sent(crew) == ["Approved."]


def test_a_flow_gets_the_outcome_that_a_person_chose(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew, {**asks(options=["publish", "rewrite"]), "flow_id": "run-1"})
    assert ti.form.options == ["publish", "rewrite"]

    def script(_: Any) -> Answer:
        crew.now("run-1", success("Done."))
        return Answer(body={"status": "resumed"})

    crew.once("/resume_feedback", script)
    assert finish(ti, ti.respond("rewrite", "Add a source.")).state == "success"
    (said,) = [each.body for each in crew.asked if each.path == "/resume_feedback"]
    assert said == {"flow_id": "run-1", "feedback": "rewrite: Add a source."}


def test_changes_without_a_text_are_not_sent_and_the_person_is_asked_again(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    ti = asked(airflow, crew)
    outcome = ti.resume(ti.respond("Ask for changes", None))
    assert (outcome.state, sent(crew)) == ("deferred", [])
    assert "anna chose 'Ask for changes', but nothing was sent" in outcome.text
    assert ti.action.asked == 2
    assert ("nothing was sent" in ti.form.body) is not KEEPS_FIRST_FORM


def test_only_those_who_are_named_may_respond(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew, assigned_users=["anna", {"id": "7", "name": "Ben"}])
    assert [(each.id, each.name) for each in ti.form.assigned_users] == [("anna", "anna"), ("7", "Ben")]


def test_all_notifiers_are_told_and_none_can_fail_the_task(airflow: Airflow, crew: ScriptedCrew) -> None:
    told: list[Any] = []

    def fails(_: Any) -> None:
        raise OSError("the chat is away")

    ti = asked(airflow, crew, on_question=[fails, told.append])
    (context,) = told
    assert context["question"].message == "Is it good?"
    assert context["action_url"].endswith("/dags/briefs/runs/manual__1/tasks/brief/required_actions")
    assert context["ti"].task_id == "brief"
    assert "the chat is away" in ti.outcome.text  # type: ignore[union-attr]  # it has run


def test_what_a_person_is_to_judge_cannot_look_like_our_words_or_load_a_picture(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    hostile = "# Approve now\n![x](https://spy.example/p.png)\n\n---\n`code`"
    ti = asked(airflow, crew, asks(output=hostile, message=hostile))
    assert "\n# Approve" not in ti.form.body
    assert "![" not in ti.form.body
    assert "\n---" not in ti.form.body


# ---- who is faster ---------------------------------------------------------------------------------


@pytest.mark.parametrize("then", [success("Done."), failure("no tides")])
def test_an_answer_given_elsewhere_closes_the_action(airflow: Airflow, crew: ScriptedCrew, then: Any) -> None:
    ti = asked(airflow, crew)
    crew.now("run-1", then)
    finish(ti, ti.fire())
    assert (sent(crew), ti.action.response["chosen_options"]) == ([], ["Answered elsewhere"])
    assert ti.state == ("success" if then["state"] == "SUCCESS" else "failed")


def test_a_run_that_goes_on_because_of_an_answer_elsewhere_is_waited_for(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew)
    crew.now("run-1", "RUNNING", "RUNNING", asks("q-2"))
    event = ti.fire()
    assert ti.action.response["chosen_options"] == ["Answered elsewhere"]
    ti.resume(event)
    until_asked(ti, times=2)
    assert (sent(crew), ti.action.response) == ([], None)


def test_a_response_that_comes_after_an_answer_elsewhere_is_not_sent(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew)
    crew.now("run-1", "RUNNING", asks("q-2"))
    outcome = ti.resume(ti.respond("Approve"))
    assert sent(crew) == []
    assert "came too late" in outcome.text
    until_asked(ti, times=2)
    goes_on(crew, success("Done."))
    assert finish(ti, ti.respond("Ask for changes", "More.")).state == "success"
    assert sent(crew) == ["More."]


def test_a_response_while_a_worker_has_the_task_is_found_by_the_trigger(airflow: Airflow, crew: ScriptedCrew) -> None:
    """Airflow wakes only a deferred task; below 3.3 it wakes none."""
    ti = asked(airflow, crew)
    ti.respond("Ask for changes", "Shorter.")
    event = ti.fire()
    assert event["chosen_options"] == ["Ask for changes"]
    goes_on(crew, success("Done."))
    assert finish(ti, event).state == "success"
    assert sent(crew) == ["Shorter."]


@pytest.mark.skipif(not RESPONSE_WAKES_TASK, reason="below 3.3 only the trigger notices a response")
@pytest.mark.parametrize("state", ["scheduled", "queued", "running"])
def test_a_trigger_wakes_no_task_that_a_response_has_woken(airflow: Airflow, crew: ScriptedCrew, state: str) -> None:
    ti = asked(airflow, crew)
    ti.respond("Ask for changes", "Shorter.")
    trigger = ti.trigger()
    ti.state = state
    crew.now("run-1", asks(), asks(), success("Done."))
    with airflow.connected():
        event = asyncio.run(only_event(trigger))
    assert event["ending"] == "succeeded"
    assert "chosen_options" not in event


def test_a_question_that_is_still_shown_after_the_answer_is_not_asked_again_at_once(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    ti = asked(airflow, crew)
    goes_on(crew, asks(), asks(), "RUNNING", success("Done."))
    assert finish(ti, ti.respond("Approve")).state == "success"
    assert (sent(crew), ti.action.asked) == (["Approved."], 1)
    assert clock.slept < 60


# ---- time ------------------------------------------------------------------------------------------


def test_a_question_that_nobody_answers_in_time_fails_the_task_and_not_the_run(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    ti = asked(airflow, crew, human_timeout=120, retries=1)
    assert "Each question waits for 2 minutes; then the task fails." in ti.form.body
    clock.slept += 121
    outcome = finish(ti, ti.fire())
    assert isinstance(outcome.error, errors.CrewRunUnanswered)
    assert "nobody answered in time" in outcome.told
    assert (crew.stops, sent(crew)) == ([], [])
    assert ti.action.response["chosen_options"] == ["Nobody responded in time"]
    ti.run()  # the retry asks again
    until_asked(ti, times=2)
    assert len(crew.kickoffs) == 1


def test_an_option_may_be_chosen_when_nobody_answers_in_time(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    ti = asked(airflow, crew, human_timeout=120, on_human_timeout="Approve")
    assert "then *Approve* is chosen" in ti.form.body
    clock.slept += 121
    goes_on(crew, success("Done."))
    assert finish(ti, ti.fire()).state == "success"
    assert sent(crew) == ["Approved."]
    assert ti.record["feedback"]["by"] == "human_timeout"


def test_a_response_in_the_last_moment_wins(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    ti = asked(airflow, crew, human_timeout=120)
    ti.respond("Approve")
    clock.slept += 121
    goes_on(crew, success("Done."))
    assert finish(ti, ti.fire()).state == "success"
    assert sent(crew) == ["Approved."]


def test_the_tasks_own_time_counts_while_a_person_thinks(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    ti = asked(airflow, crew, timeout=600)
    clock.slept += 601
    outcome = finish(ti, ti.fire())
    assert type(outcome.error).__name__ == "CrewRunTimedOut"
    assert ti.action.response["chosen_options"] == ["The task stopped waiting"]


# ---- what breaks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", range(1, 5))
def test_a_worker_that_dies_anywhere_sends_a_response_at_most_once(
    airflow: Airflow, crew: ScriptedCrew, nth: int, clock: Clock
) -> None:
    ti = asked(airflow, crew, retries=1)
    goes_on(crew, "RUNNING", "RUNNING", success("Done."))
    response = ti.respond("Ask for changes", "Shorter.")
    airflow.before = worker_dies_at("SetTaskStateStore", nth)
    ti.resume(response)
    airflow.before = None
    if ti.state == "up_for_retry":
        ti.run()
    while ti.state == "deferred":
        is_asked_again = ti.action.asked == 2 and ti.action.response is None and not sent(crew)
        ti.resume(ti.respond("Ask for changes", "Shorter.") if is_asked_again else ti.fire())
    assert ti.state == "success"
    assert (sent(crew), len(crew.kickoffs)) == (["Shorter."], 1)


def test_a_response_is_sent_once_where_its_answer_is_lost(airflow: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    ti = asked(airflow, crew)

    def script(_: Any) -> Answer:
        crew.now("run-1", "RUNNING", success("Done."))
        return LOST

    crew.once("/resume", script)
    assert finish(ti, ti.respond("Ask for changes", "Shorter.")).state == "success"
    assert sent(crew) == ["Shorter."]
    assert clock.slept < 3600


def test_a_response_that_the_crew_refuses_is_asked_for_again(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew)
    crew.once("/resume", refusal(422, "feedback is too long"))
    outcome = ti.resume(ti.respond("Ask for changes", "Shorter."))
    assert (outcome.state, ti.action.asked) == ("deferred", 2)
    assert "feedback is too long" in outcome.text


def test_an_action_of_an_earlier_try_is_closed(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew, retries=1)
    crew.now("run-1", "RUNNING", "RUNNING", success("Done."))
    ti.run()
    assert ti.finish_from_here().state == "success"
    assert ti.action.response["chosen_options"] == ["No longer asked"]


def test_without_an_action_the_task_waits_on(airflow: Airflow, crew: ScriptedCrew) -> None:
    airflow.broken.add("CreateHITLDetailPayload")
    crew.story("RUNNING", asks(), "RUNNING", success("Done."))
    ti = airflow.task(brief(deferrable=True, human_input=True))
    outcome = ti.finish()
    assert outcome.state == "success"


# ---- kills -----------------------------------------------------------------------------------------


def cancel(airflow: Airflow, trigger: Any) -> str:
    """Cancel a trigger, as Airflow does when its row is gone. Return what it logs."""
    with airflow.connected(), structlog.testing.capture_logs() as written:
        asyncio.run(trigger.on_kill())
    return "\n".join(str(line["event"]) for line in written)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("state", ["scheduled", "queued", "running", "deferred"])
def test_a_response_cancels_the_trigger_and_stops_no_run(
    airflow: Airflow, crew: ScriptedCrew, state: str, durable: bool
) -> None:
    ti = asked(airflow, crew, durable=durable)
    trigger = ti.trigger()
    ti.respond("Approve")
    ti.state = state
    said = cancel(airflow, trigger)
    assert crew.stops == []
    assert "a person has responded" in said


@pytest.mark.parametrize("state", ["failed", "success", None])
def test_a_user_who_ends_or_clears_the_task_stops_the_run_and_closes_the_action(
    airflow: Airflow, crew: ScriptedCrew, state: str | None
) -> None:
    ti = asked(airflow, crew)
    trigger = ti.trigger()
    ti.state = state
    cancel(airflow, trigger)
    assert crew.stops == ["run-1"]
    assert ti.action.response["chosen_options"] == ["The task stopped waiting"]


# ---- where only a webhook tells --------------------------------------------------------------------


@pytest.fixture
def reachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A deployment can call this Airflow."""
    monkeypatch.setenv("AIRFLOW__CREWAI__WEBHOOK_BASE_URL", "https://airflow.example.com")
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "shared by all processes of this Airflow")
    configured.cache_clear()
    yield
    configured.cache_clear()


def bring(ti: TaskInstance, task_id: str, output: str = "A draft.", **more: Any) -> None:
    """Let a webhook bring a question, as the api-server keeps it."""
    kept = ti.xcom(CREW_QUESTION)
    question = Question(task_id, output=output, **more)
    ti.airflow.xcoms[ti.key, CREW_QUESTION] = with_question("run-1", question, 0.0)(kept)


@pytest.mark.usefixtures("reachable")
def test_a_question_that_only_a_webhook_brings_is_asked_and_answered(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", "NOT FOUND")
    ti = airflow.task(brief(deferrable=True, human_input=True))
    ti.run()
    bring(ti, "uuid-1")
    until_asked(ti)
    assert "> A draft." in ti.form.body
    assert (ti.xcom("crew_run")["question"]["id"], ti.xcom("crew_run")["question"]["output"]) == ("uuid-1", "A draft.")
    goes_on(crew, "RUNNING", "NOT FOUND")
    ti.resume(ti.respond("Ask for changes", "Shorter."))
    assert ti.xcom("crew_run")["question"] is None
    bring(ti, "uuid-2", "A shorter draft.")
    until_asked(ti, times=2)
    goes_on(crew, "RUNNING", success("Done."))
    assert finish(ti, ti.respond("Approve")).state == "success"
    assert sent(crew) == ["Shorter.", "Approved."]
    assert [each.body["taskId"] for each in crew.asked if each.path == "/resume"] == ["uuid-1", "uuid-2"]
    hooks = [each.body["humanInputWebhook"]["url"] for each in crew.asked if each.path == "/resume"]
    assert hooks == [crew.kickoffs[0]["humanInputWebhook"]["url"]] * 2


@pytest.mark.usefixtures("reachable")
def test_a_run_that_ends_under_the_id_of_its_resume_has_ended(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING", "NOT FOUND")
    ti = airflow.task(brief(deferrable=True, human_input=True))
    ti.run()
    bring(ti, "uuid-1")
    until_asked(ti)
    crew.now("resumed", "RUNNING", success("Under its new id."))
    crew.always("/resume", Answer(body={"kickoff_id": "resumed"}))
    assert finish(ti, ti.respond("Approve")).state == "success"
    assert ti.answer == "Under its new id."
    assert ti.xcom("crew_run")["kickoff_id"] == "run-1"


@pytest.mark.usefixtures("reachable")
def test_what_a_person_said_is_sent_on_a_retry_to_a_run_that_hides_what_it_asks(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING", "NOT FOUND")
    ti = airflow.task(brief(deferrable=True, human_input=True, retries=2))
    ti.run()
    bring(ti, "uuid-1")
    until_asked(ti)
    airflow.before = worker_dies_at("SetTaskStateStore", 2)
    ti.resume(ti.respond("Ask for changes", "Shorter."))
    airflow.before = None
    assert sent(crew) == []
    crew.now("resumed", success("Shorter now."))
    crew.always("/resume", Answer(body={"kickoff_id": "resumed"}))
    assert ti.finish().state == "success"
    assert sent(crew) == ["Shorter."]


@pytest.mark.usefixtures("reachable")
def test_a_response_that_cannot_be_sent_to_a_run_that_hides_its_question_is_asked_for_again(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING", "NOT FOUND")
    ti = airflow.task(brief(deferrable=True, human_input=True))
    ti.run()
    bring(ti, "uuid-1")
    until_asked(ti)
    crew.always("/resume", refusal(503, "asleep", Retry_After="30"))
    ti.resume(ti.respond("Ask for changes", "Shorter."))
    assert ti.action.asked == 2
    assert "The response 'Shorter.' was not sent" in ti.outcome.text
    crew.always("/resume", None)
    goes_on(crew, success("Shorter now."))
    assert finish(ti, ti.respond("Ask for changes", "Shorter.")).state == "success"


# ---- any story -------------------------------------------------------------------------------------


class Rounds:
    """A crew that asks so many questions, and takes each answer once, ours or somebody else's."""

    def __init__(self, crew: ScriptedCrew, rounds: int) -> None:
        self.rounds, self.now = rounds, 0
        self.ours: list[str] = []
        crew.always("/status", self.status)
        crew.always("/resume", self.resume)

    def status(self, _: Asked) -> Answer:
        return Answer(body=asks(f"q-{self.now}") if self.now < self.rounds else success("Done."))

    def resume(self, asked: Asked) -> Answer:
        self.ours.append(asked.body["taskId"])
        self.now += asked.body["taskId"] == f"q-{self.now}"
        return Answer(body={"kickoff_id": "another-id"})


ACTS = ("responds", "elsewhere", "both", "dies before", "dies while", "dies after")


@settings(max_examples=examples(30), deadline=None)
@given(st.integers(1, 4), st.lists(st.sampled_from(ACTS), min_size=1, max_size=12))
def test_whatever_happens_each_question_is_answered_once_and_the_task_ends_once(rounds: int, acts: list[str]) -> None:
    with ScriptedCrew() as crew, pytest.MonkeyPatch.context() as patch:
        jumping = Clock()
        patch.setattr(time, "sleep", jumping.sleep)
        patch.setattr(time, "time", jumping.time)
        story = Rounds(crew, rounds)
        airflow = Airflow({"crewai_default": crew.connection})
        ti = airflow.task(brief(deferrable=True, human_input=True, retries=99))
        ti.run()
        for act in (*acts, *["responds"] * 99):
            if ti.state == "success":
                break
            live(airflow, ti, story, act)
    assert ti.answer == "Done."
    assert len(story.ours) == len(set(story.ours)), "one question got two answers of ours"
    assert len(crew.kickoffs) == 1
    assert crew.stops == []


def live(airflow: Airflow, ti: TaskInstance, story: Rounds, act: str) -> None:
    """Let one thing happen to the task."""
    if ti.state == "up_for_retry":
        ti.run()
    elif ti.trigger().asked is None or ti.action.response is not None:
        ti.resume(ti.fire())
    elif act == "elsewhere":
        story.now += 1
        ti.resume(ti.fire())
    else:
        story.now += act == "both"
        if act.startswith("dies"):
            airflow.before = worker_dies_at("SetTaskStateStore", 1 + ["before", "while", "after"].index(act[5:]))
        ti.resume(ti.respond("Ask for changes", "Shorter."))
        airflow.before = None
