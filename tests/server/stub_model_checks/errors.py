"""Run with the interpreter that has crewai, without a key: what is advised to real errors, as JSON to a file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3] / "airflow_provider_crewai" / "server"))

from crew_process import models
from crewai import LLM, Agent, Crew, Memory, Task
from crewai.rag.embeddings.factory import build_embedder

URL = sys.argv[2]


def crew(llm: Any) -> object:
    one = Agent(role="r", goal="g", backstory="b", llm=llm)
    return Crew(agents=[one], tasks=[Task(description="d", expected_output="e", agent=one)]).kickoff()


def at(path: str, **fields: Any) -> LLM:
    return LLM(model="gpt-4o", base_url=URL + path, api_key="bad", max_retries=0, **fields)


def fail(error: Exception) -> None:
    raise error


CASES = {
    "no key": lambda: crew("gpt-4o"),
    "no key at construction": lambda: LLM(model="deepseek/deepseek-chat"),
    "no snowflake token": lambda: LLM(model="snowflake/mistral-large"),
    "no key for memory": lambda: Memory(storage=sys.argv[3]).remember("a fact"),
    "no key for an embedder": lambda: build_embedder({"provider": "voyageai", "config": {}}),
    "no package": lambda: LLM(model="anthropic/claude-3-5-sonnet-20241022"),
    "no litellm": lambda: LLM(model="groq/llama-3"),
    "refused key": lambda: crew(at("/401")),
    "no model": lambda: crew(at("/404")),
    "no endpoint": lambda: crew(LLM(model="ollama/llama3", base_url="http://127.0.0.1:9", max_retries=0)),
    "something else": lambda: int("x"),
    "a tool's key": lambda: fail(ValueError("SERPER_API_KEY environment variable is not set")),
    "a tool's endpoint": lambda: fail(ConnectionRefusedError("[Errno 111] Connection refused")),
}


def advised(case: Any) -> Any:
    try:
        case()
    except Exception as error:  # noqa: BLE001 - whatever crewai raises is the case
        return models.advice(error)
    return "no error"


Path(sys.argv[1]).write_text(json.dumps({name: advised(case) for name, case in CASES.items()}))
