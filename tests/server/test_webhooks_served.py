"""From a run's event to a receiver's socket, through the real server; and back, where a human answers."""

from __future__ import annotations

import hashlib
import hmac
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from aop_server import INPUTS, TOKEN, Server, Start
from receiver import receiving

PROJECTS = Path(__file__).parent / "projects"
REVIEW, APPROVAL = str(PROJECTS / "review"), str(PROJECTS / "approval")
META = {"requestId": "r-1"}


def test_each_hook_is_told_what_it_asked_for(server: Server) -> None:
    with receiving() as tasks, receiving() as crews, receiving() as stream:
        wish = {"events": ["crew_kickoff_started", "crew_kickoff_completed"], "url": stream.url, "realtime": False}
        secret = {"authentication": {"strategy": "bearer", "token": "s3cret"}}
        hooks = {"taskWebhookUrl": tasks.url, "crewWebhookUrl": crews.url, "webhooks": wish | secret}
        kickoff_id = server.kickoff(meta=META, **hooks)
        status = server.wait(kickoff_id, "SUCCESS")
        bodies = [one.json() for one in tasks.wait_for(3)]
        assert [body["name"] for body in bodies] == ["survey_task", "outline_task", "brief_task"]
        assert {(body["kickoff_id"], body["meta"]["requestId"]) for body in bodies} == {(kickoff_id, "r-1")}
        (crew,) = (one.json() for one in crews.wait_for(1))
        assert (crew["result"], crew["result_json"]) == (status["result"], status["result_json"])
        events = [event for one in stream.wait_for(1) for event in one.json()["events"]]
        assert {event["execution_id"] for event in events} == {kickoff_id}
        assert stream.received[0].headers["Authorization"] == "Bearer s3cret"


def test_a_failed_run_tells_no_crew_hook(server: Server) -> None:
    with receiving() as crews, receiving() as stream:
        wish = {"events": ["crew_kickoff_failed"], "url": stream.url, "realtime": True}
        kickoff_id = server.kickoff(INPUTS | {"topic": " "}, crewWebhookUrl=crews.url, webhooks=wish)
        server.wait(kickoff_id, "FAILED")
        assert stream.wait_for(1)[0].json()["events"][0]["type"] == "crew_kickoff_failed"
        assert crews.received == []


def test_a_receiver_that_was_down_is_told_by_the_next_server(start_plain: Start) -> None:
    server = start_plain()
    with receiving() as gone:
        url = gone.url
    kickoff_id = server.kickoff(crewWebhookUrl=url)
    server.wait(kickoff_id, "SUCCESS")
    server.end(signal.SIGKILL)
    port = int(url.rpartition(":")[2])
    with receiving(port=port) as back:
        server.start()
        assert back.wait_for(1, seconds=60)[0].json()["kickoff_id"] == kickoff_id


def test_a_webhooks_password_is_gone_from_the_disk_soon_after_its_run_has_ended(start: Start) -> None:
    server = start()
    with receiving() as stream, receiving() as crews:
        secret = {"authentication": {"strategy": "bearer", "token": "s3cret-of-a-webhook"}}
        wish = {"events": ["crew_kickoff_completed"], "url": stream.url, "realtime": True}
        url = f"{crews.url}/?key=s3cret-of-a-webhook"
        kickoff_id = server.kickoff(webhooks=wish | secret, crewWebhookUrl=url)
        server.wait(kickoff_id, "SUCCESS")
        assert stream.wait_for(1)[0].headers["Authorization"] == "Bearer s3cret-of-a-webhook"
        crews.wait_for(1)
    deadline = time.monotonic() + 30
    while found := [str(file) for file in server.state.rglob("*") if file.is_file() and b"s3cret" in file.read_bytes()]:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)


FAILING = {
    "the webhook": "CREATE TRIGGER full BEFORE INSERT ON outbox BEGIN SELECT the_disk_is_full(); END",
    "the result": "CREATE TRIGGER full BEFORE UPDATE OF state ON runs BEGIN SELECT the_disk_is_full(); END",
}


@pytest.mark.parametrize("what", FAILING)
def test_a_result_and_its_webhook_are_kept_together_as_soon_as_they_can_be(start_plain: Start, what: str) -> None:
    server = start_plain(environment={"BRIEF_SECONDS_PER_TASK": "1"})
    with receiving() as crews:
        kickoff_id = server.kickoff(crewWebhookUrl=crews.url)
        server.wait(kickoff_id, "RUNNING")
        with sql(server, FAILING[what], "DROP TRIGGER full"):
            while (status := server.status(kickoff_id))["progress"]["completed"] < 3:
                time.sleep(0.1)
            time.sleep(2)
            assert server.status(kickoff_id)["state"] == "RUNNING"
        status = server.wait(kickoff_id, "SUCCESS")
        assert crews.wait_for(1)[0].json()["result"] == status["result"] != ""


def test_a_question_and_its_webhook_are_kept_together(start: Start, tmp_path: Path) -> None:
    server = start(REVIEW, environment={"SCRIBE_CALLS": str(tmp_path / "calls")})
    with receiving() as human, sql(server, FAILING["the webhook"], "DROP TRIGGER full"):
        kickoff_id = server.kickoff({"topic": "tides"}, humanInputWebhookUrl=human.url)
        while (server.status(kickoff_id)["progress"] or {}).get("current") != "draft":
            time.sleep(0.1)
        time.sleep(2)
        assert server.status(kickoff_id)["state"] == "RUNNING"
    with receiving(port=int(human.url.rpartition(":")[2])) as human:
        question = server.asked(kickoff_id)
        assert human.wait_for(1)[0].json()["task_id"] == question["task_id"]
    server.ask("POST", f"/stop/{kickoff_id}")


@contextmanager
def sql(server: Server, before: str, after: str) -> Iterator[None]:
    with closing(sqlite3.connect(server.state / "runs" / "runs.sqlite", timeout=30)) as db:
        db.execute(before)
        try:
            yield
        finally:
            db.execute(after)


@pytest.mark.parametrize("strict", [False, True])
def test_a_human_who_is_told_by_webhook_answers_with_what_it_holds(shared: Start, tmp_path: Path, strict: bool) -> None:
    options = ("--strict-aop",) if strict else ()
    server = shared(REVIEW, *options, environment={"SCRIBE_CALLS": str(tmp_path / "calls")})
    with receiving() as human:
        target = {"url": human.url, "authentication": {"strategy": "basic", "username": "u", "password": "p"}}
        kickoff_id = server.kickoff({"topic": "tides"}, humanInputWebhook=target, meta=META)
        told = human.wait_for(1, seconds=60)[0]
        assert told.headers["Authorization"] == "Basic dTpw"
        body = told.json()
        assert (body["kickoff_id"], body["execution_id"], body["meta"]) == (kickoff_id, kickoff_id, META)
        assert body["task_output"] == "Wrote <Draft it>"
        server.resume(body["execution_id"], body["task_id"], "Not yet. Add a number.")
        again = human.wait_for(2, seconds=60)[1].json()
        assert again["task_id"] != body["task_id"]
        server.resume(again["execution_id"], again["task_id"], "Approved.")
        server.wait(kickoff_id, "SUCCESS")


def test_a_setting_of_the_server_tells_of_each_question_of_a_flow(start: Start, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("wh-s3cret\n")
    with receiving() as human:
        webhook = ("--flow-webhook", f"{human.url}/?key=s3cret-too", "--flow-webhook-secret", str(tmp_path / "secret"))
        server = start(APPROVAL, "--strict-aop", *webhook)
        kickoff_id = server.kickoff({"title": "Tides"})
        told = human.wait_for(1, seconds=60)[0]
        said = told.headers["X-Timestamp"].encode() + b"." + told.raw
        assert told.headers["X-Signature"] == f"sha256={hmac.new(b'wh-s3cret', said, hashlib.sha256).hexdigest()}"
        path = told.json()["callback_url"].removeprefix(server.url)
        assert server.ask("POST", path, {"feedback": "No, again", "source": "test"}, headers={}).status == 200
        assert human.wait_for(2, seconds=60)[1].json()["request"]["flow_id"] == kickoff_id
        crews = [line for line in command_lines() if "crew_process" in line]
        assert crews
        assert "s3cret" not in "".join(crews)


def command_lines() -> list[str]:
    """What everybody on the machine can read of every process."""
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            lines.append(file.read_bytes().decode(errors="replace"))
    return lines


def test_a_flows_request_is_signed_and_its_callback_answers_it(shared: Start) -> None:
    server = shared(APPROVAL)
    with receiving() as human:
        kickoff_id = server.kickoff({"title": "Tides"}, humanInputWebhookUrl=human.url)
        told = human.wait_for(1, seconds=60)[0]
        said = told.headers["X-Timestamp"].encode() + b"." + told.raw
        key = hmac.new(TOKEN.encode(), b"webhook signature", hashlib.sha256).hexdigest().encode()
        signature = hmac.new(key, said, hashlib.sha256).hexdigest()
        assert told.headers["X-Signature"] == f"sha256={signature}"
        body = told.json()
        assert (body["event"], body["request"]["flow_id"]) == ("new_request", kickoff_id)
        assert body["request"]["emit_options"] == ["approved", "rejected"]
        answer = {"feedback": "Approved. Great article!", "source": "my_custom_app"}
        assert body["callback_url"].startswith(f"{server.url}/feedback/")
        path = body["callback_url"].removeprefix(server.url)
        assert server.ask("POST", path, answer, headers={}).status == 200
        assert server.ask("POST", path, answer, headers={}).status == 409
        assert server.wait(kickoff_id, "SUCCESS")["result_json"] == {"title": "Tides", "drafts": 1}
