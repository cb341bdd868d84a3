"""A crew of three plain tasks, which crewai runs and also what stands in for it."""

import os
import time
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task

TASKS = ("survey_task", "outline_task", "brief_task")


class Echo(BaseLLM):
    """Says one thing; slow where `BRIEF_SECONDS_PER_TASK` says so."""

    llm_type: str = "echo"

    def call(self, *_: Any, **__: Any) -> str:
        time.sleep(float(os.environ.get("BRIEF_SECONDS_PER_TASK", "0")))
        return "Said."


def build() -> Crew:
    """Make the crew."""
    one = Agent(role="Writer", goal="write", backstory="writes", llm=Echo(model="echo"))
    about = "On {topic} for {audience}"
    return Crew(
        agents=[one], tasks=[Task(name=name, description=about, expected_output="text", agent=one) for name in TASKS]
    )
