"""A crew of two tasks and a flow around it, which end in the middle as `COSTLY_END` says, after a model was paid for."""

import os
import time
from typing import Any

from crewai import Agent, Crew, Task
from crewai.flow import Flow, start


def end(_: Any) -> None:
    """Fail, or never end."""
    if os.environ["COSTLY_END"] == "fail":
        raise ValueError("the second task cannot be")
    time.sleep(3600)


def build() -> Crew:
    """Make the crew."""
    writer = Agent(role="Writer", goal="write", backstory="writes", llm="gpt-4o")
    gather = Task(name="gather", description="Gather facts", expected_output="facts", agent=writer)
    draft = Task(name="draft", description="Draft it", expected_output="a draft", agent=writer, callback=end)
    return Crew(agents=[writer], tasks=[gather, draft])


class CostlyFlow(Flow[Any]):
    """Kick the crew off."""

    @start()
    def write(self) -> str:
        """Do it."""
        return str(build().kickoff())
