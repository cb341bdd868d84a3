"""`--llm`: the stub's endpoint by its protocol, and real crews and flows that are sent to it."""

from __future__ import annotations

import base64
import http.client
import json
import os
import subprocess
import sys
import threading
import time
from array import array
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from airflow_provider_crewai.server.crew_process import stub_model

CHECKS = Path(__file__).with_name("stub_model_checks")
CREW_PROCESS = Path(stub_model.__file__).parents[2]
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Say hello\nin a line"}]}
ADD = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": ADD}}]
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
}


@pytest.fixture(scope="module")
def stub() -> Iterator[str]:
    url, held = stub_model.start()
    yield url
    os.close(held)


def connected(url: str) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(url.removeprefix("http://").removesuffix("/v1"), timeout=10)


def post(url: str, path: str, body: object) -> tuple[int, bytes]:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    with closing(connected(url)) as connection:
        connection.request("POST", f"/v1{path}", payload, {"Authorization": "Bearer anything"})
        response = connection.getresponse()
        return response.status, response.read()


def answered(url: str, path: str, body: object) -> Any:
    status, said = post(url, path, body)
    assert status == 200, said
    return json.loads(said)


def chat(url: str, **fields: Any) -> Any:
    return answered(url, "/chat/completions", HELLO | fields)["choices"][0]["message"]


def events(url: str, path: str, body: object) -> list[str]:
    status, said = post(url, path, body)
    assert status == 200, said
    return [line.removeprefix("data: ") for line in said.decode().splitlines() if line.startswith("data: ")]


# ---- the protocol -----------------------------------------------------------------------------------------------


def test_the_same_request_gets_the_same_answer_marked_with_its_model(stub: str) -> None:
    one, two = (post(stub, "/chat/completions", HELLO) for _ in range(2))
    assert one == two
    completion = json.loads(one[1])
    assert completion["choices"][0]["message"]["content"] == "[stub:gpt-4o] This stands for the answer to: Say hello"
    assert completion["usage"] == {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14}
    assert chat(stub, model="other")["content"].startswith("[stub:other] ")


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("\nCurrent Task: Write a poem\n\nThis is the expected criteria: x", "to: Write a poem"),
        ([{"type": "text", "text": "Look at"}, {"type": "image_url", "image_url": {"url": "x"}}], "to: Look at"),
        ("", "to: nothing"),
        ("x" * 500, "to: " + "x" * 200 + "…"),
        ("Plan.\nAfter your plan, state READY or NOT READY.", "\nREADY: I am ready to execute the task."),
    ],
)
def test_an_answer_says_what_it_answers(stub: str, prompt: object, words: str) -> None:
    assert chat(stub, messages=[{"role": "user", "content": prompt}])["content"].endswith(words)


def test_an_answer_after_feedback_is_another(stub: str) -> None:
    task = {"role": "user", "content": "Current Task: Write a poem"}
    feedback = {"role": "user", "content": "User feedback: shorter\nInstructions: Use this feedback"}
    assert chat(stub, messages=[task, feedback])["content"].endswith("Write a poem (after the feedback: shorter)")


def test_a_prompt_for_react_is_answered_in_its_form(stub: str) -> None:
    prompt = {"role": "system", "content": "use the EXACT format: Thought: …\nFinal Answer: my best answer"}
    text = chat(stub, messages=[prompt, *HELLO["messages"]])["content"]
    assert text.startswith("Thought: I now can give a great answer\nFinal Answer: [stub:gpt-4o] ")


TREE = {
    "$ref": "#/$defs/Node",
    "$defs": {
        "Node": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "left": {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]},
                "children": {"type": "array", "items": {"$ref": "#/$defs/Node"}},
            },
            "required": ["name", "left", "children"],
            "additionalProperties": False,
        }
    },
}


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string"},
        {"type": "string", "minLength": 300},
        {"type": "string", "maxLength": 4},
        {"type": "string", "enum": ["b", "a"]},
        {"enum": [3, "x", None]},
        {"const": 7},
        *({"type": "string", "format": name} for name in ("date", "date-time", "time", "email", "uri", "uuid", "ipv4")),
        {"type": "string", "pattern": "^[A-Z]{2}-\\d{4}$"},
        {"type": "string", "pattern": "^(?!^[-+.]*$)[+-]?0*\\d*\\.?\\d*$"},
        {"type": "string", "pattern": "^[^a-z\\s]+(foo|bar)?.\\w*@x\\.(com|org)$"},
        {"type": "integer", "minimum": 18, "maximum": 99},
        {"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 6},
        {"type": "integer", "minimum": 10, "multipleOf": 7},
        {"type": "integer", "maximum": -3},
        {"type": "number", "minimum": 0, "maximum": 1},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
        {"type": "number", "exclusiveMinimum": 1},
        {"type": "number", "exclusiveMaximum": 0},
        {"type": "boolean"},
        {"type": "null"},
        {"type": ["string", "null"]},
        {"anyOf": [{"type": "integer", "minimum": 5}, {"type": "string"}]},
        {
            "allOf": [
                {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
                {"required": ["a"]},
            ]
        },
        {"type": "array", "items": {"type": "string"}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "minItems": 3, "uniqueItems": True},
        {"type": "array", "items": {"type": "string"}, "maxItems": 0},
        {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "boolean"}], "minItems": 2, "maxItems": 2},
        {"type": "object", "additionalProperties": {"type": "integer"}, "minProperties": 2},
        {
            "type": "object",
            "properties": {"x": {"type": "array", "items": {"type": "array", "items": ADD}}},
            "required": ["x"],
        },
        TREE,
    ],
    ids=json.dumps,
)
def test_structured_output_is_valid_by_its_schema(stub: str, schema: Any) -> None:
    whole = {"type": "object", "properties": {"value": schema}, "required": ["value"], "$defs": schema.get("$defs", {})}
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": whole}}
    validator = jsonschema.Draft202012Validator(whole, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER)
    made = json.loads(chat(stub, response_format=wanted)["content"])
    validator.validate(made)
    flat = {"format": {"type": "json_schema", "name": "x", "schema": whole}}
    response = answered(stub, "/responses", {"model": "gpt-4o", "input": "Say hello\nin a line", "text": flat})
    assert json.loads(response["output"][0]["content"][0]["text"]) == made


def test_a_text_in_structured_output_is_marked_and_a_doubt_is_none(stub: str) -> None:
    properties = {name: {"type": "boolean"} for name in ("valid", "needs_full_replan", "goal_already_achieved")}
    schema = {"type": "object", "properties": {"title": {"type": "string"}, **properties}}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert json.loads(chat(stub, response_format=wanted)["content"]) == {
        "title": "[stub:gpt-4o] title: Say hello",
        "valid": True,
        "needs_full_replan": False,
        "goal_already_achieved": False,
    }


def test_a_json_object_is_one(stub: str) -> None:
    assert json.loads(chat(stub, response_format={"type": "json_object"})["content"])["answer"].startswith("[stub:")


def test_a_schema_in_the_prompt_is_followed(stub: str) -> None:
    prompt = (
        f"Do it.\nFormat your final answer according to the following OpenAPI schema: {json.dumps(ADD)}\n\nIMPORTANT"
    )
    jsonschema.validate(json.loads(chat(stub, messages=[{"role": "user", "content": prompt}])["content"]), ADD)


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_a_forced_tool_is_called_once(stub: str, choice: object) -> None:
    message = chat(stub, tools=TOOLS, tool_choice=choice)
    (call,) = message["tool_calls"]
    assert (message["content"], call["function"]["name"]) == (None, "add")
    jsonschema.validate(json.loads(call["function"]["arguments"]), ADD)
    result = {"role": "tool", "tool_call_id": call["id"], "content": "3"}
    after = chat(stub, tools=TOOLS, tool_choice=choice, messages=[*HELLO["messages"], message, result])
    assert "tool_calls" not in after
    assert after["content"].startswith("[stub:gpt-4o] ")


@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_a_tool_that_is_not_forced_is_not_called(stub: str, choice: object) -> None:
    assert "tool_calls" not in chat(stub, tools=TOOLS, tool_choice=choice)


def test_a_forced_tool_is_called_in_a_response_too(stub: str) -> None:
    tools = [{"type": "web_search_preview"}, {"type": "function", "name": "add", "parameters": ADD}]
    body = {
        "model": "gpt-4o",
        "input": HELLO["messages"],
        "tools": tools,
        "tool_choice": {"type": "function", "name": "add"},
    }
    (call,) = answered(stub, "/responses", body)["output"]
    assert (call["type"], call["name"]) == ("function_call", "add")
    jsonschema.validate(json.loads(call["arguments"]), ADD)
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "3"}
    after = answered(stub, "/responses", body | {"input": [*HELLO["messages"], call, result]})
    assert after["output"][0]["type"] == "message"


@pytest.mark.parametrize("forced", [{}, {"tools": TOOLS, "tool_choice": "required"}])
def test_a_streamed_answer_is_the_whole_one_in_pieces(stub: str, forced: dict[str, Any]) -> None:
    whole = answered(stub, "/chat/completions", HELLO | forced)
    body = HELLO | forced | {"stream": True, "stream_options": {"include_usage": True}}
    *said, done = events(stub, "/chat/completions", body)
    assert done == "[DONE]"
    *chunks, last = [json.loads(one) for one in said]
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    choices = [chunk["choices"][0] for chunk in chunks]
    assert choices[-1]["finish_reason"] == whole["choices"][0]["finish_reason"]
    calls = [call["function"] for one in choices for call in one["delta"].get("tool_calls", [])]
    message = whole["choices"][0]["message"]
    assert "".join(one["delta"].get("content") or "" for one in choices) == (message["content"] or "")
    if forced:
        function = message["tool_calls"][0]["function"]
        assert (calls[0]["name"], "".join(one["arguments"] for one in calls)) == tuple(function.values())
    assert len(choices) > 5


def test_usage_is_streamed_only_if_asked_for(stub: str) -> None:
    assert not any("usage" in one for one in events(stub, "/chat/completions", HELLO | {"stream": True}))


@pytest.mark.parametrize("forced", [{}, {"tools": [{"type": "function", "name": "add"}], "tool_choice": "required"}])
def test_a_streamed_response_is_the_whole_one_in_pieces(stub: str, forced: dict[str, Any]) -> None:
    body = {"model": "gpt-4o", "input": "Say hello", "instructions": "Be kind", **forced}
    said = [json.loads(one) for one in events(stub, "/responses", body | {"stream": True})]
    assert [one["sequence_number"] for one in said] == list(range(len(said)))
    assert (said[0]["type"], said[-1]["type"]) == ("response.created", "response.completed")
    (item,) = said[-1]["response"]["output"]
    whole = answered(stub, "/responses", body)
    assert said[-1]["response"]["usage"] == whole["usage"]
    deltas = "".join(one["delta"] for one in said if one["type"].endswith(".delta"))
    assert deltas == (item["arguments"] if forced else item["content"][0]["text"])


@pytest.mark.parametrize(
    ("model", "fields", "dimensions"),
    [
        ("text-embedding-3-large", {}, 3072),
        ("text-embedding-3-small", {}, 1536),
        ("nomic-embed-text:latest", {}, 768),
        ("text-embedding-3-large", {"dimensions": 256}, 256),
    ],
)
def test_an_embedding_has_the_models_dimensions_and_length_one(
    stub: str, model: str, fields: dict[str, Any], dimensions: int
) -> None:
    body = {"model": model, "input": ["a text", "", "another"], **fields}
    vectors = [one["embedding"] for one in answered(stub, "/embeddings", body)["data"]]
    assert [len(vector) for vector in vectors] == [dimensions] * 3
    assert [sum(value * value for value in vector) for vector in vectors] == pytest.approx([1, 1, 1])
    coded = answered(stub, "/embeddings", body | {"encoding_format": "base64"})["data"]
    assert [list(array("f", base64.b64decode(one["embedding"]))) for one in coded] == [
        pytest.approx(vector) for vector in vectors
    ]


def test_texts_with_words_in_common_lie_nearer(stub: str) -> None:
    texts = ["rivers flow to the sea", "The sea: where rivers flow", "a stock market report"]
    one, near, far = [one["embedding"] for one in answered(stub, "/embeddings", {"input": texts})["data"]]
    to_near, to_far = (sum(a * b for a, b in zip(one, other, strict=True)) for other in (near, far))
    assert to_near > 0.7
    assert to_far < 0.2


def test_tokens_are_one_text_or_several(stub: str) -> None:
    assert len(answered(stub, "/embeddings", {"input": [1, 2, 3]})["data"]) == 1
    assert len(answered(stub, "/embeddings", {"input": [[1, 2], [3]]})["data"]) == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat/completions", b"{"),
        ("/chat/completions", b"\xff"),
        ("/chat/completions", b""),
        ("/chat/completions", []),
        ("/chat/completions", {"messages": "x"}),
        ("/chat/completions", HELLO | {"response_format": 3}),
        ("/chat/completions", HELLO | {"tools": [3]}),
        (
            "/chat/completions",
            HELLO | {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": 3}}}},
        ),
        ("/responses", {}),
        ("/embeddings", {}),
        ("/embeddings", {"input": "x", "dimensions": "x"}),
        ("/chat/completions", b"[" * 100_000),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_lives_on(stub: str, path: str, body: object) -> None:
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    with closing(connected(stub)) as connection:
        connection.connect()
        kept = connection.sock
        connection.request("POST", f"/v1{path}", payload)
        response = connection.getresponse()
        assert (response.status, json.loads(response.read())["error"]["type"]) == (400, "invalid_request_error")
        connection.request("GET", "/v1/models")
        assert json.loads(connection.getresponse().read())["data"][0]["id"] == "stub"
        assert connection.sock is kept


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/v1/nothing"), ("POST", "/v1/completions")])
def test_an_unknown_path_is_not_found(stub: str, method: str, path: str) -> None:
    with closing(connected(stub)) as connection:
        connection.request(method, path, b"{}")
        assert connection.getresponse().status == 404


OUTCOMES = ["approved", "rejected", "needs_revision"]


@pytest.mark.parametrize(
    ("feedback", "outcomes", "chosen"),
    [
        ("approved", OUTCOMES, "approved"),
        ("Rejected!", OUTCOMES, "rejected"),
        ("this needs revision", OUTCOMES, "needs_revision"),
        ("looks good to me", ["rejected", "approved"], "approved"),
        ("LGTM", ["no", "yes"], "yes"),
        ("please change the title", ["approved", "needs_changes"], "needs_changes"),
        ("not approved", ["approved", "rejected"], "rejected"),
        ("not approved", ["approved", "not_approved"], "not_approved"),
        ("I don't like it", ["publish", "revise"], "revise"),
        ("the weather is nice", ["a", "b"], "a"),
        ("take\nthe b route", ["a", "b"], "b"),
    ],
)
def test_feedback_becomes_the_outcome_that_it_names_or_means(
    stub: str, feedback: str, outcomes: list[str], chosen: str
) -> None:
    prompt = (
        "Based on the following human feedback, determine which outcome best matches their intent.\n\n"
        f"Feedback: {feedback}\n\nPossible outcomes: {', '.join(outcomes)}\n\nRespond with ONLY one of them."
    )
    schema = {
        "type": "object",
        "properties": {"outcome": {"enum": outcomes, "type": "string"}},
        "required": ["outcome"],
    }
    messages = [{"role": "user", "content": prompt}]
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    assert json.loads(chat(stub, messages=messages, response_format=wanted)["content"]) == {"outcome": chosen}
    assert chat(stub, messages=messages)["content"] == chosen


# ---- the process ------------------------------------------------------------------------------------------------

HOLDERS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from crew_process import stub_model
url, held = stub_model.start()
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    print(url, flush=True)
if os.fork() == 0:
    sys.stdin.read()
"""


def answers(url: str) -> bool:
    with closing(connected(url)) as connection:
        try:
            connection.request("GET", "/v1/models")
            return connection.getresponse().status == 200
        except OSError:
            return False


def test_the_stub_is_nobodys_child_and_ends_with_the_last_that_holds_it() -> None:
    command = [sys.executable, "-c", HOLDERS, str(CREW_PROCESS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdin
        assert starter.stdout
        url = starter.stdout.readline().strip()
        assert starter.wait(10) == 0
        assert answers(url), "a fork of the starter holds it"
        starter.stdin.close()
        until = time.monotonic() + 5
        while answers(url):
            assert time.monotonic() < until, "nobody holds it, and it still answers"
            time.sleep(0.05)


def test_the_stub_keeps_nothing_of_its_starter_open() -> None:
    read, write = os.pipe()
    _, held = stub_model.start()
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b""
    os.close(held)


# ---- real crews -------------------------------------------------------------------------------------------------


def checked(crew_python: str, script: str, directory: Path, *arguments: str, said: str = "") -> Any:
    """Run one of the checks with the interpreter that has crewai, and without any key."""
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_API_KEY")}
    environment |= QUIET | {"CREWAI_STORAGE_DIR": str(directory / "storage")}
    subprocess.run(
        [crew_python, str(CHECKS / script), *arguments],
        cwd=directory,
        env=environment,
        input=said,
        stdout=(directory / "log").open("w"),
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=True,
    )


@pytest.fixture(scope="module")
def crews(crew_python: str, stub: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What came of all scenarios, in a process that is given the URL of a stub that runs already."""
    directory = tmp_path_factory.mktemp("crews")
    said = "looks good to me\nplease change the title\n"
    checked(crew_python, "crews.py", directory, stub, str(directory / "out"), said=said)
    outcomes: dict[str, Any] = json.loads((directory / "out").read_bytes())
    return outcomes | {"url": stub}


def test_every_name_that_an_author_may_give_a_model_reaches_the_endpoint(crews: dict[str, Any]) -> None:
    marks = {name: said.partition("]")[0] for name, said in crews["names"].items()}
    assert marks == {
        "gpt-4o": "[stub:gpt-4o",
        "openai/gpt-4o": "[stub:gpt-4o",
        "anthropic/claude-3-5-sonnet-20241022": "[stub:claude-3-5-sonnet-20241022",
        "claude-3-5-sonnet-20241022": "[stub:claude-3-5-sonnet-20241022",
        "gemini/gemini-1.5-pro": "[stub:gemini-1.5-pro",
        "azure/my-deployment": "[stub:my-deployment",
        "bedrock/anthropic.claude-3-sonnet-20240229-v1:0": "[stub:anthropic.claude-3-sonnet-20240229-v1:0",
        "groq/llama-3.3-70b-versatile": "[stub:llama-3.3-70b-versatile",
        "ollama/llama3.1:8b": "[stub:llama3.1:8b",
        "openrouter/deepseek/deepseek-r1": "[stub:deepseek/deepseek-r1",
        "snowflake/mistral-large": "[stub:mistral-large",
        "meta-llama/Llama-3.1-8B": "[stub:meta-llama/Llama-3.1-8B",
    }
    assert crews["litellm asked for"].startswith("[stub:mistral-small]")


def test_what_is_not_about_the_endpoint_is_passed_through(crews: dict[str, Any]) -> None:
    assert crews["kept"] == {"temperature": 0.25, "max_tokens": 77, "api_key": "sk-no-key", "url": crews["url"]}


def test_an_authors_own_model_is_left_alone(crews: dict[str, Any]) -> None:
    assert crews["own"]["raw"] == "the author's own"


def test_embedders_that_ask_an_endpoint_ask_this_one(crews: dict[str, Any]) -> None:
    assert crews["embedded"] == {"openai": 3072, "google-generativeai": 768}


@pytest.mark.parametrize("kind", ["sequential", "memory", "planning"])
def test_a_crew_ends_with_an_answer_for_each_of_its_tasks(crews: dict[str, Any], kind: str) -> None:
    for number, raw in enumerate(crews[kind]["tasks"], 1):
        assert raw.startswith(f"[stub:gpt-4o] This stands for the answer to: Write part {number} on rivers")
    assert len(crews[kind]["tasks"]) == 2


def test_memory_was_analysed_by_the_model(crews: dict[str, Any]) -> None:
    assert crews["memory"]["requests"] > crews["sequential"]["requests"]


@pytest.mark.parametrize(
    ("kind", "model"),
    [
        ("hierarchical", "gemini-1.5-pro"),
        ("reasoning", "gpt-4o"),
        ("guardrail", "gpt-4o"),
        ("tools", "gpt-4o"),
        ("tools in text", "o1-mini"),
        ("responses", "gpt-4o"),
        ("responses streamed", "gpt-4o"),
    ],
)
def test_a_crew_of_any_kind_ends_with_the_models_answer(crews: dict[str, Any], kind: str, model: str) -> None:
    assert crews[kind]["raw"] == f"[stub:{model}] This stands for the answer to: Write part 1 on rivers"


def test_a_guardrail_asks_once_and_passes(crews: dict[str, Any]) -> None:
    assert crews["guardrail"]["requests"] == 2


@pytest.mark.parametrize("kind", ["pydantic", "json", "json without function calling", "streaming model"])
def test_an_output_of_a_shape_has_it(crews: dict[str, Any], kind: str) -> None:
    made = crews[kind]["json"]
    assert made["title"].startswith("[stub:")
    assert (made["score"], len(made["tags"]), made["note"]) == (3, 1, None)


def test_a_streaming_crew_streams(crews: dict[str, Any]) -> None:
    assert crews["streaming crew"]["raw"] == "[stub:gpt-4o] This stands for the answer to: Write on rivers"
    assert crews["streaming crew"]["chunks"] > 5


def test_human_feedback_on_a_flow_routes_it(crews: dict[str, Any]) -> None:
    assert crews["feedback"] == ["published", "dropped"]


def test_a_named_model_is_everybodys(crew_python: str, stub: str, tmp_path: Path) -> None:
    scenarios = ["spec", "names", "default", "embedded"]
    checked(crew_python, "crews.py", tmp_path, f"{stub}=llama3.2:3b", str(tmp_path / "out"), *scenarios)
    said = json.loads((tmp_path / "out").read_bytes())
    assert said["spec"] == f"{stub}=llama3.2:3b"
    assert {text.partition("]")[0] for text in said["names"].values()} == {"[stub:llama3.2:3b"}
    assert said["default"]["raw"].startswith("[stub:llama3.2:3b] ")
    assert said["embedded"]["openai"] == 3072, "a model for chats embeds nothing"


def test_the_stub_by_its_name_is_started(crew_python: str, tmp_path: Path) -> None:
    checked(crew_python, "crews.py", tmp_path, "stub", str(tmp_path / "out"), "spec", "default")
    said = json.loads((tmp_path / "out").read_bytes())
    assert said["spec"].startswith("http://127.0.0.1:")
    assert said["default"]["raw"].startswith("[stub:")


# ---- advice -----------------------------------------------------------------------------------------------------


class _Refusing(BaseHTTPRequestHandler):
    """An endpoint that refuses with the status that the path begins with, in OpenAI's words."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        status = int(self.path.split("/")[1])
        said = json.dumps({"error": {"message": f"refused with {status}", "code": None}}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def advised(crew_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str | None]:
    """What is advised to crewai's real errors."""
    directory = tmp_path_factory.mktemp("errors")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as refusing:
        threading.Thread(target=refusing.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{refusing.server_port}"
        checked(crew_python, "errors.py", directory, str(directory / "out"), url, str(directory / "memory"))
        refusing.shutdown()
    said: dict[str, str | None] = json.loads((directory / "out").read_bytes())
    return said


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("no key", "set OPENAI_API_KEY in the environment or in the project's .env"),
        ("no key at construction", "set DEEPSEEK_API_KEY in"),
        ("no snowflake token", "set SNOWFLAKE_PAT in"),
        ("no key for memory", "set OPENAI_API_KEY in"),
        ("no key for an embedder", "set EMBEDDINGS_VOYAGEAI_API_KEY in"),
        ("no package", 'uv add "crewai[anthropic]"'),
        ("no litellm", "needs LiteLLM"),
        ("refused key", "does not accept the key"),
        ("no endpoint", "The model's endpoint does not answer"),
        ("no model", "The endpoint has no model gpt-4o: name one that it has"),
    ],
)
def test_an_error_for_want_of_a_model_says_what_to_do(advised: dict[str, str | None], case: str, words: str) -> None:
    advice = advised[case] or ""
    assert words in advice
    assert "`--llm" in advice
    assert case == "no model" or "`--llm stub`" in advice


@pytest.mark.parametrize("case", ["something else", "a tool's key", "a tool's endpoint"])
def test_another_error_gets_no_advice(advised: dict[str, str | None], case: str) -> None:
    assert advised[case] is None
