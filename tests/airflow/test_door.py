"""What CONTRIBUTING, the workflows and pre-commit say is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]
WORKFLOW = CHECKOUT / ".github" / "workflows" / "checks.yml"
HOOKS = CHECKOUT / ".pre-commit-config.yaml"
GUIDE = CHECKOUT / "CONTRIBUTING.md"
ROOMS = ("airflow_provider_crewai", "scripts", "tests", "noxfile.py", ".github", ".ci", "setup.cfg", "CHANGELOG.md")


def sessions() -> list[dict[str, Any]]:
    """What nox can run."""
    command = (sys.executable, "-m", "nox", "--list", "--json", "--keywords", "not nothing")
    listed = subprocess.run(command, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    return list(json.loads(listed))


def jobs() -> dict[str, Any]:
    return dict(yaml.safe_load(WORKFLOW.read_text())["jobs"])


def commands() -> list[str]:
    """Each command of ours that the workflow, pre-commit and CONTRIBUTING call."""
    ours = [step["run"] for job in jobs().values() for step in job["steps"] if "run" in step]
    ours += [hook["entry"] for repo in yaml.safe_load(HOOKS.read_text())["repos"] for hook in repo["hooks"]]
    ours += re.findall(r"`(?:\w+=\S+ )?((?:scripts|\.ci)/[^`]*)`", GUIDE.read_text())
    return [command for command in ours if not command.startswith(("tail", "scripts/lib"))]


@pytest.mark.parametrize("command", sorted(set(commands())))
def test_each_command_exists(command: str) -> None:
    assert os.access(CHECKOUT / command.split(maxsplit=1)[0], os.X_OK)


def test_each_part_that_is_named_exists() -> None:
    known = {session["name"] for session in sessions()} | {"${{"}
    named = {command.split()[1] for command in commands() if re.match(r"scripts/test [^-]", command)}
    assert len(named) > 4
    assert named | set(jobs()["test"]["strategy"]["matrix"]["part"]) <= known


def test_the_workflow_tries_each_airflow_on_each_python() -> None:
    cells = [(each["call_spec"]["version"], each["python"]) for each in sessions() if each["name"] == "cell"]
    known = {cell for cell in cells if cell[0] != "lowest"}
    matrix = jobs()["matrix"]["strategy"]["matrix"]
    tried = {(airflow, python) for airflow in matrix["airflow"] for python in matrix["python"]}
    assert tried | {(each["airflow"], each["python"]) for each in matrix["include"]} == known


def test_each_room_that_contributing_names_exists() -> None:
    named = [name for name in re.findall(r"`([\w./]+)`", GUIDE.read_text()) if name.startswith(ROOMS)]
    assert len(named) > 20
    assert [name for name in named if not (CHECKOUT / name).exists()] == []


def test_each_room_of_the_package_is_in_contributing() -> None:
    rooms = [each.parent for each in (CHECKOUT / "airflow_provider_crewai").glob("*/__init__.py")]
    assert len(rooms) > 4
    assert [room.name for room in rooms if f"`airflow_provider_crewai/{room.name}`" not in GUIDE.read_text()] == []
