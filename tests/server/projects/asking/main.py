"""A flow that asks in the middle of a method."""

import os
import threading
import time

from crewai.flow import Flow, start

SECONDS = float(os.environ["ASKING_SECONDS"]) if "ASKING_SECONDS" in os.environ else None

if os.environ.get("ASKING_THREADS") == "yes":
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()


class AskingFlow(Flow):
    """Ask for a name, and greet it."""

    @start()
    def greet(self) -> str:
        name = self.ask("What is your name?", timeout=SECONDS)
        time.sleep(float(os.environ.get("ASKING_GOES_ON", "0")))
        return f"Hello, {name}"
