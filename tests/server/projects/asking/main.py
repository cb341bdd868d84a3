"""A flow that asks in the middle of a method."""

from crewai.flow import Flow, start


class AskingFlow(Flow):
    """Ask for a name, and greet it."""

    @start()
    def greet(self) -> str:
        name = self.ask("What is your name?")
        return f"Hello, {name}"
