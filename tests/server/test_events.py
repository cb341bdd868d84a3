"""What a real crew's events become: the bodies of webhooks, in the shapes that deployments send."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import subprocess
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from aop_server import REPOSITORY
from receiver import delivering, receiving

META = {"requestId": "travel-req-123", "source": "web-app"}
TOKEN = "a-token-of-the-receiver"
KEY = "sk-the-key-of-the-model"

# As deployments send them: CrewAI's guide "Webhook Automation", keys seen live with crewai 1.15.22.
TASK = {"description", "name", "expected_output", "summary", "agent", "output", "output_json", "kickoff_id", "meta"}
STEP = {"prompt", "thought", "tool", "tool_input", "result", "kickoff_id", "meta"}
CREW = {"kickoff_id", "result", "result_json", "token_usage", "meta"}
HUMAN_INPUT = {"kickoff_id", "execution_id", "task_id", "task_output", "meta"}
EVENT = {"id", "execution_id", "timestamp", "type", "data"}
FLOW_FEEDBACK = {"event", "request", "deployment", "callback_url", "assigned_to_email"}
FLOW_REQUEST = {
    "id", "flow_id", "method_name", "message", "emit_options", "state", "metadata", "created_at", "output",
}  # fmt: skip

PROGRAM = '''
import json, sqlite3, sys, threading, time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

database, requests, sources = sys.argv[1:]
sys.path.insert(0, sources)
from crew_process import events
assert not any(name.startswith(("airflow", "crewai")) for name in sys.modules), "it is cheap to import"

from crewai import Agent, BaseLLM, Crew, Task
from crewai.events import crewai_event_bus
from crewai.events.base_events import BaseEvent
from crewai.flow.flow import Flow, listen, start
from crewai.flow.async_feedback import PendingFeedbackContext
from crewai.tools import tool
from pydantic import BaseModel

db = sqlite3.connect(database, timeout=30, isolation_level=None, check_same_thread=False)
lock = threading.Lock()

class Scripted(BaseLLM):
    native: bool = False

    def supports_function_calling(self):
        return self.native

    def call(self, messages, tools=None, *rest, **options):
        prompt = json.dumps(messages, default=str)
        if "Fail" in prompt:
            raise RuntimeError("the model is out of order")
        if "6 letters" in prompt and "Count" in prompt:
            return "six" if self.native else "Thought: I know.\\nFinal Answer: six"
        if self.native:
            call = {"name": "count_letters", "arguments": json.dumps({"word": "agents"})}
            return [{"id": "1", "type": "function", "function": call}]
        if "count_letters" in prompt:
            return "Thought: I should count.\\nAction: count_letters\\nAction Input: {\\"word\\": \\"agents\\"}"
        if "JSON" in prompt:
            return "{\\"number\\": 6}"
        return "Thought: easy.\\nFinal Answer: done"

@tool("count_letters")
def count_letters(word: str) -> str:
    """Count the letters of a word."""
    return f"{word} has {len(word)} letters"

class Number(BaseModel):
    number: int

def crew(*words, tools=(), native=False, **options):
    model = Scripted(model="scripted", native=native, api_key="KEY")
    agent = Agent(role="Analyst\\n", goal="Work", backstory="Works", llm=model, tools=list(tools))
    tasks = [Task(name=word.lower(), description=f"{word} it", expected_output="a word", agent=agent, **options) for word in words]
    return Crew(agents=[agent], tasks=tasks)

def use_all(hooks):
    crew("Count", tools=[count_letters]).kickoff()
    crew("Count", tools=[count_letters], native=True).kickoff()
    crew("Say").kickoff()
    output = crew("JSON", output_json=Number).kickoff()
    hooks.crew(output.raw, output.json_dict, output.token_usage)

def fail(hooks):
    try:
        crew("Say", "Fail").kickoff()
    except RuntimeError:
        return
    raise AssertionError("it did not fail")

class Trip(Flow):
    @start()
    def begin(self):
        return crew("Say").kickoff().raw

    @listen(begin)
    def end(self, said):
        return crew("Count", tools=[count_letters]).kickoff().raw

class Odd:
    def __str__(self):
        raise RuntimeError("cannot be told")

class Loop:
    pass

class OddEvent(BaseEvent):
    type: str = "odd"
    text: str = "x" * 100_000
    agent: Any = None
    odd: Any = Odd()
    loop: Any = None
    numbers: Any = (float("nan"), float("inf"), 1.5)
    uuid: Any = UUID(int=0)
    when: Any = datetime(2026, 1, 2)
    error: Any = ValueError("wrong")
    tools: Any = None
    model: Any = Number(number=6)
    raw: Any = b"1234"
    surrogate: str = "\\ud800"

class Numbered(BaseEvent):
    type: str = "numbered"
    number: int

def ask(hooks):
    loop = []
    loop.append(loop)
    one = crew("Say")
    crewai_event_bus.emit(None, OddEvent(agent=one.agents[0], loop=loop, tools=[count_letters]))
    hooks.human_input("QUESTION", "A draft")
    context = PendingFeedbackContext(
        flow_id="F", flow_class="C", method_name="review", method_output={"title": "T"}, message="Good?",
        emit=["yes", "no"], metadata={"a": 1},
    )
    hooks.flow_feedback("QUESTION", context, Number(number=6), "A project", "http://127.0.0.1/back")

def emit_in_threads(hooks):
    def emit(first):
        for number in range(first, first + 50):
            crewai_event_bus.emit(None, Numbered(number=number))
    all = [threading.Thread(target=emit, args=(first,)) for first in range(0, 500, 50)]
    [one.start() for one in all]
    [one.join() for one in all]

def wait(hooks):
    crewai_event_bus.emit(None, Numbered(number=0))
    crewai_event_bus.flush()
    count = "SELECT count(*) FROM outbox WHERE kickoff_id = 'waiting'"
    before = db.execute(count).fetchone()
    time.sleep(2.5)
    assert [before, db.execute(count).fetchone()] == [(0,), (1,)]

MODES = {
    "crew": use_all, "nothing": use_all, "failing": fail, "threads": emit_in_threads, "waiting": wait, "asking": ask,
    "flow": lambda hooks: hooks.crew(Trip().kickoff(), None, {}),
}
for mode, request in json.loads(requests).items():
    def send(url, headers, body):
        with lock:
            row = (mode, url, json.dumps(headers), json.dumps(body, allow_nan=False))
            db.execute("INSERT INTO outbox (kickoff_id, url, headers, body) VALUES (?, ?, ?, ?)", row)

    with crewai_event_bus.scoped_handlers():
        hooks = events.Webhooks(mode, request, send)
        hooks.listen(crewai_event_bus)
        MODES[mode](hooks)
        hooks.flush()
'''.replace("KEY", KEY)

QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
}
PLAIN = {
    "taskWebhookUrl": "http://127.0.0.1/task",
    "stepWebhookUrl": "http://127.0.0.1/step",
    "crewWebhookUrl": "http://127.0.0.1/crew",
    "humanInputWebhookUrl": "http://127.0.0.1/human",
    "meta": META,
}
BEARER = {"strategy": "bearer", "token": TOKEN}


def stream(*events: str, realtime: bool = False, authentication: object = BEARER) -> dict[str, Any]:
    return {
        "webhooks": {
            "events": list(events),
            "url": "http://127.0.0.1/stream",
            "realtime": realtime,
            "authentication": authentication,
        }
    }


BASIC = {"strategy": "basic", "username": "user", "password": TOKEN}
OF_A_CREW = ("crew_kickoff_started", "task_completed", "tool_usage_finished", "crew_kickoff_completed")
KICKOFFS: dict[str, dict[str, Any]] = {
    "crew": PLAIN | stream(*OF_A_CREW),
    "nothing": dict.fromkeys(PLAIN, "") | {"webhooks": {"url": ""}, "humanInputWebhook": None, "meta": None},
    "failing": PLAIN | stream("crew_kickoff_failed", "task_completed", realtime=True, authentication=BASIC),
    "flow": PLAIN | stream("method_execution_finished"),
    "asking": PLAIN
    | {"humanInputWebhook": {"url": "http://127.0.0.1/object", "authentication": BEARER}}
    | stream("odd", realtime=True),
    "threads": stream("numbered"),
    "waiting": stream("numbered"),
}


class Sent:
    """What a run put into the outbox."""

    def __init__(self, database: Path, run: str) -> None:
        with closing(sqlite3.connect(database)) as db:
            query = "SELECT url, headers, body FROM outbox WHERE kickoff_id = ? ORDER BY position"
            self.rows = db.execute(query, (run,)).fetchall()

    def to(self, path: str) -> list[Any]:
        return [json.loads(body) for url, _, body in self.rows if url.endswith(path)]

    def headers(self, path: str) -> list[dict[str, str]]:
        return [json.loads(headers) for url, headers, _ in self.rows if url.endswith(path)]

    def events(self) -> list[Any]:
        return [event for body in self.to("/stream") for event in body["events"]]


Run = Callable[[str], Sent]


@pytest.fixture(scope="module")
def database(crew_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run each kickoff, all in one process, since to import crewai takes seconds."""
    home = tmp_path_factory.mktemp("home")
    database = home / "runs.sqlite"
    with closing(sqlite3.connect(database)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute(
            "CREATE TABLE outbox (position INTEGER PRIMARY KEY, kickoff_id TEXT, url TEXT, headers TEXT, body TEXT,"
            " attempts INTEGER DEFAULT 0, due REAL DEFAULT 0, delivered_at REAL, error TEXT)"
        )
    program = home / "program.py"
    program.write_text(PROGRAM)
    sources = str(REPOSITORY / "airflow_provider_crewai" / "server")
    arguments = [crew_python, str(program), str(database), json.dumps(KICKOFFS), sources]
    environment = os.environ | QUIET | {"CREWAI_STORAGE_DIR": str(home / "storage")}
    done = subprocess.run(
        arguments, cwd=home, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "Handler exception" not in done.stdout + done.stderr
    assert "Error in" not in done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    return database


@pytest.fixture(scope="module")
def run(database: Path) -> Run:
    return lambda name: Sent(database, name)


@pytest.fixture(scope="module")
def crew(run: Run) -> Sent:
    return run("crew")


def test_no_body_tells_a_secret(run: Run) -> None:
    bodies = [body for name in KICKOFFS for _, _, body in run(name).rows]
    assert len(bodies) > 40
    assert not any(TOKEN in body or KEY in body for body in bodies)


def test_each_crew_task_is_told_in_the_live_shape(crew: Sent) -> None:
    bodies = crew.to("/task")
    assert [body["name"] for body in bodies] == ["count", "count", "say", "json"]
    assert all(body.keys() == TASK for body in bodies)
    assert bodies[0] == {
        "description": "Count it",
        "name": "count",
        "expected_output": "a word",
        "summary": "Count it...",
        "agent": "Analyst",
        "output": "six",
        "output_json": None,
        "kickoff_id": "crew",
        "meta": META,
    }
    assert bodies[-1]["output_json"] == {"number": 6}


def test_each_use_of_a_tool_is_a_step_and_agents_without_tools_have_none(crew: Sent) -> None:
    step = {
        "prompt": "Count it",
        "thought": "I should count.",
        "tool": "count_letters",
        "tool_input": '{"word": "agents"}',
        "result": "agents has 6 letters",
        "kickoff_id": "crew",
        "meta": META,
    }
    assert step.keys() == STEP
    assert crew.to("/step") == [step, step | {"thought": ""}]


def test_success_is_told_with_the_result(crew: Sent) -> None:
    (body,) = crew.to("/crew")
    assert body.keys() == CREW
    assert body["result_json"] == {"number": 6}
    assert {"total_tokens", "prompt_tokens", "completion_tokens"} <= body["token_usage"].keys()
    assert (body["kickoff_id"], body["meta"]) == ("crew", META)


def test_plain_webhooks_carry_no_credentials(crew: Sent) -> None:
    assert [crew.headers(path) for path in ("/task", "/step", "/crew")] == [[{}] * 4, [{}] * 2, [{}]]


def test_streamed_events_have_the_live_envelope(crew: Sent) -> None:
    events = crew.events()
    assert all(event.keys() == EVENT for event in events)
    for event in events:
        assert uuid.UUID(event["id"])
        assert event["execution_id"] == "crew"
        assert event["timestamp"].endswith("Z")
        assert datetime.fromisoformat(event["timestamp"]).microsecond % 1000 == 0
        assert event["data"]["emission_sequence"] > 0
        assert not event["data"].keys() & EVENT


def test_only_the_events_that_were_asked_for_are_streamed_in_order(crew: Sent) -> None:
    kinds = [event["type"] for event in crew.events()]
    without = ["crew_kickoff_started", "task_completed", "crew_kickoff_completed"]
    with_tool = ["crew_kickoff_started", "tool_usage_finished", "task_completed", "crew_kickoff_completed"]
    assert kinds == with_tool * 2 + without * 2


def test_a_batch_is_one_request_with_credentials(crew: Sent) -> None:
    assert crew.headers("/stream") == [{"Authorization": f"Bearer {TOKEN}"}] * len(crew.to("/stream"))
    assert len(crew.to("/stream")) < len(crew.events())


def test_a_failure_is_streamed_and_not_told_otherwise(run: Run) -> None:
    sent = run("failing")
    assert [event["type"] for event in sent.events()] == ["task_completed", "crew_kickoff_failed"]
    assert "the model is out of order" in sent.events()[-1]["data"]["error"]
    assert sent.to("/crew") == []
    assert [body["name"] for body in sent.to("/task")] == ["say"]
    credentials = base64.b64encode(f"user:{TOKEN}".encode()).decode()
    assert sent.headers("/stream") == [{"Authorization": f"Basic {credentials}"}] * 2, "in real time: a request each"


def test_the_crew_tasks_of_a_flow_are_told(run: Run) -> None:
    sent = run("flow")
    assert [body["name"] for body in sent.to("/task")] == ["say", "count"]
    assert [body["tool"] for body in sent.to("/step")] == ["count_letters"]
    assert sent.to("/crew")[0]["result"] == "six"
    methods = [event["data"]["method_name"] for event in sent.events()]
    assert [name for name in methods if name in {"begin", "end"}] == ["begin", "end"]


def test_a_question_is_told_in_the_live_shape_with_the_credentials_of_its_webhook(run: Run) -> None:
    asking = run("asking")
    question, _ = asking.to("/object")
    assert question.keys() == HUMAN_INPUT
    assert question == {
        "kickoff_id": "asking",
        "execution_id": "asking",
        "task_id": "QUESTION",
        "task_output": "A draft",
        "meta": META,
    }
    assert asking.headers("/object")[0] == {"Authorization": f"Bearer {TOKEN}"}
    assert asking.to("/human") == []


def test_a_flows_request_for_feedback_is_to_be_signed(run: Run) -> None:
    asking = run("asking")
    _, body = asking.to("/object")
    assert body.keys() == FLOW_FEEDBACK
    assert body["event"] == "new_request"
    assert body["deployment"] == {"id": None, "name": "A project", "organization_id": None}
    assert body["callback_url"] == "http://127.0.0.1/back"
    request = body["request"]
    assert request.keys() == FLOW_REQUEST
    assert (request["id"], request["flow_id"], request["method_name"]) == ("QUESTION", "asking", "review")
    assert (request["message"], request["emit_options"]) == ("Good?", ["yes", "no"])
    assert (request["state"], request["metadata"], request["output"]) == ({"number": 6}, {"a": 1}, {"title": "T"})
    assert asking.headers("/object")[1] == {"Authorization": f"Bearer {TOKEN}", "X-Signature": "sha256"}


def test_whatever_an_event_holds_becomes_json_and_no_more_than_is_good(run: Run) -> None:
    (event,) = run("asking").events()
    data = event["data"]
    assert data.pop("text") == "x" * 32_768 + "… (100000 characters)"
    plain = {
        "agent": "Analyst",
        "odd": "<Odd: RuntimeError>",
        "loop": "<list: ValueError>",
        "numbers": [None, None, 1.5],
        "uuid": "00000000-0000-0000-0000-000000000000",
        "when": "2026-01-02T00:00:00",
        "error": "wrong",
        "tools": ["count_letters"],
        "model": {"number": 6},
        "raw": "<4 bytes>",
        "surrogate": "\ud800",
    }
    assert data | plain == data


def test_no_event_is_lost_or_told_twice_by_many_threads(run: Run) -> None:
    sent = run("threads")
    assert sorted(event["data"]["number"] for event in sent.events()) == list(range(500))
    assert all(len(body["events"]) <= 20 for body in sent.to("/stream"))


def test_a_batch_does_not_wait_to_be_full(run: Run) -> None:
    assert len(run("waiting").events()) == 1


def test_what_was_not_asked_for_is_not_sent(run: Run) -> None:
    assert run("nothing").rows == []


def test_a_run_reaches_its_receiver(database: Path, crew: Sent) -> None:
    with receiving() as receiver, closing(sqlite3.connect(database, isolation_level=None)) as db:
        db.execute("DELETE FROM outbox WHERE kickoff_id != 'crew'")
        db.execute("UPDATE outbox SET url = replace(url, 'http://127.0.0.1', ?)", (receiver.url,))
        with delivering(database, "a secret"):
            receiver.wait_for(len(crew.rows))
    for path in ("/task", "/step", "/crew", "/stream"):
        assert [one.json() for one in receiver.received if one.path == path] == crew.to(path)
    assert {one.headers["Authorization"] for one in receiver.received if one.path == "/stream"} == {f"Bearer {TOKEN}"}
