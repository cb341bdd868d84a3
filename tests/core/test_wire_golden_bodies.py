"""Every body that anybody has seen or documented reads as its source says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_crewai.wire import codec, errors
from airflow_provider_crewai.wire.errors import CrewApiError, CrewAuthError, CrewInputError
from airflow_provider_crewai.wire.model import Kickoff, Request, Response, Resumed, Resumption, RunState

BODIES = Path(__file__).parent / "aop_fixtures"
OTHERS_WRITE = {"flow_hitl_callback_request", "resume_request_docs_snake_case"}
"""Requests that we never send as they are."""


def body(name: str) -> bytes:
    return (BODIES / f"{name}.json").read_bytes()


def fields(name: str) -> dict[str, Any]:
    return json.loads(body(name))


STATUSES: dict[str, tuple[RunState, dict[str, Any]]] = {
    "status_pending_live": (RunState.PENDING, {"word": "PENDING", "text": "Task is pending", "progress": None}),
    "status_started_live": (RunState.RUNNING, {"word": "STARTED", "text": "Task is Running"}),
    "status_running_crew_live": (RunState.RUNNING, {"error": None, "result": None, "result_json": None}),
    "status_running_docs": (RunState.RUNNING, {"word": "running", "text": None}),
    "status_success_crew_live": (RunState.SUCCEEDED, {"result": "AUDIENCE=3", "answer": "AUDIENCE=3", "text": None}),
    "status_completed_docs": (RunState.SUCCEEDED, {"result": fields("status_completed_docs")["result"]["output"]}),
    "status_failed_live": (RunState.FAILED, {"error": "ValueError: Topic cannot be empty", "result": None}),
    "status_error_docs": (RunState.FAILED, {"error": "Task execution failed: Invalid API key for external service"}),
    "status_not_found_live": (RunState.NOT_FOUND, {"text": "Task not found or Invalid kickoff id", "error": None}),
}


@pytest.mark.parametrize("name", STATUSES)
def test_a_status_reads_as_its_source_says(name: str) -> None:
    state, expected = STATUSES[name]
    run = codec.read_status("an-id", Response(200, {}, body(name)))
    assert (run.kickoff_id, run.state) == ("an-id", state)
    assert {key: getattr(run, key) for key in expected} == expected


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("status_running_crew_live", "1 of 2 done, now summary_task (Analyst)"),
        ("status_running_docs", "1 of 3 done, now research_task"),
    ],
)
def test_progress_reads_in_both_dialects(name: str, said: str) -> None:
    assert str(codec.read_status("an-id", Response(200, {}, body(name))).progress) == said


def test_usage_is_what_the_service_counted() -> None:
    run = codec.read_status("an-id", Response(200, {}, body("status_success_crew_live")))
    assert run.usage == fields("status_success_crew_live")["usage_metrics"]


def test_a_documented_404_about_an_execution_means_not_found() -> None:
    run = codec.read_status("an-id", Response(404, {}, body("status_404_docs")))
    assert run.state is RunState.NOT_FOUND
    assert run.text is not None
    assert "Execution not found" in run.text


@pytest.mark.parametrize("name", ["inputs_200_crew_live", "inputs_200_flow_live"])
def test_the_listed_inputs_are_read_in_order(name: str) -> None:
    assert list(codec.read_inputs(Response(200, {}, body(name))).names) == fields(name)["inputs"]


@pytest.mark.parametrize("name", ["kickoff_200_live_dashboard_screenshot", "kickoff_200_live_mcp_screenshot"])
def test_a_kickoff_answers_with_its_id(name: str) -> None:
    assert codec.read_kickoff(Response(200, {}, body(name))) == fields(name)["kickoff_id"]


def test_both_answers_to_a_resume_are_read() -> None:
    live = codec.read_resume(Response(200, {}, body("resume_200_live")))
    documented = codec.read_resume(Response(200, {}, body("resume_200_docs")))
    assert live == Resumed(kickoff_id=fields("resume_200_live")["kickoff_id"])
    assert documented == Resumed(status="resumed", message="Execution resumed successfully")


def test_a_stop_says_whether_the_run_was_stopped_or_had_ended() -> None:
    assert codec.read_stop(Response(200, {}, body("stop_200_docs"))) is True
    assert codec.read_stop(Response(400, {}, body("stop_400_terminal_docs"))) is False


@pytest.mark.parametrize("status", [400, 409])
@pytest.mark.parametrize("state", ["success", "'FAILED'", "RunState.REVOKED.", "  Success"])
def test_a_run_that_had_ended_is_said_to_have_however_its_state_is_quoted(status: int, state: str) -> None:
    said = json.dumps({"detail": f"Cannot stop execution. Current state: {state}"}).encode()
    assert codec.read_stop(Response(status, {}, said)) is False


@pytest.mark.parametrize(
    "said",
    [{"status": "error", "message": "no"}, {"success": False}, {"error": "no"}, {"status": "NOT FOUND"}],
)
def test_a_200_that_says_that_nothing_was_stopped_is_an_error(said: dict[str, Any]) -> None:
    with pytest.raises(CrewApiError, match="HTTP 200"):
        codec.read_stop(Response(200, {}, json.dumps(said).encode()))


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ("NOT FOUND", errors.CrewUnknownRun),
        ("PENDING", errors.CrewInputError),
        ("HIBERNATING", errors.CrewInputError),
        ("", errors.CrewInputError),
    ],
)
def test_a_run_that_is_not_over_and_not_stopped_is_not_said_to_have_ended(
    state: str, error: type[errors.CrewError]
) -> None:
    said = json.dumps({"detail": f"Cannot stop execution. Current state: {state}"}).encode()
    with pytest.raises(error, match="Cannot stop execution"):
        codec.read_stop(Response(400, {}, said))


def test_a_429_that_says_when_to_come_back_is_no_used_up_quota() -> None:
    said = b'{"detail": "Execution rate limit exceeded"}'
    for headers, error in (({"retry-after": "30"}, errors.CrewRateLimited), ({}, errors.CrewQuotaError)):
        with pytest.raises(error):
            codec.read_inputs(Response(429, headers, said))


ERRORS: dict[str, tuple[int, Callable[[Response], object], type[CrewApiError], str]] = {
    "error_401_no_header_live": (401, codec.read_inputs, CrewAuthError, "Not authenticated"),
    "error_401_wrong_token_live": (
        401,
        codec.read_kickoff,
        CrewAuthError,
        "Invalid or missing authentication credentials",
    ),
    "kickoff_422_missing_inputs_live": (422, codec.read_kickoff, CrewInputError, "Missing inputs: audience, topic"),
    "kickoff_422_missing_inputs_docs": (422, codec.read_kickoff, CrewInputError, "Missing required inputs"),
    "resume_422_snake_case_live": (422, codec.read_resume, CrewInputError, "body.executionId: Field required"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_keeps_its_kind_and_the_servers_words(name: str) -> None:
    status, read, kind, said = ERRORS[name]
    with pytest.raises(kind) as caught:
        read(Response(status, {}, body(name)))
    assert caught.value.status == status
    assert said in caught.value.detail
    assert said in str(caught.value)


def test_the_documented_validation_error_names_the_missing_inputs() -> None:
    with pytest.raises(CrewInputError, match=r"budget.*interests"):
        codec.read_kickoff(Response(422, {}, body("kickoff_422_missing_inputs_docs")))


KICKOFF_FIELDS = {
    "inputs": "inputs",
    "meta": "meta",
    "taskWebhookUrl": "task_webhook_url",
    "stepWebhookUrl": "step_webhook_url",
    "crewWebhookUrl": "crew_webhook_url",
    "humanInputWebhookUrl": "human_input_webhook",
    "humanInputWebhook": "human_input_webhook",
    "webhooks": "webhooks",
    "restoreFromStateId": "restore_from_state_id",
}
DASHBOARDS_OWN = {"trainingFilename", "generateArtifact"}
"""Keys that only CrewAI's dashboard was seen to send, and that no page of its documentation names."""


def kickoff_of(said: dict[str, Any]) -> Kickoff:
    return Kickoff(**{KICKOFF_FIELDS[key]: value for key, value in said.items()})


@pytest.mark.parametrize("path", sorted(BODIES.glob("kickoff_request_*.json")), ids=lambda path: path.stem)
def test_we_write_the_kickoff_that_others_were_seen_to_send(path: Path) -> None:
    said = {key: value for key, value in json.loads(path.read_bytes()).items() if key not in DASHBOARDS_OWN}
    assert codec.kickoff_request(kickoff_of(said)) == Request("POST", "/kickoff", said, idempotent=False)


def resumption_of(said: dict[str, Any]) -> Resumption:
    hooks = {key: value for key, value in said.items() if key in KICKOFF_FIELDS}
    return Resumption(
        kickoff_id=said.get("executionId") or said["execution_id"],
        task_id=said.get("taskId") or said["task_id"],
        feedback=said.get("humanFeedback") or said["human_feedback"],
        approve=said.get("is_approve"),
        hooks=kickoff_of(hooks),
    )


@pytest.mark.parametrize("path", sorted(BODIES.glob("resume_request_*.json")), ids=lambda path: path.stem)
def test_we_write_a_resume_that_holds_what_others_were_seen_to_send(path: Path) -> None:
    said = json.loads(path.read_bytes())
    request = codec.resume_request(resumption_of(said))
    assert (request.method, request.path, request.idempotent) == ("POST", "/resume", False)
    assert request.body is not None
    assert request.body.items() >= said.items()


def test_each_body_names_its_source() -> None:
    bodies = {path.stem for path in BODIES.glob("*.json")}
    assert bodies == {path.stem for path in BODIES.glob("*.src")}
    assert len(bodies) >= 39
    assert bodies >= OTHERS_WRITE
