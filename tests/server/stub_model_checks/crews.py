"""Run with the interpreter that has crewai: real crews and flows, with the models that `--llm SPEC` gives them.

`crews.py SPEC FILE [SCENARIO…]` writes a JSON object, scenario to what came of it, to the file.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "airflow_provider_crewai" / "server"))

from crew_process import models
from crewai import LLM, Agent, BaseLLM, Crew, Process, Task
from crewai.flow import Flow, human_feedback, listen, start
from crewai.rag.embeddings.factory import build_embedder
from crewai.tools import tool
from pydantic import BaseModel, Field

SPEC = models.use(sys.argv[1])
NAMES = [
    "gpt-4o",
    "openai/gpt-4o",
    "anthropic/claude-3-5-sonnet-20241022",
    "claude-3-5-sonnet-20241022",
    "gemini/gemini-1.5-pro",
    "azure/my-deployment",
    "bedrock/anthropic.claude-3-sonnet-20240229-v1:0",
    "groq/llama-3.3-70b-versatile",
    "ollama/llama3.1:8b",
    "openrouter/deepseek/deepseek-r1",
    "snowflake/mistral-large",
    "meta-llama/Llama-3.1-8B",
]
used: list[str] = []


class Verdict(BaseModel):
    title: str
    score: int = Field(ge=3, le=9)
    tags: list[str]
    note: str | None = None


class Own(BaseLLM):
    def call(self, *_: Any, **__: Any) -> str:
        return "the author's own"


@tool("Lookup")
def lookup(query: str) -> str:
    """Look something up."""
    used.append(query)
    return "found"


class Reviewed(Flow):
    @start()
    @human_feedback(message="Good?", emit=["approved", "rejected"], llm="anthropic/claude-3-5-haiku-latest")
    def draft(self) -> str:
        return "a draft"

    @listen("approved")
    def publish(self) -> str:
        return "published"

    @listen("rejected")
    def drop(self) -> str:
        return "dropped"


def agent(**fields: Any) -> Agent:
    fields = {"llm": "gpt-4o"} | fields
    return Agent(role="Writer", goal="write", backstory="writes", **fields)


def run(agent: Agent, task: dict[str, Any] | None = None, tasks: int = 1, **fields: Any) -> dict[str, Any]:
    described = [
        Task(description=f"Write part {number} on {{topic}}", expected_output="text", agent=agent, **(task or {}))
        for number in range(1, tasks + 1)
    ]
    output = Crew(agents=[agent], tasks=described, **fields).kickoff(inputs={"topic": "rivers"})
    return {
        "raw": output.raw,
        "json": output.pydantic.model_dump() if output.pydantic else output.json_dict,
        "requests": output.token_usage.successful_requests,
        "tasks": [one.raw for one in output.tasks_output],
    }


def streamed() -> dict[str, Any]:
    one = agent()
    task = Task(description="Write on rivers", expected_output="text", agent=one)
    answer = Crew(agents=[one], tasks=[task], stream=True).kickoff()
    chunks = [chunk.content for chunk in answer]
    return {"raw": answer.result.raw, "chunks": len(chunks)}


def kept() -> dict[str, Any]:
    one = LLM(
        "anthropic/claude-3-5-sonnet-20241022", temperature=0.25, max_tokens=77, api_key="theirs", thinking={"a": 1}
    )
    return {"temperature": one.temperature, "max_tokens": one.max_tokens, "api_key": one.api_key, "url": one.base_url}


def embedded() -> dict[str, Any]:
    specs = [
        {"provider": "openai", "config": {}},
        {"provider": "google-generativeai", "config": {"model_name": "nomic-embed-text"}},
    ]
    return {spec["provider"]: len(build_embedder(spec)(["a text"])[0]) for spec in specs}


SCENARIOS = {
    "spec": lambda: SPEC,
    "names": lambda: {name: LLM(model=name).call("hello") for name in NAMES},
    "litellm asked for": lambda: LLM(model="mistral/mistral-small", is_litellm=True).call("hello"),
    "own": lambda: run(agent(llm=Own(model="own"))),
    "kept": kept,
    "embedded": embedded,
    "default": lambda: run(agent(llm=None)),
    "sequential": lambda: run(agent(), tasks=2),
    "hierarchical": lambda: run(agent(), process=Process.hierarchical, manager_llm="gemini/gemini-1.5-pro"),
    "pydantic": lambda: run(agent(), {"output_pydantic": Verdict}),
    "json": lambda: run(agent(), {"output_json": Verdict}),
    "json without function calling": lambda: run(agent(llm="o1-mini"), {"output_json": Verdict}),
    "tools": lambda: run(agent(tools=[lookup])) | {"used": used},
    "tools in text": lambda: run(agent(llm="o1-mini", tools=[lookup])) | {"used": used},
    "memory": lambda: run(agent(), tasks=2, memory=True),
    "planning": lambda: run(agent(), tasks=2, planning=True),
    "reasoning": lambda: run(agent(reasoning=True)),
    "guardrail": lambda: run(agent(), {"guardrail": "It must be short."}),
    "streaming model": lambda: run(agent(llm=LLM(model="gpt-4o", stream=True)), {"output_pydantic": Verdict}),
    "streaming crew": streamed,
    "responses": lambda: run(agent(llm=LLM(model="gpt-4o", api="responses"))),
    "responses streamed": lambda: run(agent(llm=LLM(model="gpt-4o", api="responses", stream=True))),
    "feedback": lambda: [Reviewed().kickoff(), Reviewed().kickoff()],
}


def outcome(scenario: Any) -> Any:
    try:
        return scenario()
    except Exception as error:  # noqa: BLE001 - one that fails must not hide the others
        return {"error": f"{type(error).__name__}: {error}", "advice": models.advice(error)}


Path(sys.argv[2]).write_text(json.dumps({name: outcome(SCENARIOS[name]) for name in sys.argv[3:] or SCENARIOS}))
