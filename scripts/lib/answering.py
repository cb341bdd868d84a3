"""Answering the crew: a person does on its page, or the command line where nobody looks on."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from airflow_api import DagRun, eventually
from crew_server import CrewServer


class Answering(threading.Thread):
    """Waits beside a Dag run until its crew asks something, says so, and approves it by itself where that is wanted.

    :param task_id: the task whose crew asks.
    :param say: told what happens.
    """

    def __init__(self, crew: CrewServer, run: DagRun, task_id: str, say: Callable[[str], None], *, alone: bool) -> None:
        super().__init__(daemon=True)
        self._crew = crew
        self._dag_run = run
        self._task_id = task_id
        self._say = say
        self._alone = alone

    def run(self) -> None:
        """Wait, say, and answer."""
        kickoff_id = eventually(self._kickoff_id, "the kickoff_id", patience=300)
        asked = eventually(lambda: self._ask("status", kickoff_id)["question"], "the crew to ask", patience=300)
        self._say(f"the crew asks: {asked['message']}")
        if self._alone:
            self._say("nobody looks on, so the command line approves")
            self._ask("resume", kickoff_id, "--task", asked["task_id"], "--approve")
        else:
            self._say(f"answer it at {self._crew.page}")

    def _kickoff_id(self) -> str | None:
        xcoms: dict[str, Any] = self._dag_run.xcoms(self._task_id)
        return xcoms.get("kickoff_id")

    def _ask(self, *verb: str) -> dict[str, Any]:
        command = (sys.executable, "-m", "airflow_provider_crewai", *verb, "--url", self._crew.url, "--json")
        environment = {**os.environ, "CREWAI_TOKEN": self._crew.token}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
        answer: dict[str, Any] = json.loads(said)
        return answer
