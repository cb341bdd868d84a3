"""A flow that keeps its state, for another run to begin with."""

from crewai.flow import Flow, persist, start
from pydantic import BaseModel


class Count(BaseModel):
    """How often it was counted."""

    times: int = 0


@persist()
class CountingFlow(Flow[Count]):
    """Count one more."""

    @start()
    def count(self) -> int:
        self.state.times += 1
        return self.state.times
