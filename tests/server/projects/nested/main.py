"""A flow one of whose methods runs a crew that waits for a human."""

from typing import Any

from crewai import Agent, BaseLLM, Crew, Task
from crewai.flow import Flow, start


class Parrot(BaseLLM):
    """Says one word."""

    llm_type: str = "parrot"

    def call(self, *_: Any, **__: Any) -> str:
        return "polly"


class NestedFlow(Flow):
    """Let a crew speak."""

    @start()
    def speak(self) -> str:
        parrot = Agent(role="Parrot", goal="speak", backstory="speaks", llm=Parrot(model="parrot"))
        task = Task(description="Speak", expected_output="a word", agent=parrot, human_input=True)
        return Crew(agents=[parrot], tasks=[task]).kickoff().raw
