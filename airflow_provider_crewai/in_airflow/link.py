"""The link "Crew run" of a task: to the run's own page, on the platform or on the local server."""

from __future__ import annotations

from typing import Any

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_crewai.in_airflow.compat import xcom_of


class CrewRunLink(BaseOperatorLink):
    """Leads from a task in Airflow's UI to its run's page, in every state of the task.

    The task pushes the URL to XCom before it waits, and Airflow shows it from there.
    """

    name = "Crew run"

    @property
    def xcom_key(self) -> str:
        """Return the key of the XCom that holds the URL."""
        return "_link_CrewRunLink"

    def get_link(self, operator: Any, *, ti_key: Any) -> str:
        """Return the URL, or nothing if the run has no page.

        Airflow 3 asks the task that has just run; 2.11 asks in its webserver, which knows the XCom alone.
        """
        page: str | None = getattr(operator, "run_page", None)
        return xcom_of(ti_key, self.xcom_key) or "" if page is None else page
