"""The public types as an author of a Dag uses them: checked by mypy, never run."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from pydantic import BaseModel

from airflow_provider_crewai.answers import read_answer
from airflow_provider_crewai.client.feedback import Given
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch
from airflow_provider_crewai.hooks import AsyncCrewHook, CrewHook
from airflow_provider_crewai.operators import CrewBatchOperator, CrewKickoffOperator, CrewResumeOperator
from airflow_provider_crewai.retries import CrewRetryPolicy
from airflow_provider_crewai.sensors import CrewStatusSensor
from airflow_provider_crewai.triggers import CrewStatusTrigger
from airflow_provider_crewai.wire.model import JSON, CrewInputs, Feedback, Kickoff, Resumed, Resumption, Run, RunState


class Brief(BaseModel):
    """What a crew answers."""

    title: str


operator = CrewKickoffOperator(
    task_id="brief",
    inputs={"topic": "{{ ds }}", "depth": 3, "sources": ["a", {"url": None}]},
    crewai_conn_id="crewai_default",
    meta={"team": "data"},
    human_input_webhook={"url": "https://me.example", "authentication": {"strategy": "bearer", "token": "…"}},
    validate_inputs=True,
    timeout=timedelta(hours=2),
    on_changed_inputs="fail",
    on_orphaned_kickoff="rerun",
    on_clear="reattach",
    on_kill="leave",
    output_type=Brief,
    on_output_mismatch="rerun",
    result_path="s3://lake@answers/{{ ds }}",
    max_xcom_bytes=None,
    poll_interval=0.5,
    deferrable=True,
    retries=3,
    retry_policy=CrewRetryPolicy(retry_failures=["rate limit"]),
)
CrewKickoffOperator(task_id="no_inputs")
CrewKickoffOperator(task_id="a_template", inputs="{{ ti.xcom_pull('rows') | tojson }}", timeout=None)
CrewKickoffOperator(task_id="a_word", on_kill="pause")  # type: ignore[arg-type]
CrewBatchOperator(
    task_id="briefs",
    inputs=[{"topic": "Tides"}, {"topic": "Winds", "sources": ["a", None]}],
    max_concurrency=20,
    on_item_failure="fail_fast",
    allow_failures=0.05,
    output_type=Brief,
    result_path="s3://lake@answers/{{ ds }}",
    timeout=timedelta(hours=6),
    on_kill="leave",
    deferrable=True,
)
CrewBatchOperator(task_id="of_a_template", inputs="{{ ti.xcom_pull('rows') | tojson }}", allow_failures=3)
CrewBatchOperator(task_id="nothing")  # type: ignore[call-arg]
CrewBatchOperator(task_id="no_word", inputs=[], on_item_failure="stop")  # type: ignore[arg-type]
CrewStatusSensor(task_id="wait", kickoff_id="{{ ti.xcom_pull('brief', key='kickoff_id') }}", human_input=True)
CrewStatusSensor(task_id="typed", kickoff_id="run-1", output_type=list[Brief], max_xcom_bytes=0)
CrewStatusSensor(task_id="what")  # type: ignore[call-arg]
CrewResumeOperator(task_id="review", kickoff_id="run-1", feedback="Shorter.", option="Ask for changes", by="ada")
CrewResumeOperator(task_id="whom", feedback="Shorter.")  # type: ignore[call-arg]


def reading(xcom: object) -> None:
    assert_type(read_answer(xcom), JSON)
    assert_type(read_answer(xcom, Brief), Brief)
    assert_type(read_answer(xcom, list[Brief]), list[Brief])
    read_answer(xcom, Brief | None)


def blocking(hook: CrewHook) -> None:
    assert_type(hook.get_inputs(), CrewInputs)
    assert_type(hook.get_inputs().names, tuple[str, ...])
    kickoff_id = hook.kickoff(Kickoff(inputs={"topic": "tides"}))
    assert_type(kickoff_id, str)
    run = hook.get_status(kickoff_id)
    assert_type(run, Run)
    assert_type(run.state, RunState)
    assert_type(run.answer, JSON)
    assert_type(hook.resume(Resumption(kickoff_id, "task-1", "Approved.")), Resumed)
    if run.question:
        assert_type(hook.give(Feedback(run.question.key, "Shorter."), run.question, kickoff_id), Given)
    assert_type(hook.stop(kickoff_id), bool)
    ending = hook.wait(Watch(kickoff_id, Patience(deadline=1e9), started_at=0.0))
    assert_type(ending, Ending)
    assert_type(ending.verdict, Verdict)
    hook.kickoff({"topic": "tides"})  # type: ignore[arg-type]


async def asynchronous() -> None:
    async with AsyncCrewHook("crewai_default") as hook:
        assert_type(hook, AsyncCrewHook)
        assert_type(await hook.get_inputs(), CrewInputs)
        assert_type(await hook.get_status("run-1"), Run)
        assert_type(await hook.stop("run-1"), bool)


CrewStatusTrigger(kickoff_id="run-1", deadline=None, on_kill="stop", on_clear="rerun")
