"""A crew that forks processes of its own, as pools of them do."""

import os
import threading
import time
from pathlib import Path
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task

if os.environ["THREADS"] == "yes":
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


class Forker(BaseLLM):
    """Never answers, and neither does its child."""

    llm_type: str = "forker"

    def call(self, *_: Any, **__: Any) -> str:
        if child := os.fork():
            Path(os.environ["FORKED"]).write_text(str(child))
        time.sleep(3600)
        raise AssertionError("unreachable")


def build() -> Crew:
    """Make the crew."""
    one = Agent(role="Forker", goal="fork", backstory="forks", llm=Forker(model="forker"))
    return Crew(agents=[one], tasks=[Task(description="Fork", expected_output="nothing", agent=one)])
