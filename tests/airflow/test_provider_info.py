"""What Airflow finds out about this provider by itself."""

from __future__ import annotations

import json
from importlib import import_module, metadata, resources
from typing import Any

import jsonschema
import pytest
from airflow.configuration import conf
from airflow.providers_manager import ProvidersManager

from airflow_provider_crewai import __version__
from airflow_provider_crewai.client import fields
from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.in_airflow.connection_form import FIELDS, HIDDEN, LABELS, PLACEHOLDERS
from airflow_provider_crewai.provider_info import get_provider_info

PACKAGE = "airflow-provider-crewai"


@pytest.fixture(scope="module")
def manager() -> ProvidersManager:
    return ProvidersManager()


def test_the_provider_info_is_what_airflow_wants() -> None:
    schema = json.loads((resources.files("airflow") / "provider_info.schema.json").read_text())
    info = get_provider_info()
    jsonschema.validate(info, schema)
    assert {"extra-links", "task-decorators", "plugins", "config"} <= info.keys() & schema["properties"].keys()


def test_both_places_where_airflow_looks_for_plugins_name_the_same_one() -> None:
    (told,) = get_provider_info()["plugins"]
    named = {each.load() for each in metadata.entry_points(group="airflow.plugins", name=told["name"])}
    module, _, name = told["plugin-class"].rpartition(".")
    assert named == {getattr(import_module(module), name)}


def test_airflow_finds_the_provider_by_its_entry_point(manager: ProvidersManager) -> None:
    assert manager.providers[PACKAGE].version == __version__
    assert metadata.version(PACKAGE) == __version__


@pytest.mark.filterwarnings("ignore:ProvidersManager.hooks is deprecated")
def test_airflow_finds_the_hook_of_the_connection_type(manager: ProvidersManager) -> None:
    hook: Any = manager.hooks["crewai"]
    assert (hook.connection_type, hook.hook_name, hook.connection_id_attribute_name) == (
        "crewai",
        "CrewAI",
        "crewai_conn_id",
    )
    assert hook.hook_class_name == f"{CrewHook.__module__}.{CrewHook.__name__}"
    assert hook.connection_testable


def test_the_form_has_the_fields_that_settings_read(manager: ProvidersManager) -> None:
    offered = {name for name in manager.connection_form_widgets if "__crewai__" in name}
    assert offered == {f"extra__crewai__{name}" for name in FIELDS}


def test_the_form_calls_things_by_their_names_and_hides_what_is_not_used(manager: ProvidersManager) -> None:
    behaviour = manager.field_behaviours["crewai"]
    assert behaviour["relabeling"] == LABELS
    assert set(HIDDEN) <= set(behaviour["hidden_fields"])
    assert "port" not in behaviour["hidden_fields"]
    assert set(PLACEHOLDERS) <= set(behaviour["placeholders"])


@pytest.mark.parametrize("name", ["proxy", "secret_headers"])
def test_a_field_that_may_hold_a_secret_is_masked(name: str) -> None:
    assert FIELDS[name]["schema"]["format"] == "password"


def test_a_message_calls_a_field_what_the_form_calls_it() -> None:
    labels = {**LABELS, **{f"extra.{name}": field["label"] for name, field in FIELDS.items()}}
    assert {name: fields.LABELS[name] for name in labels} == labels
    assert set(fields.OPTIONS) == set(FIELDS)


def test_every_module_that_is_named_exists() -> None:
    info = get_provider_info()
    for part in ("hooks", "operators", "sensors", "triggers"):
        for entry in info[part]:
            for module in entry["python-modules"]:
                import_module(module)


def test_airflow_knows_the_option_and_its_default() -> None:
    assert conf.get("crewai", "ledger_path") == ""


def test_importing_the_provider_info_costs_a_scheduler_nothing() -> None:
    loaded = vars(import_module("airflow_provider_crewai.provider_info"))
    assert not {"requests", "aiohttp", "airflow"} & set(loaded)
