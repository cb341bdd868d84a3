"""The page of the server: the project, its runs, and what they ask, in plain HTML that needs no script.

What a crew writes is hostile until shown to be text. Templates escape everything, the Content-Security-Policy runs
nothing but our one script file, and that file never makes HTML from a string.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import jinja2
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from airflow_provider_crewai.server.beginnings import beginning, title, whole
from airflow_provider_crewai.server.launch import MissingInputs
from airflow_provider_crewai.server.page import filters
from airflow_provider_crewai.server.page.forms import (
    MAX_FORM,
    MAX_LOGIN,
    KickoffForm,
    PageRequest,
    answer_of,
    inputs_of,
    read_form,
)
from airflow_provider_crewai.server.page.sessions import DOOR, Sessions, door_of, is_from_here
from airflow_provider_crewai.server.project import Description, ProjectError
from airflow_provider_crewai.server.runs import FINAL, ListedRun, Runs, StoredQuestion, StoredRun
from airflow_provider_crewai.server.status import progress_of
from airflow_provider_crewai.wire import times
from airflow_provider_crewai.wire.model import JSON, JSONObject, Progress

SHOWN = 20_000
"""Characters of a text that stand on the page; all of it is behind a link."""

_TAIL = 16 * 1024
_WHOLE_LOG = 16 * 1024 * 1024
_LISTED, _MOST_LISTED = 50, 1000
_ANY_DOOR = re.compile(r"/at/[^/]*")
_HEADERS = {
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


class Backend(Protocol):
    """What the page needs beside the store of runs. It is called on worker threads, and may block."""

    def description(self) -> Description:
        """Describe the project.

        :raises ProjectError: it cannot be loaded; the message says why.
        """

    def kickoff(self, request: JSONObject) -> str:
        """Kick off a run by the body of a kickoff; returns its `kickoff_id`.

        :raises MissingInputs: an input is missing.
        :raises ProjectError: the project cannot be loaded.
        """

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run; False if it had ended."""

    def answer(self, question_id: str, feedback: str, *, approved: bool | None) -> bool:
        """Answer a question; False if it has an answer."""

    def log_tail(self, kickoff_id: str, length: int) -> str:
        """Return the end of a run's log, at most so many bytes; nothing if it has none."""


Handler = Callable[[PageRequest], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


class Page:
    """The page.

    :param runs: the store of all runs.
    :param backend: what describes the project and acts on runs.
    :param token: what a person shows to be let in; the API's bearer token.
    :param token_hint: a sentence that says where the token is.
    """

    def __init__(self, runs: Runs, backend: Backend, token: str, token_hint: str) -> None:
        self._runs = runs
        self._backend = backend
        self._access = Sessions(token, database=runs.path)
        self._token_hint = token_hint
        self._templates = _environment()

    def routes(self) -> list[BaseRoute]:
        """Return what to mount at the root of the server."""
        private = self._private_routes()
        return [
            Route("/page/{name}", _static),
            Route("/favicon.ico", _icon),
            Route("/login", self._public(self._log_in_by_ticket)),
            Route("/login", self._public(self._log_in_by_token), methods=["POST"]),
            # Here a browser with its cookie finds them, and at the root whoever is still to be let in.
            Mount(DOOR, routes=private),
            *private,
        ]

    def _private_routes(self) -> list[BaseRoute]:
        run = "/runs/{kickoff_id}"
        return [
            Route("/logout", self._private(self._log_out), methods=["POST"]),
            Route("/", self._private(self._home)),
            Route("/runs", self._private(self._kickoff), methods=["POST"]),
            Route(run, self._private(self._run)),
            Route(run + "/text/{what}", self._private(self._text)),
            Route(run + "/stop", self._private(self._stop), methods=["POST"]),
            Route("/questions/{question_id}", self._private(self._answer), methods=["POST"]),
        ]

    def ticket(self) -> str:
        """Make a link that logs one browser in, once, within ten minutes; returns path and query."""
        return f"/login?ticket={self._access.ticket()}"

    # ---- see ----------------------------------------------------------------------------------------

    def _home(self, asked: PageRequest) -> Response:
        return self._home_with(asked)

    def _home_with(self, asked: PageRequest, problem: str | None = None, status: int = 200) -> Response:
        described, broken = self._described()
        limit = _limit(asked.request.query_params.get("runs"))
        runs = self._runs.listed(limit + 1)
        form = KickoffForm(described, asked, self._inputs_of(asked.request.query_params.get("again")))
        shown = {"project": described, "broken": broken, "problem": problem, "form": form}
        listed = {
            "runs": [(run, self._progress(run)) for run in runs[:limit]],
            "tasks": _task_names(described),
            "limit": limit,
            "more": min(4 * limit, _MOST_LISTED) if len(runs) > limit else None,
        }
        return self._html("home.html", status, asked.request, asked.session, **shown, **listed)

    def _run(self, asked: PageRequest) -> Response:
        return self._run_with(asked, self._run_of(asked))

    def _run_with(self, asked: PageRequest, run: StoredRun, problem: str | None = None, status: int = 200) -> Response:
        questions = self._runs.questions(run.kickoff_id)
        is_open = run.state not in FINAL
        steps = self._runs.steps(run.kickoff_id)
        shown = {
            "run": run,
            "inputs": self._runs.inputs(run.kickoff_id),
            "is_open": is_open,
            "steps": steps,
            "progress": filters.progress(progress_of(run, steps)),
            "upcoming": self._tasks()[len(steps) :] if is_open else [],
            "question": _open_question(questions) if is_open else None,
            "answered": [each for each in questions if each.answered_at is not None],
            "log": self._backend.log_tail(run.kickoff_id, _TAIL),
        }
        return self._html("run.html", status, asked.request, asked.session, problem=problem, **shown)

    def _text(self, asked: PageRequest) -> Response:
        run, what = self._run_of(asked), asked.request.path_params["what"]
        kind, _, which = what.partition("-")
        sources: dict[str, Callable[[], JSON]] = {
            "result": lambda: run.answer.get("result"),
            "json": lambda: run.answer.get("result_json"),
            "failure": lambda: run.status,
            "inputs": lambda: self._runs.inputs(run.kickoff_id),
            "log": lambda: self._backend.log_tail(run.kickoff_id, _WHOLE_LOG),
            "step": lambda: filters.output(self._runs.steps(run.kickoff_id)[int(which)].output),
            "question": lambda: self._judged(which),
        }
        try:
            text = whole(sources[kind]())
        except (LookupError, ValueError):
            raise HTTPException(404, "There is no such text.") from None
        # Replaced, since a lone surrogate has no encoding.
        return PlainTextResponse(text.encode("utf-8", "replace"))

    # ---- act ----------------------------------------------------------------------------------------

    def _kickoff(self, asked: PageRequest) -> Response:
        try:
            kickoff_id = self._backend.kickoff({"inputs": inputs_of(asked)})
        except MissingInputs as error:
            return self._home_with(asked, str(error), 422)
        except HTTPException as error:
            return self._home_with(asked, error.detail, error.status_code)
        except ProjectError:
            return self._home_with(asked, "Nothing was kicked off, since the project cannot be loaded.", 503)
        return _see(asked.door + _address(kickoff_id))

    def _stop(self, asked: PageRequest) -> Response:
        run = self._run_of(asked)
        if self._backend.stop(run.kickoff_id):
            return _see(asked.door + _address(run.kickoff_id))
        return self._run_with(asked, self._run_of(asked), "The run had ended before it could be stopped.", 409)

    def _answer(self, asked: PageRequest) -> Response:
        question = self._runs.question(asked.request.path_params["question_id"])
        run = self._runs.get(question.kickoff_id) if question else None
        if not question or not run:
            raise HTTPException(404, "There is no such question.")
        feedback, approved = answer_of(asked)
        if self._backend.answer(question.question_id, feedback, approved=approved):
            return _see(asked.door + _address(run.kickoff_id))
        return self._run_with(
            asked,
            run,
            "This question has an answer already, and the first one counts; or the run has ended.",
            409,
        )

    # ---- be let in ----------------------------------------------------------------------------------

    def _log_in_by_ticket(self, asked: PageRequest) -> Response:
        ticket = asked.request.query_params.get("ticket")
        if ticket is None or asked.request.method == "HEAD":
            return self._login(asked.request, next_page="/")
        if not self._access.redeem(ticket):
            return self._login(asked.request, "That link has been used, or is older than ten minutes.", "/")
        return self._logged_in("/")

    def _log_in_by_token(self, asked: PageRequest) -> Response:
        next_page = _inner_path(asked.said("next"))
        if not self._access.knows(asked.said("token")):
            return self._login(asked.request, "That is not the token.", next_page)
        return self._logged_in(next_page)

    def _logged_in(self, next_page: str) -> Response:
        response = Response(status_code=303)
        response.headers["Location"] = quote(self._access.open(response) + next_page, safe="/%")
        return response

    def _log_out(self, asked: PageRequest) -> Response:
        response = _see("/login")
        self._access.close(asked.session, response)
        return response

    def _login(self, request: Request, problem: str | None = None, next_page: str | None = None) -> Response:
        # A link on another site brings no SameSite=Strict cookie. One from our own page does: it asks once more.
        strange = request.method == "GET" and request.headers.get("sec-fetch-site") == "cross-site"
        shown = {"problem": problem, "hint": self._token_hint, "next": next_page or _inner_path(request.url.path)}
        again = request.url.path if strange and not problem else None
        response = self._html("login.html", 401, request, None, again=again, **shown)
        response.headers["WWW-Authenticate"] = "Bearer"
        return response

    # ---- around each request ------------------------------------------------------------------------

    def _private(self, handler: Handler) -> Endpoint:
        async def admitted(request: Request) -> Response:
            session = self._access.session(request)
            if session is None:
                return self._login(request, next_page=None if request.method in ("GET", "HEAD") else "/")
            asked = PageRequest(request, session, await read_form(request, MAX_FORM))
            if request.method == "POST" and not self._access.is_form_key(asked.said("key"), session):
                raise HTTPException(
                    403, "This form is not from the current session. Go back, reload, and send it again."
                )
            return await run_in_threadpool(handler, asked)

        return self._guarded(admitted)

    def _public(self, handler: Handler) -> Endpoint:
        async def admitted(request: Request) -> Response:
            return await run_in_threadpool(handler, PageRequest(request, "", await read_form(request, MAX_LOGIN)))

        return self._guarded(admitted)

    def _guarded(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                _check_sender(request)
                response = await endpoint(request)
            except HTTPException as error:
                response = self._html("error.html", error.status_code, request, None, problem=error.detail)
            response.headers.update(_HEADERS)
            return response

        return guarded

    def _html(self, template: str, status: int, request: Request, session: str | None, **shown: Any) -> Response:
        key = self._access.form_key(session) if session else None
        html = self._templates.get_template(template).render(shown, now=time.time(), key=key, door=door_of(request))
        return Response(html.encode("utf-8", "replace"), status, media_type="text/html; charset=utf-8")

    # ---- look up ------------------------------------------------------------------------------------

    def _described(self) -> tuple[Description | None, str | None]:
        try:
            return self._backend.description(), None
        except ProjectError as error:
            return None, str(error)

    def _tasks(self) -> list[str]:
        described, _ = self._described()
        return _task_names(described)

    def _progress(self, listed: ListedRun) -> Progress | None:
        # Of a run that has ended, or has not begun, nobody wants to know.
        run = None if listed.state in (*FINAL, "PENDING") else self._runs.get(listed.kickoff_id)
        return filters.progress(progress_of(run, self._runs.steps(run.kickoff_id, outputs=False))) if run else None

    def _run_of(self, asked: PageRequest) -> StoredRun:
        run = self._runs.get(asked.request.path_params["kickoff_id"])
        if run is None:
            raise HTTPException(404, "There is no such run. It may have been forgotten, as old ones are.")
        return run

    def _inputs_of(self, kickoff_id: str | None) -> JSONObject:
        inputs = self._runs.inputs(kickoff_id) if kickoff_id else None
        return inputs if isinstance(inputs, dict) else {}

    def _judged(self, question_id: str) -> str:
        question = self._runs.question(question_id)
        if question is None:
            raise LookupError
        return question.output


def _task_names(project: Description | None) -> list[str]:
    # A flow's methods are not known to come one after the other, or at all.
    return [task["name"] or "…" for task in project.tasks] if project and project.kind == "crew" else []


def _check_sender(request: Request) -> None:
    if request.method == "POST" and not is_from_here(request):
        raise HTTPException(403, "This form was sent by another site, so nothing was done.")


# ---- answers --------------------------------------------------------------------------------------


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ("page.css", "page.js", "icon.svg"):
        return PlainTextResponse("Not Found", 404, _HEADERS)
    return FileResponse(_HERE / "static" / name, headers=_HEADERS)


def _icon(_: Request) -> Response:
    # Browsers ask for it by this name where they show plain text.
    return FileResponse(_HERE / "static" / "icon.svg", headers=_HEADERS)


def _see(address: str) -> Response:
    return RedirectResponse(address, 303)


def _address(kickoff_id: str) -> str:
    return f"/runs/{quote(kickoff_id, safe='')}"


def _inner_path(said: str) -> str:
    """Return the path within the page: nothing but a path on this server, whatever is said, and without a door."""
    try:
        path = urlsplit(said).path
    except ValueError:
        path = ""
    return "/" + _ANY_DOOR.sub("", path).lstrip("/\\")


def _limit(said: str | None) -> int:
    if not said or not said.isdecimal():
        return _LISTED
    # Python reads no number of thousands of digits.
    return min(int(said[:9]), _MOST_LISTED) or _LISTED


def _open_question(questions: Iterable[StoredQuestion]) -> StoredQuestion | None:
    return next((each for each in reversed([*questions]) if each.answered_at is None), None)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=filters.visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": times.ago,
        "duration": times.duration,
        "line": filters.line,
        "moment": times.moment,
        "output": filters.output,
        "size": filters.size,
        "beginning": beginning,
        "title": title,
        "usage": filters.usage,
        "address": _address,
    }
    environment.globals |= {"STATES": filters.STATES, "FINAL": FINAL, "SHOWN": SHOWN}
    return environment
