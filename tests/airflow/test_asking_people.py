"""A crew's question becomes a Required Action of the task that waits, and a person's response goes to the crew once."""

from __future__ import annotations

from typing import Any

from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
from crew_tasks import brief
from in_memory import Airflow, TaskInstance
from scripted_crew import Answer, ScriptedCrew, success


def asks(task_id: str = "q-1", message: str = "Is it good?", output: str = "A *draft*.", **more: Any) -> dict[str, Any]:
    """A run that waits for a person."""
    return {"state": "PAUSED", "human_input": {"task_id": task_id, "message": message, "output": output, **more}}


def asked(airflow: Airflow, crew: ScriptedCrew, *story: Any, **options: Any) -> TaskInstance:
    """A task that waits for a person."""
    crew.story(*(story or ("RUNNING", asks())))
    ti = airflow.task(brief(deferrable=True, human_input=True, **options))
    outcome = ti.run()
    while ti.action is None:
        assert outcome.state == "deferred"
        outcome = ti.resume(ti.fire())
    assert outcome.state == "deferred"
    return ti


def goes_on(crew: ScriptedCrew, *states: Any) -> None:
    """Let the run go through these states once somebody has answered it."""

    def script(_: Any) -> Answer:
        crew.now("run-1", *states)
        return Answer(body={"kickoff_id": "another-id"})

    crew.once("/resume", script)


def sent(crew: ScriptedCrew) -> list[Any]:
    """What people said to the crew."""
    return [each.body for each in crew.asked if each.path.startswith("/resume")]


def test_a_question_becomes_an_action_and_the_response_goes_to_the_crew(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = asked(airflow, crew)
    assert ti.form.options == ["Approve", "Ask for changes"]
    assert "> A *draft*." in ti.form.body
    assert "> Is it good?" in ti.form.body
    goes_on(crew, "RUNNING", "RUNNING", success("A better draft."))
    outcome = ti.resume(ti.respond("Ask for changes", "Shorter, please."))
    assert outcome.state == "deferred"
    outcome = ti.resume(ti.fire())
    assert (outcome.state, ti.answer) == ("success", "A better draft.")
    (said,) = sent(crew)
    assert said["humanFeedback"] == said["human_feedback"] == "Shorter, please."
    assert said["executionId"] == "run-1"
    assert said["taskId"] == "q-1"
    assert airflow.count(CreateHITLDetailPayload) == 1
