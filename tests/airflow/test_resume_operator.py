"""CrewResumeOperator: a feedback from a review process of one's own reaches the run of another task exactly once."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from conftest import Clock
from crew_tasks import sends, worker_dies_at
from in_memory import Airflow, Killed, TaskInstance
from scripted_crew import LOST, Answer, Asked, ScriptedCrew, error

from airflow_provider_crewai.operators import CrewResumeOperator
from airflow_provider_crewai.wire import errors

RESUMED = Answer(body={"kickoff_id": "run-2", "status": "resumed"})


def asking(task_id: str = "ask-1", **more: Any) -> dict[str, Any]:
    return {"state": "PAUSED", "human_input": {"task_id": task_id, "message": "Approve?", "output": "A draft"}, **more}


def resume(**options: Any) -> CrewResumeOperator:
    return CrewResumeOperator(
        **{"task_id": "review", "kickoff_id": "run-1", "feedback": " Shorter. ", "retries": 2, **options}
    )


def sent(crew: ScriptedCrew) -> list[Any]:
    return [asked.body for asked in crew.asked if asked.method == "POST"]


@pytest.fixture
def dies() -> Iterator[Callable[[Asked], None]]:
    def die(*_: object) -> None:
        raise Killed

    before = signal.signal(signal.SIGUSR1, die)
    yield sends(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, before)


# ---- what is sent ----------------------------------------------------------------------------------


def test_the_one_open_question_is_answered_word_for_word(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", asking())
    crew.once("/resume", RESUMED)
    outcome = airflow.task(resume(task_webhook_url="https://me.example", by="{{ 'ada' }}")).run()
    assert outcome.state == "success"
    (body,) = sent(crew)
    assert (body["executionId"], body["taskId"], body["humanFeedback"]) == ("run-1", "ask-1", " Shorter. ")
    assert body["taskWebhookUrl"] == "https://me.example"
    assert "The feedback of ada to run run-1 was sent." in outcome.text


def test_the_task_returns_what_became_of_it(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", asking())
    crew.once("/resume", RESUMED)
    ti = airflow.task(resume())
    ti.run()
    assert ti.answer == {"kickoff_id": "run-1", "question": "ask-1", "fate": "sent"}


@pytest.mark.parametrize(
    ("said", "text", "approves"),
    [
        ({"option": "Approve", "feedback": None}, "Approved.", True),
        ({"option": "Ask for changes"}, " Shorter. ", False),
        ({"feedback": "Approved."}, "Approved.", True),
        ({"feedback": "What?"}, "What?", None),
    ],
)
def test_an_option_says_what_a_live_crew_understands(
    airflow: Airflow, crew: ScriptedCrew, said: dict[str, Any], text: str, approves: bool | None
) -> None:
    crew.now("run-1", asking())
    crew.once("/resume", RESUMED)
    assert airflow.task(resume(**said)).run().state == "success"
    (body,) = sent(crew)
    assert (body["humanFeedback"], body.get("isApprove")) == (text, approves)


def test_a_flow_gets_one_of_its_outcomes(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", asking(flow_id="run-1"))
    crew.once("/resume_feedback", Answer(body={"status": "resumed"}))
    assert airflow.task(resume(option="publish", feedback=None)).run().state == "success"
    assert sent(crew) == [{"flow_id": "run-1", "feedback": "publish"}]


def test_a_crew_that_a_deployment_hides_is_answered_by_the_named_question(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", "NOT FOUND")
    crew.once("/resume", RESUMED)
    assert airflow.task(resume(question="ask-7")).run().state == "success"
    assert sent(crew)[0]["taskId"] == "ask-7"


# ---- retries ---------------------------------------------------------------------------------------


def test_a_worker_that_dies_while_it_sends_sends_nothing_twice(airflow: Airflow, crew: ScriptedCrew, dies: Any) -> None:
    crew.now("run-1", asking())
    crew.once("/resume", dies)
    ti = airflow.task(resume())
    assert isinstance(ti.run().error, Killed)
    crew.now("run-1", "RUNNING")
    outcome = ti.run()
    assert outcome.state == "success"
    assert len(sent(crew)) == 1
    assert ti.answer["fate"] == "arrived"


def test_a_worker_that_dies_before_it_sends_sends_on_the_retry(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.now("run-1", asking())
    crew.once("/resume", RESUMED)
    airflow.before = worker_dies_at("SetTaskStateStore", 3)
    ti = airflow.task(resume())
    assert isinstance(ti.run().error, Killed)
    assert sent(crew) == []
    airflow.before = None
    assert ti.run().state == "success"
    assert len(sent(crew)) == 1
    assert ti.answer["fate"] == "sent"


def test_a_try_after_the_feedback_was_sent_succeeds_and_sends_nothing(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", asking())
    crew.once("/resume", RESUMED)
    ti = airflow.task(resume())
    airflow.before = worker_dies_at("SetXCom")
    assert isinstance(ti.run().error, Killed)
    airflow.before = None
    assert ti.run().state == "success"
    assert len(sent(crew)) == 1


def test_a_run_that_hides_whether_it_arrived_is_not_told_twice(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.now("run-1", "NOT FOUND")
    crew.once("/resume", LOST)
    ti = airflow.task(resume(question="ask-7"))
    for _ in range(2):
        outcome = ti.run()
        assert isinstance(outcome.error, errors.CrewFeedbackInDoubt)
        assert outcome.state == "up_for_retry"
        assert "sends the feedback only if the run still shows the same question" in " ".join(outcome.text.split())
        assert "Look: python -m airflow_provider_crewai status run-1" in outcome.text
    assert len(sent(crew)) == 1


def test_another_feedback_on_a_retry_is_refused_once_the_first_may_have_arrived(
    airflow: Airflow, crew: ScriptedCrew, dies: Any
) -> None:
    crew.now("run-1", asking())
    crew.once("/resume", dies)
    ti = airflow.task(resume())
    ti.run()
    ti.edit(resume(feedback="Longer."))
    outcome = ti.run()
    assert isinstance(outcome.error, errors.CrewChangedFeedback)
    assert isinstance(outcome.error, AirflowFailException)
    assert len(sent(crew)) == 1


def test_a_cleared_task_answers_the_next_question(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/resume", RESUMED)
    ti = cleared_after_success(airflow, crew)
    crew.now("run-1", asking("ask-2"))
    assert ti.run().state == "success"
    assert [body["taskId"] for body in sent(crew)] == ["ask-1", "ask-2"]


def test_a_cleared_task_gives_no_feedback_twice_to_the_same_question(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/resume", RESUMED)
    assert cleared_after_success(airflow, crew).run().state == "success"
    assert len(sent(crew)) == 1


def cleared_after_success(airflow: Airflow, crew: ScriptedCrew) -> TaskInstance:
    crew.now("run-1", asking())
    ti = airflow.task(resume())
    assert ti.run().state == "success"
    ti.clear()
    return ti


# ---- what goes wrong -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "options", "says", "after"),
    [
        ("RUNNING", {}, "Run run-1 shows no question: it is running.", "up_for_retry"),
        ("NOT FOUND", {}, "then name the question by its task_id. Nothing was sent.", "up_for_retry"),
        ({"state": "SUCCESS", "result": "done"}, {}, "Run run-1 is over (succeeded), so it asks nothing any more", "failed"),
        (asking(), {"question": "ask-0"}, "Run run-1 asks question 'ask-1' now, not 'ask-0'. Nothing was sent.", "failed"),
        (asking(), {"option": "Ask for changes", "feedback": None}, "Ask for changes needs a text", "failed"),
        (asking(), {"feedback": "{{ none }}"}, "feedback and option rendered to nothing. Nothing was sent.", "failed"),
        (asking(), {"kickoff_id": "{{ none }}"}, "kickoff_id rendered to", "failed"),
        (
            asking(flow_id="run-1", human_input={"task_id": "ask-1", "options": ["yes", "no"]}),
            {"option": "perhaps"},
            "option is 'perhaps', but the run offers 'yes', 'no'. Nothing was sent.",
            "failed",
        ),
    ],
)  # fmt: skip
def test_an_error_says_why_nothing_was_sent(
    airflow: Airflow, crew: ScriptedCrew, state: Any, options: dict[str, Any], says: str, after: str
) -> None:
    crew.now("run-1", state)
    outcome = airflow.task(resume(**options)).run()
    assert says in str(outcome.error)
    assert outcome.state == after
    assert sent(crew) == []
    assert "The feedback was not given over connection 'crewai_default'" in outcome.text
    assert (
        "A retry or a clear tries again." if after == "up_for_retry" else "The task is not retried."
    ) in outcome.text


def test_feedback_that_came_too_late_is_an_error(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", asking(), asking(), "RUNNING")
    crew.once("/resume", error(409, "This question has an answer already"))
    outcome = airflow.task(resume()).run()
    assert isinstance(outcome.error, errors.CrewNothingAsked)
    assert "came too late: the run no longer asks this." in str(outcome.error)
    assert outcome.state == "failed"


def test_a_task_with_nothing_to_say_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(ValueError, match="Task 'review' has nothing to say: set feedback, option or both"):
        resume(feedback=None)


def test_a_misspelt_argument_is_refused_when_the_dag_is_parsed() -> None:
    with pytest.raises(TypeError, match=r"CrewResumeOperator takes no argument feedbck\. Did you mean feedback"):
        CrewResumeOperator(task_id="review", kickoff_id="run-1", feedbck="ok")  # type: ignore[call-arg]  # a misspelt one


def test_without_a_store_the_task_says_that_a_retry_cannot_know(airflow: Airflow, crew: ScriptedCrew) -> None:
    airflow.has_state_store = False
    crew.now("run-1", asking())
    crew.once("/resume", RESUMED)
    assert "it cannot know what an earlier try has sent" in airflow.task(resume()).run().text
