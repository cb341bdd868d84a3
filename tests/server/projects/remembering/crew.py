"""A crew that counts what it remembers from earlier runs, and remembers one more thing."""

from __future__ import annotations

from typing import Any, ClassVar

from crewai import Agent, Crew, Memory, Task
from crewai.project import CrewBase, agent, before_kickoff, crew, task


@CrewBase
class Remembering:
    agents_config: ClassVar[dict[str, Any]] = {}
    tasks_config: ClassVar[dict[str, Any]] = {}

    @before_kickoff
    def recall(self, inputs: dict[str, Any]) -> dict[str, Any]:
        memory = Memory()
        known = len(memory.list_records())
        memory.remember(f"The subject was {inputs['subject']}.", scope="/desk", categories=["subject"], importance=0.5)
        return {**inputs, "known": str(known)}

    @agent
    def clerk(self) -> Agent:
        return Agent(role="Clerk", goal="Write", backstory="Writes")

    @task
    def note(self) -> Task:
        return Task(description="Known: {known}. Write on {subject}", expected_output="One line", agent=self.clerk())

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)
