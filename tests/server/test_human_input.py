"""A human is asked and heard: crews and flows, many rounds, both spellings, and whatever dies meanwhile."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from aop_server import Answer, Server, Start

PROJECTS = Path(__file__).parent / "projects"
REVIEW, APPROVAL, ASKING, NESTED = (str(PROJECTS / name) for name in ("review", "approval", "asking", "nested"))


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model's own diary of its calls."""
    return tmp_path_factory.mktemp("scribe") / "calls"


@pytest.fixture
def review(shared: Start, calls: Path) -> Server:
    calls.unlink(missing_ok=True)
    return shared(REVIEW, environment={"SCRIBE_CALLS": str(calls)})


def drafts(calls: Path) -> int:
    return sum("Draft it" in line or "feedback" in line.lower() for line in calls.read_text().splitlines())


def test_a_crew_waits_for_approval_and_goes_on(review: Server, calls: Path) -> None:
    kickoff_id = review.kickoff({"topic": "tides"})
    question = review.asked(kickoff_id)
    assert question["output"] == "Wrote <Draft it>"
    assert review.status(kickoff_id)["progress"]["current"] == "draft"
    answer = review.resume(kickoff_id, question["task_id"], "Approved.")
    assert (answer.status, answer.json()["kickoff_id"]) == (200, kickoff_id)
    assert review.wait(kickoff_id, "SUCCESS")["result"] == "Wrote <Publish it>"
    assert drafts(calls) == 1


def test_what_a_human_does_not_like_is_done_again_with_their_words_and_asked_again(review: Server, calls: Path) -> None:
    kickoff_id = review.kickoff({"topic": "tides"})
    first = review.asked(kickoff_id)
    review.resume(kickoff_id, first["task_id"], "Make it shorter")
    second = review.asked(kickoff_id, other_than=first["task_id"])
    assert "Make it shorter" in second["output"]
    review.resume(kickoff_id, second["task_id"], "ok")
    review.wait(kickoff_id, "SUCCESS")
    assert drafts(calls) == 2


@pytest.mark.parametrize("verdict", ["isApprove", "is_approve"])
def test_a_verdict_counts_more_than_the_text(review: Server, verdict: str) -> None:
    kickoff_id = review.kickoff({"topic": "tides"})
    first = review.asked(kickoff_id)
    review.resume(kickoff_id, first["task_id"], "Approved.", **{verdict: False})
    second = review.asked(kickoff_id, other_than=first["task_id"])
    review.resume(kickoff_id, second["task_id"], "I would have said it differently", **{verdict: True})
    review.wait(kickoff_id, "SUCCESS")


def test_the_published_spelling_is_understood_too(review: Server) -> None:
    kickoff_id = review.kickoff({"topic": "tides"})
    question = review.asked(kickoff_id)
    body = {"execution_id": kickoff_id, "task_id": question["task_id"], "human_feedback": "", "is_approve": True}
    assert review.ask("POST", "/resume", body).json()["status"] == "resumed"
    review.wait(kickoff_id, "SUCCESS")


def test_an_answer_counts_once_and_only_for_its_own_run(review: Server) -> None:
    kickoff_id, other = review.kickoff({"topic": "tides"}), review.kickoff({"topic": "ebb"})
    question = review.asked(kickoff_id)
    assert review.resume(other, question["task_id"], "ok").status == 404
    assert review.resume(kickoff_id, "made-up", "ok").status == 404
    assert review.resume(kickoff_id, question["task_id"], "ok").status == 200
    assert review.resume(kickoff_id, question["task_id"], "no, worse").status == 409
    review.wait(kickoff_id, "SUCCESS")
    review.ask("POST", f"/stop/{other}")


def missing(answer: Answer) -> list[str]:
    """The fields that an answer of 422 names, in the live shape."""
    assert answer.status == 422, answer
    detail = answer.json()["detail"]
    assert {each["msg"] for each in detail} == {"Field required"}
    return [name for where, name in (each["loc"] for each in detail) if where == "body"]


def test_a_resume_without_ids_is_refused_as_live(review: Server) -> None:
    assert missing(review.ask("POST", "/resume", {"humanFeedback": "ok"})) == ["executionId", "taskId"]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("said", [{"feedback": "No"}, {"humanFeedback": None}, {"humanFeedback": {"text": "No"}}, {}])
def test_a_resume_that_says_nothing_approves_nothing(
    shared: Start, calls: Path, said: dict[str, object], strict: bool
) -> None:
    server = shared(REVIEW, *(("--strict-aop",) if strict else ()), environment={"SCRIBE_CALLS": str(calls)})
    ids = {"executionId": "any", "taskId": "any"}
    assert missing(server.ask("POST", "/resume", {**ids, "isApprove": "no", **said})) == ["humanFeedback"]


@pytest.mark.parametrize("body", [b"feedback=No", b"", b"[]", b"{}", b'{"feedback": null}', b'{"feedback": false}'])
def test_a_malformed_answer_to_a_flow_approves_nothing(shared: Start, body: bytes) -> None:
    server = shared(APPROVAL)
    kickoff_id = server.kickoff({"title": "Tides"})
    question = server.asked(kickoff_id)
    assert missing(server.ask("POST", f"/feedback/{question['task_id']}", body, headers={})) == ["feedback"]
    assert server.asked(kickoff_id) == question
    server.ask("POST", f"/stop/{kickoff_id}")


def test_a_paused_run_takes_no_slot(shared: Start, calls: Path) -> None:
    server = shared(REVIEW, "--slots", "1", environment={"SCRIBE_CALLS": str(calls)})
    runs = [server.kickoff({"topic": f"tide {number}"}) for number in range(3)]
    for kickoff_id in runs:
        server.asked(kickoff_id)
    for kickoff_id in runs:
        server.resume(kickoff_id, server.asked(kickoff_id)["task_id"], "ok")
    for kickoff_id in runs:
        server.wait(kickoff_id, "SUCCESS")


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_paused_run_survives_its_server(start: Start, tmp_path: Path, how: signal.Signals) -> None:
    server = start(REVIEW, environment={"SCRIBE_CALLS": str(tmp_path / "calls")})
    kickoff_id = server.kickoff({"topic": "tides"})
    question = server.asked(kickoff_id)
    server.restart(how)
    assert server.asked(kickoff_id) == question
    server.resume(kickoff_id, question["task_id"], "ok")
    server.wait(kickoff_id, "SUCCESS")
    assert drafts(tmp_path / "calls") == 1


def test_a_paused_run_survives_its_own_process_and_no_model_is_called_twice(review: Server, calls: Path) -> None:
    kickoff_id = review.kickoff({"topic": "tides"})
    question = review.asked(kickoff_id)
    kill(review, kickoff_id)
    assert review.asked(kickoff_id) == question
    review.resume(kickoff_id, question["task_id"], "Make it longer")
    second = review.asked(kickoff_id, other_than=question["task_id"])
    assert "Make it longer" in second["output"]
    kill(review, kickoff_id)
    review.resume(kickoff_id, second["task_id"], "ok")
    status = review.wait(kickoff_id, "SUCCESS")
    assert (status["result"], status["progress"]["completed"]) == ("Wrote <Publish it>", 3)
    assert len(calls.read_text().splitlines()) == 4, "gather, draft, draft again, publish"


def test_a_paused_run_can_be_stopped(review: Server) -> None:
    kickoff_id = review.kickoff({"topic": "tides"})
    question = review.asked(kickoff_id)
    assert review.ask("POST", f"/stop/{kickoff_id}").status == 200
    assert review.has_let_go(kickoff_id)
    assert review.resume(kickoff_id, question["task_id"], "ok").status == 409
    assert review.status(kickoff_id)["state"] == "REVOKED"


def test_a_flow_waits_without_a_process_and_goes_where_the_feedback_sends_it(shared: Start) -> None:
    server = shared(APPROVAL)
    kickoff_id = server.kickoff({"title": "Tides"})
    first = server.asked(kickoff_id)
    assert (first["message"], first["output"], first["options"]) == (
        "Is it good?", "Tides, draft 1", ["approved", "rejected"]
    )  # fmt: skip
    assert server.has_let_go(kickoff_id)
    server.resume(kickoff_id, first["task_id"], "no, try again")
    second = server.asked(kickoff_id, other_than=first["task_id"])
    assert second["output"] == "Tides, draft 2"
    server.restart(signal.SIGKILL)
    server.resume(kickoff_id, second["task_id"], "", isApprove=True)
    assert server.wait(kickoff_id, "SUCCESS")["result_json"] == {"title": "Tides", "drafts": 2}


@pytest.mark.parametrize("options", [(), ("--strict-aop",)])
def test_a_flow_is_answered_by_the_id_that_its_status_names(shared: Start, options: tuple[str, ...]) -> None:
    server = shared(APPROVAL, *options)
    kickoff_id = server.kickoff({"title": "Tides"})
    flow_id = server.wait(kickoff_id, "PAUSED")["flow_id"]
    first = server.question_id(kickoff_id)
    assert resume_flow(server, flow_id, "no, try again").status == 200
    while server.question_id(kickoff_id) == first:
        assert server.status(kickoff_id)["state"] not in ("SUCCESS", "FAILED")
        time.sleep(0.1)
    assert server.wait(kickoff_id, "PAUSED")["flow_id"] == flow_id
    assert resume_flow(server, flow_id, "good").json()["status"] == "resumed"
    assert server.wait(kickoff_id, "SUCCESS")["result_json"] == {"title": "Tides", "drafts": 2}
    assert resume_flow(server, flow_id, "good").status == 409


def test_a_method_that_asks_is_answered_by_the_flows_id_too(shared: Start) -> None:
    server = shared(ASKING)
    kickoff_id = server.kickoff({})
    assert resume_flow(server, server.wait(kickoff_id, "PAUSED")["flow_id"], "Ann").status == 200
    assert server.wait(kickoff_id, "SUCCESS")["result"] == "Hello, Ann"


def test_only_a_flow_is_answered_by_a_flows_id(review: Server) -> None:
    kickoff_id = review.kickoff({"topic": "tides"})
    review.asked(kickoff_id)
    assert review.status(kickoff_id)["flow_id"] is None
    assert [resume_flow(review, each, "good").status for each in (kickoff_id, "made-up")] == [404, 404]
    assert missing(review.ask("POST", "/resume_feedback", {"feedback": 7})) == ["flow_id", "feedback"]
    review.ask("POST", f"/stop/{kickoff_id}")


def resume_flow(server: Server, flow_id: str, feedback: str) -> Answer:
    return server.ask("POST", "/resume_feedback", {"flow_id": flow_id, "feedback": feedback})


def test_a_flow_may_ask_in_the_middle_of_a_method(shared: Start) -> None:
    server = shared(ASKING)
    kickoff_id = server.kickoff({})
    question = server.asked(kickoff_id)
    assert question["message"] == "What is your name?"
    server.resume(kickoff_id, question["task_id"], "Ann")
    assert server.wait(kickoff_id, "SUCCESS")["result"] == "Hello, Ann"


@pytest.mark.parametrize("threads", ["no", "yes"])
def test_a_question_that_the_flow_gives_up_is_closed(shared: Start, threads: str) -> None:
    waits = {"ASKING_SECONDS": "4", "ASKING_GOES_ON": "4", "ASKING_THREADS": threads}
    server = shared(ASKING, environment=waits)
    kickoff_id = server.kickoff({})
    question = server.asked(kickoff_id)
    assert "human_input" not in server.wait(kickoff_id, "RUNNING")
    assert server.resume(kickoff_id, question["task_id"], "Ann").status == 409
    assert server.wait(kickoff_id, "SUCCESS")["result"] == "Hello, None"
    assert server.has_let_go(kickoff_id)


def test_a_crew_in_a_flow_asks_too(shared: Start) -> None:
    server = shared(NESTED)
    kickoff_id = server.kickoff({})
    server.resume(kickoff_id, server.asked(kickoff_id)["task_id"], "ok")
    assert server.wait(kickoff_id, "SUCCESS")["result"] == "polly"


@pytest.mark.parametrize("project", [ASKING, NESTED])
def test_a_method_that_asks_dies_with_its_process_and_says_so(shared: Start, project: str) -> None:
    server = shared(project)
    kickoff_id = server.kickoff({})
    question = server.asked(kickoff_id)
    kill(server, kickoff_id)
    server.resume(kickoff_id, question["task_id"], "ok")
    status = server.wait(kickoff_id, "FAILED")
    assert (
        status["status"] == "The run's process was killed by SIGKILL while it waited for an answer in a flow's method"
    )


def test_strictly_as_live_a_waiting_run_is_not_found_and_any_resume_is_welcome(shared: Start, calls: Path) -> None:
    server = shared(REVIEW, "--strict-aop", environment={"SCRIBE_CALLS": str(calls)})
    kickoff_id = server.kickoff({"topic": "tides"})
    server.wait(kickoff_id, "NOT FOUND")
    made_up = server.resume("nobody", "nothing", "Approved.")
    assert (made_up.status, list(made_up.json())) == (200, ["kickoff_id"])
    assert server.ask("POST", "/resume", {"execution_id": kickoff_id, "task_id": "x"}).status == 422
    answer = server.resume(kickoff_id, server.question_id(kickoff_id), "Approved.", isApprove=False)
    other = answer.json()["kickoff_id"]
    assert other != kickoff_id
    for either in (kickoff_id, other):
        assert server.wait(either, "SUCCESS")["result"] == "Wrote <Publish it>"


def test_a_run_is_stopped_by_an_id_of_its_resume_too(shared: Start, calls: Path) -> None:
    server = shared(REVIEW, "--strict-aop", environment={"SCRIBE_CALLS": str(calls)})
    kickoff_id = server.kickoff({"topic": "tides"})
    server.wait(kickoff_id, "NOT FOUND")
    other = server.resume(kickoff_id, "made-up", "No.").json()["kickoff_id"]
    stopped = server.ask("POST", f"/stop/{other}")
    assert (stopped.status, stopped.json()) == (200, {"status": "stopped", "kickoffId": other})
    assert server.has_let_go(kickoff_id)
    assert server.status(kickoff_id)["state"] == "REVOKED"
    for run, state in ((other, "REVOKED"), ("nobody", "NOT FOUND")):
        refused = server.ask("POST", f"/stop/{run}").json()
        assert refused == {"detail": f"Cannot stop execution. Current state: {state}"}


def test_strictly_as_live_a_waiting_flow_is_paused_and_only_its_webhook_knows_more(shared: Start) -> None:
    server = shared(APPROVAL, "--strict-aop")
    kickoff_id = server.kickoff({"title": "Tides"})
    assert "human_input" not in server.wait(kickoff_id, "PAUSED")
    server.resume(kickoff_id, server.question_id(kickoff_id), "yes, good")
    server.wait(kickoff_id, "SUCCESS")


def kill(server: Server, kickoff_id: str) -> None:
    os.kill(server.pid(kickoff_id), signal.SIGKILL)
    assert server.has_let_go(kickoff_id)
