"""The page's HTML and static files, and the headers that every answer to a browser carries.

Everything that a crew writes counts as hostile. The templates escape every value, the Content-Security-Policy runs
no script but ours, and our script never makes HTML from a string.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

from airflow_provider_crewai.server.beginnings import beginning, title
from airflow_provider_crewai.server.crew_process.run_states import FINAL
from airflow_provider_crewai.server.crew_process.storable import utf8
from airflow_provider_crewai.server.page import filters
from airflow_provider_crewai.server.page.sessions import door_of, form_key
from airflow_provider_crewai.wire import times

SHOWN = 20_000
"""Characters of a text that the page shows. A link leads to the whole text."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_HERE = Path(__file__).parent
_STATIC = ("page.css", "page.js", "icon.svg")


class Renderer:
    """Makes answers from the templates."""

    def __init__(self) -> None:
        self._templates = _environment()

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
    return FileResponse(_HERE / "static" / name, headers=HEADERS)


def icon(_: Request) -> Response:
    """Answer with the icon. Browsers ask for /favicon.ico where they show plain text."""
    return FileResponse(_HERE / "static" / "icon.svg", headers=HEADERS)


def address(kickoff_id: str) -> str:
    """Return the path of a run, without the door."""
    return f"/runs/{quote(kickoff_id, safe='')}"


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=filters.visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    of_times = {"ago": times.ago, "duration": times.duration, "moment": times.moment}
    of_texts = {"line": filters.line, "size": filters.size, "beginning": beginning, "title": title}
    of_runs = {"output": filters.output, "usage": filters.usage, "address": address}
    environment.filters |= of_times | of_texts | of_runs
    environment.globals |= {"STATES": filters.STATES, "FINAL": FINAL, "SHOWN": SHOWN}
    return environment
