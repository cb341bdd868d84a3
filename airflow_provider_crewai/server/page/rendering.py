"""The page's HTML and static files, and the headers that every answer to a browser carries.

Everything that a crew writes counts as hostile. The templates escape every value, the Content-Security-Policy runs
no script but ours, and our script never makes HTML from a string.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from airflow_provider_crewai.run_page.rendering import ASSETS, HEADERS, environment
from airflow_provider_crewai.server.crew_process.run_states import FINAL
from airflow_provider_crewai.server.crew_process.storable import utf8
from airflow_provider_crewai.server.page import filters
from airflow_provider_crewai.server.page.sessions import door_of, form_key
from airflow_provider_crewai.wire.beginnings import title

_HERE = Path(__file__).parent
_STATIC = {name: ASSETS / name for name in ("page.css", "page.js", "icon.svg")} | {
    "door.js": _HERE / "static" / "door.js"
}


class Renderer:
    """Makes answers from the templates."""

    def __init__(self) -> None:
        self._templates = environment(_HERE / "templates")
        self._templates.filters |= {
            "title": title,
            "output": filters.output,
            "usage": filters.usage,
            "address": address,
        }
        self._templates.globals |= {"STATES": filters.STATES, "CLASSES": filters.CLASSES, "FINAL": FINAL}

    def html(self, template: str, status: int, request: Request, session: str | None = None, **shown: Any) -> Response:
        """Render a template.

        :param status: the HTTP status of the answer.
        :param request: the request to answer; its door begins all links.
        :param session: the browser's session, whose key goes into each form; None before the login.
        :param shown: the template's variables.
        """
        key = form_key(session) if session else None
        html = self._templates.get_template(template).render(shown, now=time.time(), key=key, door=door_of(request))
        return Response(utf8(html), status, media_type="text/html; charset=utf-8")


def static(request: Request) -> Response:
    """Answer with a file that belongs to the page, or with 404."""
    name = request.path_params["name"]
    if name not in _STATIC:
        return PlainTextResponse("Not Found", 404, HEADERS)
    return FileResponse(_STATIC[name], headers=HEADERS)


def icon(_: Request) -> Response:
    """Answer with the icon. Browsers ask for /favicon.ico where they show plain text."""
    return FileResponse(_STATIC["icon.svg"], headers=HEADERS)


def address(kickoff_id: str) -> str:
    """Return the path of a run, without the door."""
    return f"/runs/{quote(kickoff_id, safe='')}"
