"""The crew: an analyst surveys a topic, an editor outlines and writes the brief."""

from __future__ import annotations

import os
from typing import Any

from crewai import Agent, Crew, Process, Task
from crewai.agents.agent_builder.base_agent import BaseAgent
from crewai.project import CrewBase, agent, before_kickoff, crew, task
from pydantic import BaseModel

from brief.wordsmith import Wordsmith


class Brief(BaseModel):
    """What the last task yields."""

    title: str
    audience: str
    headings: list[str]
    text: str
    words: int


@CrewBase
class BriefCrew:
    """Two agents, three tasks, one after the other."""

    agents: list[BaseAgent]
    tasks: list[Task]
    agents_config: dict[str, Any]
    tasks_config: dict[str, Any]

    @before_kickoff
    def put_inputs_on_a_line(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Put each input on one line, as the prompts want it, before any work is done.

        :raises ValueError: the topic is empty.
        """
        lines = {name: " ".join(str(value).split()) for name, value in inputs.items()}
        if not lines.get("topic"):
            raise ValueError("Topic cannot be empty")
        return lines

    @agent
    def analyst(self) -> Agent:
        """Return who surveys."""
        return Agent(config=self.agents_config["analyst"], llm=Wordsmith(model="wordsmith"))

    @agent
    def editor(self) -> Agent:
        """Return who outlines and writes."""
        # A model of its own: crewai adds up usage per agent, so a shared one would be counted twice.
        return Agent(config=self.agents_config["editor"], llm=Wordsmith(model="wordsmith"))

    @task
    def survey_task(self) -> Task:
        """Return the first task."""
        return Task(config=self.tasks_config["survey_task"])

    @task
    def outline_task(self) -> Task:
        """Return the second task, on the survey."""
        return Task(config=self.tasks_config["outline_task"])

    @task
    def brief_task(self) -> Task:
        """Return the last task, on the outline: its output is JSON. With `BRIEF_ASKS` a human has the last word."""
        asks = bool(os.environ.get("BRIEF_ASKS"))
        return Task(config=self.tasks_config["brief_task"], output_json=Brief, human_input=asks)

    @crew
    def crew(self) -> Crew:
        """Return the crew."""
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential)
