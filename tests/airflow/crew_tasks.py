"""Tasks that run crews, without waiting longer than a test must."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from in_memory import Killed
from scripted_crew import INPUTS, Asked, ScriptedCrew

from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.sensors import CrewStatusSensor

if TYPE_CHECKING:
    from conftest import Clock

FAST: dict[str, Any] = {"poll_interval": 0.001, "max_poll_interval": 0.002}


def brief(**options: Any) -> CrewKickoffOperator:
    """Make a task that runs a crew."""
    return CrewKickoffOperator(**{"task_id": "brief", "inputs": INPUTS, **FAST, **options})


def sensor(**options: Any) -> CrewStatusSensor:
    """Make a task that waits for the run `run-1`."""
    return CrewStatusSensor(**{"task_id": "answer", "kickoff_id": "run-1", **FAST, **options})


def starts_slowly(crew: ScriptedCrew, clock: Clock, seconds: float) -> None:
    """Let so much time pass while the next kickoff is answered."""
    crew.once("/kickoff", lambda _: clock.sleep(seconds))


def worker_dies_at(message: str, nth: int = 1) -> Callable[[Any], None]:
    """Let the worker die when its supervisor is sent this message for the nth time."""
    left = [nth]

    def before(sent: Any) -> None:
        left[0] -= type(sent).__name__ == message
        if not left[0]:
            left[0] = -1
            raise Killed(message)

    return before


def sends(number: signal.Signals) -> Callable[[Asked], None]:
    """Let the task be sent a signal while it waits for the answer to a request."""

    def script(_: Asked) -> None:
        main = threading.main_thread().ident
        assert main is not None
        signal.pthread_kill(main, number)

    return script
