"""A crew whose project starts a thread when it is imported, so that no run may be forked from it."""

import threading
import time
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task

threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


class Parrot(BaseLLM):
    """Says one word."""

    llm_type: str = "parrot"

    def call(self, *_: Any, **__: Any) -> str:
        return f"polly, one of {threading.active_count()}"


def build() -> Crew:
    """Make the crew."""
    parrot = Agent(role="Parrot", goal="speak", backstory="speaks", llm=Parrot(model="parrot"))
    return Crew(agents=[parrot], tasks=[Task(description="Speak", expected_output="a word", agent=parrot)])
