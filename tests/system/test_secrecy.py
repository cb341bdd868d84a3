"""The token goes from the connection to the crew and leaves no trace on the way."""

import json
from pathlib import Path

from airflow_api import DagRun
from airflow_home import PrivateAirflow
from crew_server import CrewServer


def files_with(text: str, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


def answers(run: DagRun) -> str:
    """All that the API says about the tasks of a run: rendered fields, XComs, logs."""
    tasks = run.tasks()
    xcoms = [run.xcoms(each["task_id"], each["map_index"]) for each in tasks]
    logs = [run.log(each["task_id"], each["try_number"], each["map_index"]) for each in tasks]
    return json.dumps([tasks, xcoms, logs])


def test_the_token_is_in_no_file_of_airflow(airflow: PrivateAirflow, crew: CrewServer, ended: list[DagRun]) -> None:
    """Neither in a log, nor in the database with its triggers, XComs and rendered fields, nor anywhere else."""
    assert ended
    assert files_with(crew.token, airflow.home) == []


def test_the_search_would_find_it(airflow: PrivateAirflow, ended: list[DagRun]) -> None:
    """A kickoff_id is no secret: it is in the database and in a log, where the search above has looked."""
    kickoff_ids = [
        run.xcoms(task["task_id"], task["map_index"]).get("kickoff_id") for run in ended for task in run.tasks()
    ]
    found = files_with(next(filter(None, kickoff_ids)), airflow.home)
    assert {path.suffix for path in found} >= {".db", ".log"}


def test_the_token_is_in_no_answer_of_the_api(crew: CrewServer, ended: list[DagRun]) -> None:
    said = [answers(run) for run in ended]
    assert all("rendered_fields" in each for each in said)
    assert not any(crew.token in each for each in said)
