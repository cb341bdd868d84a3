"""The routes of the page: what a person sees there, and what a person does."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Protocol

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from airflow_provider_crewai.run_page.outputs import SHOWN
from airflow_provider_crewai.run_page.rendering import run_variables, whole_text
from airflow_provider_crewai.run_page.view import RunView
from airflow_provider_crewai.server.crew_process.events import utc
from airflow_provider_crewai.server.crew_process.run_states import FINAL, UNDER_WAY
from airflow_provider_crewai.server.crew_process.storable import utf8
from airflow_provider_crewai.server.event_stream import EventStreams
from airflow_provider_crewai.server.launch import MissingInputs
from airflow_provider_crewai.server.openapi import ENDPOINTS
from airflow_provider_crewai.server.page.comparison import inputs, measures, outputs
from airflow_provider_crewai.server.page.differences import Sides, sides
from airflow_provider_crewai.server.page.forms import KickoffForm, PageRequest, answer_of, inputs_of
from airflow_provider_crewai.server.page.gate import Gate
from airflow_provider_crewai.server.page.listing import Listing, Wanted
from airflow_provider_crewai.server.page.responses import Templates, address, icon, static
from airflow_provider_crewai.server.page.sessions import DOOR, Sessions
from airflow_provider_crewai.server.page.views import progress, run_view
from airflow_provider_crewai.server.project import Description, ProjectError, StillLoading
from airflow_provider_crewai.server.records import StoredEvent, StoredQuestion, StoredRun, open_questions
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.wire.model import JSONObject, Progress
from airflow_provider_crewai.wire.secret_names import masked

_TAIL = 16 * 1024
_WHOLE_LOG = 16 * 1024 * 1024
_EVERY = 3
"""Seconds after which a run that says nothing is looked at: times go on, and so does its log."""


class Backend(Protocol):
    """What the page needs besides the store of runs. The page calls it on worker threads, so it may block."""

    def description(self) -> Description:
        """Describe the project.

        :raises ProjectError: the project cannot be loaded; the message says why.
        """

    def kickoff(self, request: JSONObject) -> str:
        """Kick off a run.

        :param request: the body of a kickoff.
        :returns: its `kickoff_id`.
        :raises MissingInputs: an input is missing.
        :raises ProjectError: the project cannot be loaded.
        """

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run. Returns False if it had ended already."""

    def answer(self, question_id: str, feedback: str, *, approved: bool | None) -> bool:
        """Answer a question. Returns False if it has an answer already."""

    def log_tail(self, kickoff_id: str, length: int) -> str:
        """Return at most the last `length` bytes of a run's log; an empty text if there is no log."""


def assets() -> list[BaseRoute]:
    """Return the routes of what all pages need. They are always at the root of the server."""
    return [Route("/page/{name}", static), Route("/favicon.ico", icon)]


class Page:
    """The page.

    :param runs: the store of all runs.
    :param backend: describes the project and acts on runs.
    :param token: lets a person in; the same bearer token as the API's.
    :param token_hint: a sentence that says where the token is.
    :param prefix: the path at which the page is mounted, empty for the root.
    """

    def __init__(self, runs: Runs, backend: Backend, token: str, token_hint: str, *, prefix: str = "") -> None:
        self._prefix = prefix
        self._runs = runs
        self._backend = backend
        self._streams = EventStreams(runs)
        self._listing = Listing(runs.path)
        self._templates = Templates()
        self._sessions = Sessions(token, database=runs.path, prefix=prefix)
        self._gate = Gate(self._sessions, self._templates, token_hint, prefix)

    def ticket(self) -> str:
        """Make a link that logs one browser in, once, within ten minutes. Returns its path and query."""
        return f"{self._prefix}/login?ticket={self._sessions.ticket()}"

    def routes(self) -> list[BaseRoute]:
        """Return the routes to mount at the root of the server."""
        private = self._private_routes()
        return [
            *assets(),
            Route("/login", self._gate.public(self._gate.log_in_by_ticket)),
            Route("/login", self._gate.public(self._gate.log_in_by_token), methods=["POST"]),
            # A browser with a session finds the pages below its door. At the root they show the login.
            Mount(DOOR, routes=private),
            *private,
        ]

    def _private_routes(self) -> list[BaseRoute]:
        run, private = "/runs/{kickoff_id}", self._gate.private
        return [
            Route("/logout", private(self._gate.log_out), methods=["POST"]),
            Route("/", private(self._home)),
            Route("/compare", private(self._compare)),
            Route("/runs", private(self._kickoff), methods=["POST"]),
            Route(run, private(self._run)),
            Route("/events", self._gate.streamed(self._changes)),
            Route(run + "/events", self._gate.streamed(self._streams.answer, "kickoff_id")),
            Route(run + "/text/{what}", private(self._text)),
            Route(run + "/stop", private(self._stop), methods=["POST"]),
            Route("/docs", private(self._docs)),
            Route("/questions/{question_id}", private(self._answer), methods=["POST"]),
        ]

    # ---- see ----------------------------------------------------------------------------------------

    def _home(self, asked: PageRequest) -> Response:
        return self._home_with(asked)

    def _home_with(self, asked: PageRequest, problem: str | None = None, status: int = 200) -> Response:
        described, broken = self._described()
        again = asked.request.query_params.get("again")
        form = KickoffForm(described, asked, self._inputs_of(again))
        shown: dict[str, Any] = {"project": described, "broken": broken, "problem": problem, "form": form}
        shown |= {"again": again, "last": self._listing.newest(), "events": asked.door + "/events"}
        listed = self._listed(asked) | {"tasks": _task_names(described)}
        return self._templates.html("home.html", status, asked.request, asked.session, **shown, **listed)

    async def _changes(self, request: Request) -> Response:
        """Tell that something has changed in the list since now. The page itself shows what that is."""
        begun = await run_in_threadpool(self._listing.version)

        def news(after: int) -> tuple[bool, list[StoredEvent]]:
            number = self._listing.version()
            is_new = number != (after or begun)
            return False, [StoredEvent(number, "change", utc(datetime.now(UTC)), {})] if is_new else []

        return self._streams.follow(request, news)

    def _listed(self, asked: PageRequest) -> dict[str, Any]:
        wanted = Wanted.of(asked.request.query_params)
        counts = self._listing.counts(wanted.sought)
        sections = self._listing.sections(wanted, counts)
        at_work = [run for section in sections for run in section.runs if run.state in UNDER_WAY]
        return {
            "wanted": wanted,
            "counts": counts,
            "sections": sections,
            "pages": self._listing.pages(wanted, counts),
            "progress": {run.kickoff_id: self._progress(run.kickoff_id) for run in at_work},
        }

    def _run(self, asked: PageRequest) -> Response:
        return self._run_with(asked, self._run_of(asked))

    def _run_with(self, asked: PageRequest, run: StoredRun, problem: str | None = None, status: int = 200) -> Response:
        view, here = self._view(run), asked.door + address(run.kickoff_id)
        shown = {
            "kickoff_id": run.kickoff_id,
            "problem": problem,
            "address": here,
            "log": self._backend.log_tail(run.kickoff_id, _TAIL),
            "events": here + "/events",
            "before": self._listing.before(run.kickoff_id),
        }
        refresh = here if view.is_live else None
        shown |= run_variables(view, refresh=refresh, every=_EVERY, texts=here + "/text") | self._questions_of(run)
        return self._templates.html("run.html", status, asked.request, asked.session, **shown)

    def _compare(self, asked: PageRequest) -> Response:
        runs = [self._run_named(kickoff_id) for kickoff_id in asked.request.query_params.getlist("run")[:3]]
        if len(runs) != 2:  # noqa: PLR2004 - two are compared
            raise HTTPException(422, "Tick two runs in the list, neither more nor fewer, and compare them.")
        first, second = map(self._view, runs)
        shown = {part.__name__: part(first, second) for part in (measures, inputs, outputs)}
        return self._templates.html(
            "compare.html", 200, asked.request, asked.session, first=first, second=second, **shown
        )

    def _view(self, run: StoredRun) -> RunView:
        steps = self._runs.steps(run.kickoff_id)
        upcoming = _task_names(self._described()[0])[len(steps) :] if run.state not in FINAL else []
        origin, inputs = self._listing.origin(run.kickoff_id), masked(self._runs.inputs(run.kickoff_id))
        return run_view(run, inputs, steps, upcoming, origin, time.time())

    def _questions_of(self, run: StoredRun) -> dict[str, Any]:
        questions = self._runs.questions(run.kickoff_id)
        asked = open_questions(questions)[::-1] if run.state not in FINAL else []
        answered = [each for each in questions if each.answered_at is not None]
        return {"asked": asked, "answered": answered, "changed": _changed(asked, answered)}

    def _text(self, asked: PageRequest) -> Response:
        run, what = self._run_of(asked), asked.request.path_params["what"]
        kind, _, which = what.partition("-")
        try:
            text = self._text_of(run, what) if kind != "question" else self._output_in_question(which)
        except LookupError:
            raise HTTPException(404, "There is no such text.") from None
        return PlainTextResponse(utf8(text))

    def _text_of(self, run: StoredRun, what: str) -> str:
        if what == "log":
            return self._backend.log_tail(run.kickoff_id, _WHOLE_LOG)
        return whole_text(self._view(run), what)

    def _docs(self, asked: PageRequest) -> Response:
        url = asked.request.url
        shown = {"url": f"{url.scheme}://{url.netloc}{self._prefix}", "endpoints": ENDPOINTS}
        return self._templates.html("docs.html", 200, asked.request, asked.session, **shown)

    # ---- act ----------------------------------------------------------------------------------------

    def _kickoff(self, asked: PageRequest) -> Response:
        try:
            kickoff_id = self._backend.kickoff({"inputs": inputs_of(asked)})
        except MissingInputs as error:
            return self._home_with(asked, str(error), 422)
        except HTTPException as error:
            return self._home_with(asked, error.detail, error.status_code)
        except StillLoading as error:
            return self._home_with(asked, f"{error}.", 503)
        except ProjectError:
            return self._home_with(asked, "No run was started, because the project cannot be loaded.", 503)
        return _redirect(asked, kickoff_id)

    def _stop(self, asked: PageRequest) -> Response:
        run = self._run_of(asked)
        if self._backend.stop(run.kickoff_id):
            return _redirect(asked, run.kickoff_id)
        return self._run_with(asked, self._run_of(asked), "The run ended before it could be stopped.", 409)

    def _answer(self, asked: PageRequest) -> Response:
        question = self._runs.question(asked.request.path_params["question_id"])
        run = self._runs.get(question.kickoff_id) if question else None
        if not question or not run:
            raise HTTPException(404, "There is no such question.")
        feedback, approved = answer_of(asked)
        if self._backend.answer(question.question_id, feedback, approved=approved):
            return _redirect(asked, run.kickoff_id)
        late = "This question has an answer already, and the first one counts. Or its run has ended."
        return self._run_with(asked, run, f"Your answer came too late. {late}", 409)

    # ---- look up ------------------------------------------------------------------------------------

    def _described(self) -> tuple[Description | None, str | None]:
        """Return what the project is, or why it cannot be loaded; neither while it is still being loaded."""
        try:
            return self._backend.description(), None
        except StillLoading:
            return None, None
        except ProjectError as error:
            return None, str(error)

    def _progress(self, kickoff_id: str) -> Progress | None:
        run = self._runs.get(kickoff_id)
        return progress(run, self._runs.steps(kickoff_id, outputs=False)) if run else None

    def _run_of(self, asked: PageRequest) -> StoredRun:
        return self._run_named(asked.request.path_params["kickoff_id"])

    def _run_named(self, kickoff_id: str) -> StoredRun:
        run = self._runs.get(kickoff_id)
        if run is None:
            raise HTTPException(404, "There is no such run. The server deletes old runs, so it may be gone.")
        return run

    def _inputs_of(self, kickoff_id: str | None) -> JSONObject:
        inputs = self._runs.inputs(kickoff_id) if kickoff_id else None
        return inputs if isinstance(inputs, dict) else {}

    def _output_in_question(self, question_id: str) -> str:
        question = self._runs.question(question_id)
        if question is None:
            raise LookupError
        return question.output


def _changed(asked: Sequence[StoredQuestion], answered: Sequence[StoredQuestion]) -> Sides | None:
    """Return what changed since the last answer in what a human is to judge, if there is such an answer."""
    if not asked or not asked[0].output or not answered or not answered[-1].output:
        return None
    made = sides(answered[-1].output[:SHOWN], asked[0].output[:SHOWN])
    return made if made.differ else None


def _task_names(project: Description | None) -> list[str]:
    # A flow may call its methods in any order, or not at all, so they cannot be shown as upcoming.
    return [task["name"] or "…" for task in project.tasks] if project and project.kind == "crew" else []


def _redirect(asked: PageRequest, kickoff_id: str) -> Response:
    return RedirectResponse(asked.door + address(kickoff_id), 303)
