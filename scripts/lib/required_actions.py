"""Required Actions through Airflow's REST API: what a task asks people, and what a person responds."""

import time
from dataclasses import dataclass
from datetime import datetime

from airflow_api import DagRun, Json, eventually

APPROVE = "Approve"
CHANGES = "Ask for changes"
SETTLED = 2.0
"""Seconds after which Airflow has heard that a task waits: a response before that can overtake the report, and the task
fails."""


@dataclass(frozen=True)
class Action:
    """What one task instance asks, as Airflow shows it."""

    run: DagRun
    shown: Json

    @property
    def task(self) -> Json:
        """Answer with the task instance."""
        task: Json = self.shown["task_instance"]
        return task

    @property
    def path(self) -> str:
        """Where a person finds it, below Airflow's URL."""
        task = self.task
        index = "" if task["map_index"] < 0 else f"/mapped/{task['map_index']}"
        run = self.run.run_id.replace(":", "%3A").replace("+", "%2B")
        return f"/dags/{self.run.dag_id}/runs/{run}/tasks/{task['task_id']}{index}/required_actions"

    def respond(self, option: str, text: str = "") -> None:
        """Respond as a person does, with an option and with a text for the field that the form has."""
        task = self.task
        path = f"{self.run.path}/taskInstances/{task['task_id']}/{task['map_index']}/hitlDetails"
        body = {"chosen_options": [option], "params_input": dict.fromkeys(self.shown["params"], text)}
        self.run.api.call("PATCH", path, body)


def open_actions(run: DagRun) -> list[Action]:
    """Answer with what a Dag run asks now: of tasks that wait, long enough for Airflow to have heard it."""
    shown = run.api.get(f"{run.path}/hitlDetails", response_received=False)["hitl_details"]
    return [Action(run, each) for each in shown if _waits_for(each["task_instance"]) > SETTLED]


def _waits_for(task: Json) -> float:
    """Answer with the seconds since a task was deferred; 0 if it does not wait."""
    trigger = task["trigger"] if task["state"] == "deferred" else None
    return time.time() - datetime.fromisoformat(trigger["created_date"]).timestamp() if trigger else 0


def open_action(run: DagRun, task_id: str, map_index: int = -1) -> Action | None:
    """Answer with what a task instance asks now, if it does."""
    wanted = (task_id, map_index)
    found = (each for each in open_actions(run) if (each.task["task_id"], each.task["map_index"]) == wanted)
    return next(found, None)


def wait_for_action(run: DagRun, task_id: str, map_index: int = -1, patience: float = 90) -> Action:
    """Wait until a task instance asks something."""
    return eventually(lambda: open_action(run, task_id, map_index), f"{run.dag_id}.{task_id} to ask a person", patience)
