"""Answering the crew in Airflow: a person does in its UI, or its REST API does where nobody looks on."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable

from airflow_api import FINAL, DagRun, Json, eventually
from crew_server import CrewServer
from required_actions import APPROVE, CHANGES, Action, open_action

WISH = "Say where the tides come in."


class Answering(threading.Thread):
    """Waits beside a Dag run until its crew asks something, and says so, each time that it asks.

    Where nobody looks on, it asks for changes once, and then approves.

    :param url: Airflow's.
    :param task_id: the task whose crew asks.
    :param say: told what happens.
    """

    def __init__(
        self, url: str, crew: CrewServer, run: DagRun, task_id: str, say: Callable[[str], None], *, alone: bool
    ) -> None:
        super().__init__(daemon=True)
        self._url = url
        self._crew = crew
        self._dag_run = run
        self._task_id = task_id
        self._say = say
        self._alone = alone
        self._asked = 0

    def run(self) -> None:
        """Wait, say, and respond, as often as the crew asks."""
        while action := eventually(self._next, "the crew to ask, or the run to end", patience=24 * 3600)[0]:
            self._asked += 1
            question = self._question()
            self._say(f"the crew asks: {question['message']}")
            self._say(f"its draft: {json.loads(question['output'])['text']}")
            self._respond(action)
            eventually(lambda: self._is_answered() or None, "a response", patience=24 * 3600)

    def _next(self) -> tuple[Action | None] | None:
        """Answer with what is asked, or with nothing if the run has ended."""
        if self._dag_run.state() in FINAL:
            return (None,)
        action = open_action(self._dag_run, self._task_id)
        return (action,) if action else None

    def _is_answered(self) -> bool:
        return self._dag_run.state() in FINAL or open_action(self._dag_run, self._task_id) is None

    def _question(self) -> Json:
        kickoff_id = self._dag_run.xcom(self._task_id, "kickoff_id")
        command = (
            sys.executable,
            "-m",
            "airflow_provider_crewai",
            "status",
            kickoff_id,
            "--url",
            self._crew.url,
            "--json",
        )
        environment = {**os.environ, "CREWAI_TOKEN": self._crew.token}
        said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
        question: Json = json.loads(said)["question"]
        return question

    def _respond(self, action: Action) -> None:
        if not self._alone:
            self._say(f"respond at {self._url}{action.path}")
            self._say("approve it, or ask for changes and see the next draft")
        elif self._asked == 1:
            self._say(f"nobody looks on, so the REST API asks for changes: {WISH}")
            action.respond(CHANGES, WISH)
        else:
            self._say("the REST API approves")
            action.respond(APPROVE)
