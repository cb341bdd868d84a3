"""Brings the page of a task's run into Airflow's api-server. Other processes load this module and nothing below it."""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_crewai.in_airflow.compat import HAS_RUN_PAGES, HAS_TABS_OF_OWN
from airflow_provider_crewai.in_airflow.link import MOUNT

OPERATORS = [
    "CrewKickoffOperator",
    "CrewDecoratedOperator",
    "CrewStatusSensor",
    "CrewBatchOperator",
    "CrewBatchDecoratedOperator",
]
"""The tasks that have the tab."""


async def serve(scope: Any, receive: Any, send: Any) -> None:
    """Serve the pages. The first request loads them: all of Airflow's processes load plugins, and one serves pages."""
    from airflow_provider_crewai.in_airflow.api_server.pages import pages

    # Airflow's own app, which the pages ask: our app takes its place in the scope.
    await pages({**scope, "airflow_app": scope.get("app")}, receive, send)


class CrewRunPages(AirflowPlugin):
    """The pages, and a tab that shows them, where Airflow can show it on our tasks alone."""

    name = "crewai"
    fastapi_apps: list[Any] = (
        [{"app": serve, "url_prefix": MOUNT, "name": "Pages of crew runs"}] if HAS_RUN_PAGES else []
    )
    external_views: list[Any] = (
        [
            {
                "name": "Crew run",
                # Without a slash before it, so that it leads below Airflow's base URL, whatever path that has.
                "href": f"{MOUNT[1:]}/runs/{{DAG_ID}}/{{RUN_ID}}/{{TASK_ID}}/{{MAP_INDEX}}",
                "destination": "task_instance",
                "url_route": "crew_run",
                "applies_to": {"operator": OPERATORS},
            }
        ]
        if HAS_TABS_OF_OWN
        else []
    )
