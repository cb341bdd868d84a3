"""The link "Crew run" of a task: to the run's own page, on the platform, on the local server or inside Airflow."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_crewai.in_airflow.compat import HAS_RUN_PAGES, Context, conf, xcom_of

MOUNT = "/crewai"
"""The path below Airflow's base URL where the plugin serves run pages."""


class CrewRunLink(BaseOperatorLink):
    """Leads from a task in Airflow's UI to its run's page, in every state of the task.

    The task pushes the URL to XCom before it does anything else, and Airflow shows it from there.
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
        if page is None:
            return xcom_of(ti_key, self.xcom_key) or ""
        return page or _page_inside(ti_key) or ""


def run_page_url(context: Context) -> str | None:
    """Return the URL of the page inside Airflow that shows a task's run; it exists before the run does.

    :return: a URL below `[api] base_url`, or a path if that is not set. None below Airflow 3.1, which has no such page.
    """
    return _page_inside(context["ti"])


def run_page_path(dag_id: str, run_id: str, task_id: str, map_index: int | str) -> str:
    """Return the path of that page below Airflow's base URL."""
    parts = (dag_id, run_id, task_id, str(map_index))
    return "/".join((f"{MOUNT}/runs", *(quote(part, safe="") for part in parts)))


def _page_inside(ti: Any) -> str | None:
    if not HAS_RUN_PAGES:
        return None
    index = getattr(ti, "map_index", None)
    path = run_page_path(ti.dag_id, ti.run_id, ti.task_id, -1 if index is None else index)
    return (conf.get("api", "base_url", fallback=None) or "").rstrip("/") + path
