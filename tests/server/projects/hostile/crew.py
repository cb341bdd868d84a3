"""A crew whose model does to its process what the topic says."""

import os
import resource
import sys
import time
from typing import Any

from crewai import Agent, BaseLLM, Crew, Task


def hang() -> None:
    """Never answer."""
    time.sleep(3600)


def die() -> None:
    """Leave without a word."""
    os._exit(7)


def fork() -> None:
    """Leave processes behind that do not end by themselves."""
    for _ in range(5):
        if not os.fork():
            time.sleep(3600)
    os._exit(8)


def eat() -> None:
    """Use more memory than there is."""
    most = 4 * 1024**3
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    bytearray(2 * most)


def shout() -> None:
    """Print without end."""
    while True:
        sys.stdout.write("a" * 65536 + "\n")


ACTS = {"hang": hang, "die": die, "fork": fork, "eat": eat, "shout": shout}


class Hostile(BaseLLM):
    """Does it, or says one thing."""

    llm_type: str = "hostile"

    def call(self, messages: Any, *_: Any, **__: Any) -> str:
        said = str(messages if isinstance(messages, str) else messages[-1]["content"])
        for name, act in ACTS.items():
            if f"<{name}>" in said:
                act()
        return "Said."


def build() -> Crew:
    """Make the crew."""
    one = Agent(role="Writer", goal="write", backstory="writes", llm=Hostile(model="hostile"))
    return Crew(agents=[one], tasks=[Task(name="one", description="On <{topic}>", expected_output="text", agent=one)])
