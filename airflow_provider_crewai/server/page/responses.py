"""The answers of the page: its HTML, and its static files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from airflow_provider_crewai.run_page.rendering import ASSETS, HEADERS, environment
from airflow_provider_crewai.server.crew_process.storable import utf8
from airflow_provider_crewai.server.page.listing import FILTERS
from airflow_provider_crewai.server.page.sessions import door_of, form_key
from airflow_provider_crewai.server.page.views import STATES

_HERE = Path(__file__).parent
_STATIC = {file.name: file for folder in (ASSETS, _HERE / "static") for file in folder.iterdir()}


class Templates:
    """Makes answers from the templates."""

    def __init__(self) -> None:
        self._templates = environment(_HERE / "templates")
        self._templates.filters["address"] = address
        self._templates.globals |= {"OF_DATABASE": STATES, "FILTERS": FILTERS, "assets": "/page", "frame": "base.html"}

    def html(self, template: str, status: int, request: Request, session: str | None = None, **shown: Any) -> Response:
        """Render a template.

        :param status: the HTTP status of the answer.
        :param request: the request to answer; its door begins all links.
        :param session: the browser's session, whose key goes into each form; None before the login.
        :param shown: the template's variables.
        """
        of_all = {
            "problem": None,
            "now": time.time(),
            "key": form_key(session) if session else None,
            "door": door_of(request),
        }
        html = self._templates.get_template(template).render(of_all | shown)
        return Response(utf8(html), status, media_type="text/html; charset=utf-8")


def static(request: Request) -> Response:
    """Answer with a file that belongs to the page, or with 404."""
    file = _STATIC.get(request.path_params["name"])
    return FileResponse(file, headers=HEADERS) if file else PlainTextResponse("Not Found", 404, HEADERS)


def icon(_: Request) -> Response:
    """Answer with the icon. Browsers ask for /favicon.ico where they show plain text."""
    return FileResponse(_STATIC["icon.svg"], headers=HEADERS)


def address(kickoff_id: str) -> str:
    """Return the path of a run, without the door."""
    return f"/runs/{quote(kickoff_id, safe='')}"
