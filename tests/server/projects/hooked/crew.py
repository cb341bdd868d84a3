"""A crew whose hook returns whatever the input `kind` says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from crewai import Agent, Crew, Task
from crewai.project import CrewBase, after_kickoff, agent, crew, task
from pydantic import BaseModel


class Page(BaseModel):
    title: str


@dataclass
class Card:
    title: str


class Odd:
    def __str__(self) -> str:
        raise RuntimeError("nobody may read me")


@CrewBase
class Hooked:
    agents_config: ClassVar[dict[str, Any]] = {}
    tasks_config: ClassVar[dict[str, Any]] = {}

    @after_kickoff
    def put_into_form(self, result: Any) -> Any:
        kind = self.note().description.rpartition(" ")[2].rstrip(".")
        forms: dict[str, Any] = {
            "text": f"# {kind}",
            "dict": {"title": kind, "page": Page(title=kind)},
            "list": [kind],
            "model": Page(title=kind),
            "card": Card(kind),
            "number": 42,
            "nothing": None,
            "odd": Odd(),
            "class": Page,
        }
        return forms.get(kind, result)

    @agent
    def clerk(self) -> Agent:
        return Agent(role="Clerk", goal="Write", backstory="Writes")

    @task
    def note(self) -> Task:
        return Task(description="Write as {kind}", expected_output="One line", agent=self.clerk())

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)
