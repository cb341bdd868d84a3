"""Stands in for crewai where that is not what is tested: as much of its interface as a crew of plain tasks needs.

A server under test imports crewai each time it starts, which takes a processor three seconds.
`test_stand_in.py` runs one project with both, and sees no difference.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from crewai.events import TaskCompletedEvent, TaskStartedEvent, crewai_event_bus

USAGE = dict.fromkeys(("total_tokens", "prompt_tokens", "completion_tokens", "successful_requests"), 0)


class BaseLLM:
    """A model."""

    def __init__(self, model: str) -> None:
        self.model = model


@dataclass
class Agent:
    """Who does tasks."""

    role: str
    goal: str
    backstory: str
    llm: Any


@dataclass
class Task:
    """What is to be done."""

    description: str
    expected_output: str
    agent: Agent
    name: str | None = None
    human_input: bool = False
    output_file: str | None = None
    output: Output | None = None
    id: uuid.UUID = field(default_factory=uuid.uuid4)


class Format(Enum):
    """How an output is written."""

    RAW = "raw"


@dataclass
class Output:
    """What a task yields, and a crew: what its last task does."""

    raw: str
    description: str = ""
    expected_output: str = ""
    name: str | None = None
    agent: str = ""
    summary: str = ""
    output_format: Format = Format.RAW

    def to_dict(self) -> dict[str, Any]:
        return {}


class Usage:
    """What it cost."""

    def model_dump(self) -> dict[str, int]:
        return USAGE


@dataclass
class Crew:
    """Does tasks, one after the other."""

    agents: list[Agent]
    tasks: list[Task]
    before_kickoff_callbacks: list[Any] = field(default_factory=list)

    def fetch_inputs(self) -> set[str]:
        texts = [text for task in self.tasks for text in (task.description, task.expected_output)]
        texts += [text for agent in self.agents for text in (agent.role, agent.goal, agent.backstory)]
        return set(re.findall(r"{(.+?)}", "".join(texts)))

    def calculate_usage_metrics(self) -> Usage:
        return Usage()

    def kickoff(self, inputs: dict[str, Any]) -> Output:
        for task in self.tasks:
            task.description = re.sub(r"{(.+?)}", lambda name: str(inputs[name[1]]), task.description)
            crewai_event_bus.emit(TaskStartedEvent(task))
            said = task.agent.llm.call([{"role": "user", "content": task.description}])
            summary = f"{' '.join(task.description.split()[:10])}..."
            task.output = Output(said, task.description, task.expected_output, task.name, task.agent.role, summary)
            crewai_event_bus.emit(TaskCompletedEvent(task, task.output))
        return Output(said)
