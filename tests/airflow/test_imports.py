"""What a Dag file loads, what it may import, and what Airflow is told and given to keep."""

import inspect
import json
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.triggers.base import BaseTrigger

from airflow_provider_crewai import triggers
from airflow_provider_crewai.provider_info import get_provider_info
from airflow_provider_crewai.triggers import CrewStatusTrigger

FORBIDDEN = ("requests", "urllib3", "aiohttp", "yarl", "pydantic", "fsspec", "starlette", "uvicorn", "crewai")
"""None of these may be loaded by an import of ours: a Dag file is parsed again and again."""

PROBE = """
import importlib, json, sys
import airflow.sdk
from airflow.sdk import DAG, BaseOperator, BaseSensorOperator  # `airflow.sdk` alone is lazy
before = set(sys.modules)
importlib.import_module(sys.argv[1])
print(json.dumps(sorted(set(sys.modules) - before)))
"""

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


def loaded_by(module: str) -> set[str]:
    command = [sys.executable, "-c", PROBE, module]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def listed_modules() -> list[str]:
    info = get_provider_info()
    kinds = ("hooks", "operators", "sensors", "triggers", "notifications")
    return [module for kind in kinds for item in info.get(kind, []) for module in _modules(item)]


def _modules(item: Mapping[str, list[str]] | str) -> list[str]:
    return [item.rpartition(".")[0]] if isinstance(item, str) else item["python-modules"]


@pytest.mark.parametrize("module", ["airflow_provider_crewai.operators", "airflow_provider_crewai.sensors"])
def test_a_dag_file_loads_no_http_library_and_nothing_else_that_is_slow(module: str) -> None:
    tops = {name.partition(".")[0] for name in loaded_by(module)}
    assert module.partition(".")[0] in tops
    assert not tops & set(FORBIDDEN)


@pytest.mark.parametrize("module", ["airflow_provider_crewai.operators", "airflow_provider_crewai.sensors"])
def test_a_dag_file_loads_neither_the_shells_nor_the_triggers_nor_the_server(module: str) -> None:
    loaded = loaded_by(module)
    late = {"client.sync", "client.aio", "triggers", "server", "connection_form"}
    assert not loaded & {f"airflow_provider_crewai.{name}" for name in late}


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
    assert inspect.isclass(getattr(import_module(f"airflow_provider_crewai.{module}"), name))


def test_airflow_accepts_the_provider_info() -> None:
    schema = json.loads((Path(airflow.__path__[0]) / "provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), schema)


def test_airflow_finds_the_provider_info_by_its_entry_point() -> None:
    found = [each for each in entry_points(group="apache_airflow_provider") if "crewai" in each.value]
    assert [each.load() for each in found] == [get_provider_info]


@pytest.mark.parametrize("module", listed_modules())
def test_each_module_that_the_provider_info_lists_can_be_imported(module: str) -> None:
    assert import_module(module)


@pytest.mark.parametrize(
    "connection", get_provider_info()["connection-types"], ids=lambda each: each["connection-type"]
)
def test_the_hook_of_the_connection_type_is_there_and_says_the_same(connection: Mapping[str, str]) -> None:
    module, _, name = connection["hook-class-name"].rpartition(".")
    hook = getattr(import_module(module), name)
    assert (hook.conn_type, hook.hook_name) == (connection["connection-type"], connection["hook-name"])


def test_the_class_path_and_the_arguments_of_the_trigger_are_frozen() -> None:
    path, arguments = CrewStatusTrigger(**ARGUMENTS).serialize()
    assert path == FROZEN
    assert arguments.items() >= ARGUMENTS.items()


def test_a_trigger_is_made_again_from_what_it_serialised() -> None:
    path, arguments = CrewStatusTrigger(**ARGUMENTS).serialize()
    module, _, name = path.rpartition(".")
    again = getattr(import_module(module), name)(**json.loads(json.dumps(arguments)))
    assert again.serialize() == (path, arguments)


def test_a_trigger_of_an_older_release_knew_only_the_run() -> None:
    _, arguments = CrewStatusTrigger(kickoff_id="4f1c").serialize()
    assert (arguments["deadline"], arguments["human_input"], arguments["seen_alive"]) == (None, False, False)


@pytest.mark.parametrize("trigger", TRIGGERS, ids=lambda each: each.__name__)
def test_what_a_trigger_serialises_is_json_scalars_and_all_that_it_takes(trigger: type[BaseTrigger]) -> None:
    _, arguments = trigger(kickoff_id="4f1c").serialize()  # type: ignore[call-arg]
    assert all(value is None or isinstance(value, str | int | float | bool) for value in arguments.values())
    assert set(arguments) == set(inspect.signature(trigger).parameters)
