"""A crew of three tasks whose second one waits for a human. Its model writes down each call, so that none goes unseen."""

import os
from pathlib import Path
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task
from crewai.project import CrewBase, agent, crew, task

ASKS = os.environ.get("REVIEW_ASKS") != "no"


class Scribe(BaseLLM):
    """Answers with what it was told last; slow where `SCRIBE_SECONDS` says so."""

    llm_type: str = "scribe"

    def call(self, messages: str | list[Any], *_: object, **__: object) -> str:
        import time

        last = messages if isinstance(messages, str) else str(messages[-1]["content"])
        with Path(os.environ["SCRIBE_CALLS"]).open("a") as calls:
            calls.write(repr(last[:200]) + "\n")
        time.sleep(float(os.environ.get("SCRIBE_SECONDS", "0")))
        told = last.partition("Current Task: ")[2].partition("\n")[0] or last.partition("Feedback: ")[2] or last
        return f"Wrote <{told.strip()}>"


@CrewBase
class ReviewCrew:
    """Gather, draft, publish."""

    @agent
    def writer(self) -> Agent:
        return Agent(role="Writer", goal="write", backstory="writes", llm=Scribe(model="scribe"))

    @task
    def gather(self) -> Task:
        return Task(description="Gather facts on {topic}", expected_output="facts", agent=self.writer())

    @task
    def draft(self) -> Task:
        return Task(description="Draft it", expected_output="a draft", agent=self.writer(), human_input=ASKS)

    @task
    def publish(self) -> Task:
        return Task(description="Publish it", expected_output="the text", agent=self.writer())

    @crew
    def crew(self) -> Crew:
        return Crew(agents=self.agents, tasks=self.tasks)
