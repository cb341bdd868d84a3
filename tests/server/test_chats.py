"""Chats with a conversational flow: turns one after another, over restarts, followed live from any point."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aop_server import Answer, Server, Start
from test_event_stream import follow, told

CHATTING = str(Path(__file__).parent / "projects" / "chatting")


@pytest.fixture(scope="module")
def chatting(shared: Start, python: str) -> Server:
    return shared(CHATTING, "--python", python)


@pytest.fixture
def session(chatting: Server) -> str:
    answer = chatting.ask("POST", "/chat/start", {})
    assert answer.status == 200, answer
    return str(answer.json()["session_id"])


def say(server: Server, session: str, message: object) -> Answer:
    return server.ask("POST", f"/chat/{session}/message", {"message": message})


def turn(server: Server, session: str, message: str) -> dict[str, Any]:
    answer = say(server, session, message)
    assert answer.status == 200, answer
    return server.wait(answer.json()["kickoff_id"], "SUCCESS")


def history(server: Server, session: str) -> list[tuple[str, str]]:
    messages = server.ask("GET", f"/chat/{session}/history").json()["messages"]
    return [(each["role"], each["content"]) for each in messages]


def test_a_chat_remembers_what_was_said_even_over_a_restart(chatting: Server, session: str) -> None:
    assert chatting.ask("GET", "/inspect").json()["conversational"] is True
    status = turn(chatting, session, "hello")
    assert (status["result"], status["execution_origin"]) == ("1: hello", "chat")
    chatting.restart()
    assert turn(chatting, session, "again")["result"] == "3: again"
    said = [("user", "hello"), ("assistant", "1: hello"), ("user", "again"), ("assistant", "3: again")]
    assert history(chatting, session) == said
    other = chatting.ask("POST", "/chat/start", {}).json()["session_id"]
    assert turn(chatting, other, "hello")["result"] == "1: hello"


def test_a_chat_takes_one_message_at_a_time_and_goes_on_after_a_failure(chatting: Server, session: str) -> None:
    first = say(chatting, session, "slowly").json()["kickoff_id"]
    busy = say(chatting, session, "quick")
    assert (busy.status, busy.json()) == (409, {"detail": "session_busy"})
    chatting.wait(first, "SUCCESS")
    failed = say(chatting, session, "fail").json()["kickoff_id"]
    assert "as you wish" in chatting.wait(failed, "FAILED")["status"]
    turn(chatting, session, "hello")
    assert [role for role, _ in history(chatting, session)] == ["user", "assistant", "user", "user", "assistant"]


def test_a_chat_is_followed_from_any_event_on(chatting: Server, session: str) -> None:
    for message in ("one", "two"):
        turn(chatting, session, message)
    path = f"/chat/{session}/stream/events"
    with follow(chatting, path) as response:
        events = []
        for event in told(response):
            events.append(event)
            if [each.get("state") for each in events].count("SUCCESS") == 2:
                break
    numbers = [each["id"] for each in events]
    assert numbers == sorted(set(numbers))
    assert {"conversation_turn_started", "conversation_turn_completed"} <= {each["event"] for each in events}
    assert len({each["kickoff_id"] for each in events}) == 2
    with follow(chatting, f"{path}?last_event_id={numbers[4]}") as response:
        assert next(told(response)) == events[5]


def test_what_is_no_chat_is_refused(chatting: Server, server: Server, session: str) -> None:
    assert say(chatting, "made-up", "hello").status == 404
    assert say(chatting, session, None).status == 422
    for path in ("history", "stream/events"):
        assert chatting.ask("GET", f"/chat/made-up/{path}").status == 404
    assert server.ask("POST", "/chat/start", {}).status == 400
    kickoff_id = server.kickoff(chat={"session_id": "x", "message": "y"})
    assert server.wait(kickoff_id, "SUCCESS")["execution_origin"] == "api"
