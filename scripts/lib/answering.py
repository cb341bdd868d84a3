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

CHANGES = "Say where the tides come in."
OVER = ("succeeded", "failed", "stopped")


class Answering(threading.Thread):
    """Waits beside a Dag run until its crew asks something, and says so, each time that it asks.

    Where nobody looks on, it asks for changes once, and then approves.

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
        self._asked = 0

    def run(self) -> None:
        """Wait, say, and answer, as often as the crew asks."""
        kickoff_id = eventually(self._kickoff_id, "the kickoff_id", patience=300)
        answered = ""
        while question := self._question(kickoff_id, answered):
            answered = question["task_id"]
            self._say(f"the crew asks: {question['message']}")
            self._say(f"its draft: {json.loads(question['output'])['text']}")
            self._answer(kickoff_id, answered)

    def _question(self, kickoff_id: str, answered: str) -> dict[str, Any] | None:
        """Wait for the next question; None if the run ends first."""

        def asked() -> tuple[dict[str, Any] | None] | None:
            status = self._ask("status", kickoff_id)
            question = status["question"]
            if question and question["task_id"] != answered:
                return (question,)
            return (None,) if status["state"] in OVER else None

        return eventually(asked, "the crew to ask", patience=3600)[0]

    def _answer(self, kickoff_id: str, question_id: str) -> None:
        self._asked += 1
        if not self._alone:
            self._say(f"answer it at {self._crew.page_of(kickoff_id)}")
            self._say("approve it, or ask for changes and see the next draft")
        elif self._asked == 1:
            self._say(f"nobody looks on, so the command line asks for changes: {CHANGES}")
            self._ask("resume", kickoff_id, "--task", question_id, "--feedback", CHANGES)
        else:
            self._say("the command line approves")
            self._ask("resume", kickoff_id, "--task", question_id, "--approve")

    def _kickoff_id(self) -> str | None:
        xcoms: dict[str, Any] = self._dag_run.xcoms(self._task_id)
        return xcoms.get("kickoff_id")

    def _ask(self, *verb: str) -> dict[str, Any]:
        command = (sys.executable, "-m", "airflow_provider_crewai", *verb, "--url", self._crew.url, "--json")
        environment = {**os.environ, "CREWAI_TOKEN": self._crew.token}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
        answer: dict[str, Any] = json.loads(said)
        return answer
