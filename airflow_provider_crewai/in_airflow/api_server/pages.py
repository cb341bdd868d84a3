"""The routes of the pages: what a browser gets, and who gets nothing."""

from __future__ import annotations

import time
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import Depends, FastAPI, HTTPException, Request, status
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response

from airflow_provider_crewai.in_airflow.api_server.airflow_api import AirflowApi, TaskKey
from airflow_provider_crewai.in_airflow.api_server.batch_view import BatchPage, is_batch
from airflow_provider_crewai.in_airflow.api_server.deployment import Look, look
from airflow_provider_crewai.in_airflow.api_server.receiver import calls
from airflow_provider_crewai.in_airflow.api_server.task_view import Page, connection_of, kickoff_id_of
from airflow_provider_crewai.in_airflow.link import MOUNT, run_page_path
from airflow_provider_crewai.run_page.rendering import ASSETS, headers, run_html, whole_text
from airflow_provider_crewai.run_page.view import RunView

HEADERS = headers(framed_by="'self'")
"""Airflow shows the page in a frame, as a tab."""

EVERY = 5
"""Seconds after which an open page asks again, while the run goes on."""

pages = FastAPI(openapi_url=None, redirect_slashes=False)
pages.include_router(calls)


async def page_of(request: Request, dag_id: str, run_id: str, task_id: str, map_index: str) -> Page:
    """Return the page of a task instance, if Airflow shows that to who asks.

    :param map_index: a number; Airflow's tab leaves `{MAP_INDEX}` as it is where a task is not mapped.
    :raises HTTPException: it does not (401, 403), or there is no such task, or it runs no crew (404).
    """
    key = TaskKey(dag_id, run_id, task_id, int(map_index[:9]) if map_index.isdecimal() else -1)
    known = await AirflowApi(request.scope["airflow_app"], request.headers).known(key)
    conn_id = connection_of(known)
    if conn_id is None:
        raise HTTPException(status.HTTP_404_NOT_FOUND, "This task has not run yet, or it runs no crew.")
    home = request.scope.get("root_path", "").removesuffix(MOUNT)
    own = home + run_page_path(dag_id, run_id, task_id, key.map_index)
    if is_batch(known):
        return BatchPage(key, known, None, home, own)
    kickoff_id = kickoff_id_of(known)
    seen: Look | None = await look(conn_id, kickoff_id) if kickoff_id else None
    return Page(key, known, seen, home, own)


AskedPage = Annotated[Page, Depends(page_of)]
ONE = "/runs/{dag_id}/{run_id}/{task_id}/{map_index}"


@pages.get("/assets/{name}")
def asset(name: str) -> Response:
    """Answer with a file that belongs to the page. It tells nothing, so it is for everybody."""
    file = {file.name: file for file in ASSETS.iterdir()}.get(name)
    return FileResponse(file, headers=HEADERS) if file else PlainTextResponse("Not Found", 404, HEADERS)


@pages.get(ONE)
def run_page(page: AskedPage) -> Response:
    """Answer with the page. In one of the server's threads, since a large answer takes milliseconds to render."""
    view = page.view()
    html = run_html(
        view,
        assets=f"{page.home}{MOUNT}/assets",
        now=time.time(),
        refresh=page.own if view.is_live else None,
        every=EVERY,
        texts=f"{page.own}/text",
    )
    return Response(html.encode(errors="replace"), 200, HEADERS, "text/html; charset=utf-8")


@pages.get(ONE + "/text/{name}")
def text(page: AskedPage, name: str) -> Response:
    """Answer with a text in full."""
    view: RunView = page.view()
    try:
        return PlainTextResponse(whole_text(view, name).encode(errors="replace"), 200, HEADERS)
    except LookupError:
        return PlainTextResponse("There is no such text.", 404, HEADERS)


@pages.exception_handler(HTTPException)
def refused(request: Request, error: Any) -> Response:
    """Lead a browser that is not logged in to Airflow's login, and say in plain text what else keeps the page away."""
    if error.status_code == status.HTTP_401_UNAUTHORIZED and "text/html" in request.headers.get("accept", ""):
        home = request.scope.get("root_path", "").removesuffix(MOUNT)
        return RedirectResponse(f"{home}/api/v2/auth/login?next={quote(str(request.url), safe='')}")
    return PlainTextResponse(str(error.detail), error.status_code, HEADERS)
