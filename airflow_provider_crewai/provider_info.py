"""What Airflow learns about this provider through the entry point `apache_airflow_provider`."""

from __future__ import annotations

from typing import Any

from airflow_provider_crewai import __version__
from airflow_provider_crewai.in_airflow.config import SECTION, section
from airflow_provider_crewai.in_airflow.connection_form import conn_fields, ui_field_behaviour


def get_provider_info() -> dict[str, Any]:
    """Return the provider's name, version, connection type and modules."""
    integration = "CrewAI"
    package = "airflow_provider_crewai"
    return {
        "package-name": "airflow-provider-crewai",
        "name": integration,
        "description": "Run CrewAI crews as first-class Airflow tasks.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": integration, "external-doc-url": "https://docs.crewai.com/", "tags": ["ai"]}
        ],
        "connection-types": [
            {
                "connection-type": "crewai",
                "hook-class-name": f"{package}.hooks.CrewHook",
                "hook-name": integration,
                "conn-fields": conn_fields(),
                "ui-field-behaviour": ui_field_behaviour(),
            }
        ],
        "cli": [f"{package}.cli.airflow_commands.commands"],
        "config": {SECTION: section()},
        "hooks": [{"integration-name": integration, "python-modules": [f"{package}.hooks"]}],
        "operators": [{"integration-name": integration, "python-modules": [f"{package}.operators"]}],
        "sensors": [{"integration-name": integration, "python-modules": [f"{package}.sensors"]}],
        "triggers": [{"integration-name": integration, "python-modules": [f"{package}.triggers"]}],
        "extra-links": [f"{package}.in_airflow.link.CrewRunLink"],
        "plugins": [{"name": "crewai", "plugin-class": f"{package}.in_airflow.api_server.plugin.CrewRunPages"}],
        "task-decorators": [
            {"name": "crew", "class-name": f"{package}.decorators.crew_task"},
            {"name": "crew_batch", "class-name": f"{package}.decorators.crew_batch_task"},
        ],
    }
