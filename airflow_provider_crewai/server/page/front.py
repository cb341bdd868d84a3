"""The page at the root of a server of several projects. It leads to the page of each."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_provider_crewai.run_page.rendering import HEADERS
from airflow_provider_crewai.server.page.responses import Templates


def front(pages: Mapping[str, str]) -> Route:
    """Return the route of the page. It needs no token: it tells no more than the server's command line does.

    :param pages: the path of each project's page, by the project's name.
    """
    templates = Templates()

    def answer(request: Request) -> Response:
        response = templates.html("front.html", 200, request, pages=pages)
        response.headers.update(HEADERS)
        return response

    return Route("/", answer)
