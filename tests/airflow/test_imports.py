"""What a Dag file loads, where it finds what it uses, and what Airflow's database keeps of us."""

import inspect
import json
import subprocess
import sys
from functools import cache
from importlib import import_module

import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_crewai import triggers
from airflow_provider_crewai.triggers import CrewStatusTrigger

OURS = "airflow_provider_crewai"
FORBIDDEN = {
    "requests",
    "urllib3",
    "aiohttp",
    "yarl",
    "pydantic",
    "fsspec",
    "starlette",
    "uvicorn",
    "crewai",
    "markdown_it",
}
"""None of these may be loaded by an import of ours: a Dag file is parsed again and again."""

LATE = {
    "client.sync",
    "client.aio",
    "client.shell",
    "client.settings",
    "client.messages",
    "triggers",
    "server",
    "in_airflow.connection_form",
    "in_airflow.signed_urls",
    "wire.webhook_calls",
}
"""Nor these of our own."""

PROBE = """
import importlib, json, os, sys
import airflow.sdk
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator  # `airflow.sdk` alone is lazy
before = set(sys.modules)
for name in sys.argv[1:]:
    if os.fork() == 0:
        importlib.import_module(name)
        print(json.dumps([name, *sorted(set(sys.modules) - before)]), flush=True)
        os._exit(0)
    os.wait()
"""
"""Forks after what a Dag file has loaded in any case, which takes seconds."""

PROBED = ("operators", "sensors", "decorators", "answers", "in_airflow.api_server.plugin")

FROZEN = "airflow_provider_crewai.triggers.CrewStatusTrigger"
ARGUMENTS = {
    "kickoff_id": "4f1c",
    "crewai_conn_id": "crewai_other",
    "started_at": 1_790_000_000.5,
    "deadline": 1_790_086_400.25,
    "poll_interval": 3.5,
    "max_poll_interval": 45.0,
    "unreachable_timeout": 600.0,
    "human_input": True,
    "seen_alive": True,
}
"""As a triggerer of the first release reads them: names may be added with a default, none may go or change."""

TRIGGERS = [
    each
    for _, each in inspect.getmembers(triggers, inspect.isclass)
    if issubclass(each, BaseTrigger) and each.__module__ == triggers.__name__
]


@cache
def loaded() -> dict[str, set[str]]:
    command = [sys.executable, "-c", PROBE, *(f"{OURS}.{module}" for module in PROBED)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    lists = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    return {name.removeprefix(f"{OURS}."): set(rest) for name, *rest in lists}


@pytest.mark.xdist_group("imports")
@pytest.mark.parametrize("module", PROBED[:-1])
def test_a_dag_file_loads_nothing_that_is_slow_and_nothing_that_only_a_worker_needs(module: str) -> None:
    names = loaded()[module]
    assert f"{OURS}.{module}" in names
    assert not {name.partition(".")[0] for name in names} & FORBIDDEN
    assert not names & {f"{OURS}.{name}" for name in LATE}


@pytest.mark.xdist_group("imports")
def test_a_process_that_loads_plugins_loads_no_page() -> None:
    names = loaded()[PROBED[-1]]
    ours = {name.removeprefix(f"{OURS}.") for name in names if name.startswith(f"{OURS}.")}
    assert ours <= {
        "in_airflow",
        "in_airflow.api_server",
        "in_airflow.api_server.plugin",
        "in_airflow.compat",
        "in_airflow.link",
    }
    assert "in_airflow.api_server.plugin" in ours
    assert not {name.partition(".")[0] for name in names} & {"fastapi", "jinja2", "markdown_it", "requests", "aiohttp"}


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("operators", "CrewKickoffOperator"),
        ("sensors", "CrewStatusSensor"),
        ("hooks", "CrewHook"),
        ("hooks", "AsyncCrewHook"),
        ("triggers", "CrewStatusTrigger"),
    ],
)
def test_what_users_import_stays_where_it_is(module: str, name: str) -> None:
    assert inspect.isclass(getattr(import_module(f"{OURS}.{module}"), name))


def test_the_class_path_and_the_arguments_of_the_trigger_are_frozen() -> None:
    path, arguments = CrewStatusTrigger(**ARGUMENTS).serialize()
    assert path == FROZEN
    assert arguments.items() >= ARGUMENTS.items()


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda each: each.__name__)
def test_what_a_trigger_serialises_is_json_scalars_and_all_that_it_takes(trigger: type[BaseTrigger]) -> None:
    _, arguments = trigger(kickoff_id="4f1c").serialize()  # type: ignore[call-arg]
    assert all(value is None or isinstance(value, str | int | float | bool) for value in arguments.values())
    assert {*arguments, "unknown"} == {*inspect.signature(trigger).parameters, "unknown"}
