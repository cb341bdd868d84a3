"""The gate of the page: lets a browser with a session through, and shows the login to any other."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from urllib.parse import quote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from airflow_provider_crewai.run_page.rendering import HEADERS
from airflow_provider_crewai.server.page.forms import MAX_FORM, MAX_LOGIN, PageRequest, read_form
from airflow_provider_crewai.server.page.responses import Templates
from airflow_provider_crewai.server.page.sessions import Sessions, is_form_key, is_from_here

Handler = Callable[[PageRequest], Response]
Endpoint = Callable[[Request], Awaitable[Response]]

_ANY_DOOR = re.compile(r"/at/[^/]*")


class Gate:
    """Checks each request before a handler sees it.

    :param sessions: the sessions of logged-in browsers.
    :param templates: makes the login and error pages.
    :param token_hint: a sentence that says where the token is.
    :param prefix: the path at which the page is mounted, empty for the root.
    """

    def __init__(self, sessions: Sessions, templates: Templates, token_hint: str, prefix: str = "") -> None:
        self._prefix = prefix
        self._sessions = sessions
        self._templates = templates
        self._token_hint = token_hint

    def private(self, handler: Handler) -> Endpoint:
        """Wrap a handler for logged-in browsers alone. It runs on a worker thread, and may block."""

        async def admitted(request: Request) -> Response:
            session = await run_in_threadpool(self._sessions.session, request)
            if session is None:
                return self._login(request, next_page=None if request.method in ("GET", "HEAD") else "/")
            asked = PageRequest(request, session, await read_form(request, MAX_FORM))
            if request.method == "POST" and not is_form_key(asked.said("key"), session):
                raise HTTPException(403, "This form is from an earlier session. Go back, reload, and send it again.")
            return await run_in_threadpool(handler, asked)

        return self._guarded(admitted)

    def streamed(self, endpoint: Callable[..., Awaitable[Response]], *names: str) -> Endpoint:
        """Wrap an endpoint that answers for long, and must not hold a worker thread meanwhile.

        :param names: the parameters of the path that the endpoint takes after the request.
        """

        async def admitted(request: Request) -> Response:
            if await run_in_threadpool(self._sessions.session, request) is None:
                raise HTTPException(401, "You are logged out.")
            return await endpoint(request, *(request.path_params[name] for name in names))

        return self._guarded(admitted)

    def public(self, handler: Handler) -> Endpoint:
        """Wrap a handler that anybody on this machine may call."""

        async def admitted(request: Request) -> Response:
            return await run_in_threadpool(handler, PageRequest(request, "", await read_form(request, MAX_LOGIN)))

        return self._guarded(admitted)

    def log_in_by_ticket(self, asked: PageRequest) -> Response:
        """Answer `GET /login`: with a good ticket log the browser in, else show the login.

        Our script takes a browser with a live session on to the page that the link names, instead of the login.
        """
        query = asked.request.query_params
        ticket, next_page = query.get("ticket"), _inner_path(query.get("next", "/"))
        if ticket is None or asked.request.method == "HEAD":
            return self._login(asked.request, next_page=next_page)
        if not self._sessions.redeem(ticket):
            return self._login(asked.request, "That link has been used, or is older than ten minutes.", next_page)
        return self._logged_in(next_page)

    def log_in_by_token(self, asked: PageRequest) -> Response:
        """Answer the login's form."""
        next_page = _inner_path(asked.said("next"))
        if not self._sessions.knows(asked.said("token")):
            return self._login(asked.request, "That is not the token.", next_page)
        return self._logged_in(next_page)

    def log_out(self, asked: PageRequest) -> Response:
        """End the browser's session."""
        response = RedirectResponse(self._prefix + "/login", 303)
        self._sessions.close(asked.session, response)
        return response

    def _logged_in(self, next_page: str) -> Response:
        response = Response(status_code=303)
        response.headers["Location"] = quote(self._sessions.open(response) + next_page, safe="/%")
        return response

    def _login(self, request: Request, problem: str | None = None, next_page: str | None = None) -> Response:
        # A link on another site brings no SameSite=Strict cookie. So the page asks once more by itself, as our own.
        is_foreign = request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"
        asked_for = _inner_path(request.url.path.removeprefix(self._prefix))
        shown = {"problem": problem, "hint": self._token_hint, "next": next_page or asked_for, "prefix": self._prefix}
        again = request.url.path if is_foreign and not problem else None
        response = self._templates.html("login.html", 401, request, again=again, **shown)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                _check_sender(request)
                response = await endpoint(request)
            except HTTPException as error:
                response = self._templates.html("error.html", error.status_code, request, problem=error.detail)
            response.headers.update(HEADERS)
            return response

        return guarded


def _check_sender(request: Request) -> None:
    if request.method == "POST" and not is_from_here(request):
        raise HTTPException(403, "Another site sent this form, so the server ignored it.")


def _inner_path(said: str) -> str:
    """Return a path within the page, without its door, whatever a browser said: never another host."""
    try:
        path = urlsplit(said).path
    except ValueError:
        path = ""
    return "/" + _ANY_DOOR.sub("", path).lstrip("/\\")
