"""A flow that keeps its state, for another run to begin with."""

import os
import time

from crewai.flow import Flow, persist, start
from pydantic import BaseModel


class Count(BaseModel):
    """How often it was counted."""

    times: int = 0


@persist()
class CountingFlow(Flow[Count]):
    """Count one more, in so many seconds."""

    @start()
    def count(self) -> int:
        time.sleep(float(os.environ.get("COUNTING_SECONDS", "0")))
        self.state.times += 1
        return self.state.times
