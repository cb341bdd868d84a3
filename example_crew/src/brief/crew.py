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
    """The output of the last task."""

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
        """Put each input on one line, because the prompts need that, before any work starts.

        :raises ValueError: the topic is empty.
        """
        lines = {name: " ".join(str(value).split()) for name, value in inputs.items()}
        if not lines.get("topic"):
            raise ValueError("Topic cannot be empty")
        return lines

    @agent
    def analyst(self) -> Agent:
        """Return the agent that surveys the topic."""
        return Agent(config=self.agents_config["analyst"], llm=Wordsmith(model="wordsmith"))

    @agent
    def editor(self) -> Agent:
        """Return the agent that outlines and writes the brief."""
        # It gets a model of its own: crewai adds up usage per agent, so it would count a shared model twice.
        return Agent(config=self.agents_config["editor"], llm=Wordsmith(model="wordsmith"))

    @task
    def survey_task(self) -> Task:
        """Return the first task."""
        return Task(config=self.tasks_config["survey_task"])

    @task
    def outline_task(self) -> Task:
        """Return the second task, which uses the survey."""
        return Task(config=self.tasks_config["outline_task"])

    @task
    def brief_task(self) -> Task:
        """Return the last task, which uses the outline. Its output is JSON. With `BRIEF_ASKS` a human judges it."""
        asks = bool(os.environ.get("BRIEF_ASKS"))
        return Task(config=self.tasks_config["brief_task"], output_json=Brief, human_input=asks)

    @crew
    def crew(self) -> Crew:
        """Return the crew."""
        return Crew(agents=self.agents, tasks=self.tasks, process=Process.sequential)
