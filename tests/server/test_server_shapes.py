"""Every endpoint answers in the shapes of a deployed crew."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from aop_server import EXAMPLE, INPUTS, Server, Start

META = {"requestId": "travel-req-123", "nested": [1, 2.5, None], "no text": "\ud800"}


@pytest.fixture(scope="module")
def finished(server: Server) -> dict[str, Any]:
    return server.wait(server.kickoff(meta=META), "SUCCESS")


def test_inputs_are_the_crews_own_sorted(server: Server) -> None:
    assert server.ask("GET", "/inputs").json()["inputs"] == ["audience", "topic"]


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer"}])
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/inputs"), ("POST", "/kickoff"), ("GET", "/status/x"), ("POST", "/stop/x")]
)
def test_no_token_is_not_authenticated(server: Server, method: str, path: str, headers: dict[str, str]) -> None:
    answer = server.ask(method, path, headers=headers)
    assert (answer.status, answer.json()) == (401, {"detail": "Not authenticated"})


@pytest.mark.parametrize("token", ["wrong", "a-token-for-test", "a-token-for-tests2", "\xe9"])
def test_a_wrong_token_is_invalid(server: Server, token: str) -> None:
    answer = server.ask("GET", "/inputs", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status, answer.json()) == (401, {"detail": "Invalid or missing authentication credentials"})


def test_other_paths_are_not_found(server: Server) -> None:
    answer = server.ask("GET", "/nowhere", headers={})
    assert (answer.status, answer.json()) == (404, {"detail": "Not Found"})


def test_a_wrong_method_is_not_allowed(server: Server) -> None:
    assert server.ask("GET", "/kickoff").status == 405


@pytest.mark.parametrize(
    ("body", "missing"),
    [({}, "audience, topic"), ({"inputs": None}, "audience, topic"), ({"inputs": {"topic": "x"}}, "audience")],
)
def test_missing_inputs_are_named(shared: Start, body: dict[str, Any], missing: str) -> None:
    answer = shared(str(EXAMPLE), "--strict-aop").ask("POST", "/kickoff", body)
    assert (answer.status, answer.json()) == (422, {"detail": f"Missing inputs: {missing}"})


def test_inputs_that_are_no_object_are_refused(server: Server) -> None:
    assert server.ask("POST", "/kickoff", {"inputs": ["topic"]}).status == 422


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"inputs": {"topic": NaN}}', b"\xff", b"[" * 100])
def test_invalid_json_is_a_server_error_as_plain_text(server: Server, body: bytes) -> None:
    answer = server.ask("POST", "/kickoff", body)
    assert (answer.status, answer.body) == (500, b"Internal Server Error")
    assert answer.headers["content-type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested more than 200 levels"),
        ("[" * 200 + "]" * 200, "nested more than 200 levels"),
        ("9" * 5000, "too many digits"),
        ("1e400", "is too large"),
        ("-1e400", "is too large"),
    ],
)
@pytest.mark.parametrize("path", ["/kickoff", "/resume"])
def test_json_that_nobody_can_use_is_refused_before_a_run_is_kept(
    server: Server, path: str, value: str, words: str
) -> None:
    answer = server.ask("POST", path, b'{"inputs": {"topic": %s, "audience": "y"}}' % value.encode())
    assert answer.status == 422
    assert words in answer.json()["detail"]


def test_a_body_over_the_cap_is_refused(server: Server) -> None:
    # One byte over, so that all of it is sent before the server hangs up.
    assert server.ask("POST", "/kickoff", b" " * (10 * 1024 * 1024 + 1)).status == 413


@pytest.mark.parametrize("kickoff_id", [str(uuid.UUID(int=0)), "x", "a%2Fb", "..%2F..%2Ftoken", "%00"])
def test_an_unknown_run_is_not_found_with_200(server: Server, kickoff_id: str) -> None:
    status = server.status(kickoff_id)
    assert (status["state"], status["status"]) == ("NOT FOUND", "Task not found or Invalid kickoff id")
    assert server.ask("POST", f"/stop/{kickoff_id}").status == 400


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "", "192.168.1.1"])
def test_a_host_that_is_not_loopback_is_refused(server: Server, host: str) -> None:
    assert server.ask("GET", "/inputs", headers={"Host": host}).status == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:81", "[::1]", "[::1]:80"])
def test_loopback_hosts_are_let_through(server: Server, host: str) -> None:
    assert server.ask("GET", "/inputs", headers={"Host": host}).status == 401


def test_a_finished_run_has_a_result_as_text_and_as_an_object(finished: dict[str, Any]) -> None:
    assert (finished["state"], finished["status"], finished["execution_origin"]) == ("SUCCESS", None, "api")
    assert finished["result_json"]["title"] == "AI agents for engineers"
    assert finished["result_json"]["headings"] == ["Agents", "Ai"]
    assert isinstance(finished["result"], str)
    assert finished["result_json"]["text"] in finished["result"]


def test_a_finished_run_has_counted_its_usage(finished: dict[str, Any]) -> None:
    usage = finished["usage_metrics"]
    assert usage["successful_requests"] == 3
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] > 0


def test_a_finished_run_has_all_its_progress(finished: dict[str, Any]) -> None:
    progress = dict(finished["progress"])
    assert progress.pop("started_at") <= progress.pop("updated_at")
    assert 0 <= progress.pop("duration_seconds") < 30
    counts = {"unit": "task", "completed": 3, "total": 3, "remaining": 0}
    assert progress == counts | {"current": None, "current_agent": None}


def test_the_last_executed_task_echoes_meta(server: Server, finished: dict[str, Any]) -> None:
    task = finished["last_executed_task"]
    keys = {"name", "description", "expected_output", "summary", "agent", "output", "output_json", "kickoff_id", "meta"}
    assert task.keys() == keys
    assert (task["name"], task["agent"], task["meta"]) == ("brief_task", "Brief Editor", META)
    assert task["output_json"] == finished["result_json"]
    assert server.status(task["kickoff_id"]) == finished


def test_a_finished_run_cannot_be_stopped(server: Server, finished: dict[str, Any]) -> None:
    answer = server.ask("POST", f"/stop/{finished['last_executed_task']['kickoff_id']}")
    detail = "Cannot stop execution. Current state: SUCCESS"
    assert (answer.status, answer.json()) == (400, {"detail": detail})


def test_the_result_depends_on_the_inputs_and_on_nothing_else(server: Server, finished: dict[str, Any]) -> None:
    same, other = (server.kickoff(INPUTS | change) for change in ({}, {"topic": "Slow trains in Norway"}))
    assert server.wait(same, "SUCCESS")["result"] == finished["result"]
    assert server.wait(other, "SUCCESS")["result_json"]["headings"] == ["Trains", "Norway", "Slow", "In"]


def test_values_keep_their_json_types(server: Server) -> None:
    status = server.wait(server.kickoff({"topic": 7.5, "audience": ["a", True, None]}), "SUCCESS")
    # What Python, and so the crew, writes for these values; JSON's or a string's own spelling would differ.
    assert status["result_json"]["title"] == "7.5 for ['a', True, None]"


def test_a_failure_is_told_by_its_type_and_words(server: Server) -> None:
    status = server.wait(server.kickoff(INPUTS | {"topic": " "}), "FAILED")
    assert status["status"] == "ValueError: Topic cannot be empty (src/brief/crew.py:43)"
    assert [status[key] for key in ("result", "result_json", "progress")] == [None, None, None]
