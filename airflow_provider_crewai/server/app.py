"""The API of a deployed crew, in the shapes that deployments answer live."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from airflow_provider_crewai.server.access import Bearer, LoopbackOnly
from airflow_provider_crewai.server.chats import Chats
from airflow_provider_crewai.server.event_stream import EventStreams
from airflow_provider_crewai.server.json_bodies import BeyondBounds, NotJSON, read_object
from airflow_provider_crewai.server.launch import Launcher, MissingInputs
from airflow_provider_crewai.server.openapi import openapi
from airflow_provider_crewai.server.project import Description, ProjectError, StillLoading
from airflow_provider_crewai.server.records import StoredQuestion, StoredRun, open_question, open_questions
from airflow_provider_crewai.server.resume import Answer, read_answer, read_feedback, texts
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.status import NOT_FOUND, events_in_short, status_of
from airflow_provider_crewai.wire.model import JSONObject

MAX_BODY = 10 * 1024 * 1024
PATIENCE = 20.0
"""Seconds that a request waits for a project that is being loaded: less than clients wait for an answer."""

_RESUMED: JSONObject = {"status": "resumed", "message": "Execution resumed successfully"}


def create_app(
    runs: Runs,
    launcher: Launcher,
    token: str,
    greeting: str,
    *,
    strict: bool = False,
    pages: Sequence[BaseRoute] = (),
    origins: Sequence[str] = (),
    prefix: str = "",
    patience: float = PATIENCE,
) -> Starlette:
    """Build the application.

    :param runs: the store of all runs.
    :param launcher: describes the project and runs its kickoffs.
    :param token: the bearer token that every endpoint of the API wants.
    :param greeting: the line to print as soon as the server answers requests.
    :param strict: whether to keep those quirks of the live service that make a crew harder to use.
    :param pages: routes for a browser, which check access themselves.
    :param origins: the origins of web pages whose scripts may use the API: none by default.
    :param prefix: the path at which the application is mounted, empty for the root.
    :param patience: seconds for which a request waits for a project that loads.
    """
    api = _Api(runs, launcher, prefix, strict=strict, patience=patience)
    return Starlette(
        routes=[*_routes(api, token, strict=strict), *pages],
        middleware=[Middleware(LoopbackOnly), *_cross_origin(origins)],
        exception_handlers=_REFUSALS,
        lifespan=greeting_when_up(greeting),
    )


def greeting_when_up(greeting: str) -> Callable[[Starlette], AbstractAsyncContextManager[None]]:
    """Return a lifespan that prints a line as soon as the server answers requests."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        print(greeting, flush=True)  # noqa: T201 - what scripts read
        yield

    return lifespan


def _cross_origin(origins: Sequence[str]) -> list[Middleware]:
    if not origins:
        return []
    sent = ["Authorization", "Content-Type", "Last-Event-ID"]
    methods, exposed = ["GET", "POST"], ["Retry-After"]
    rules = Middleware(
        CORSMiddleware, allow_origins=[*origins], allow_methods=methods, allow_headers=sent, expose_headers=exposed
    )
    return [rules]


def _routes(api: _Api, token: str, *, strict: bool) -> list[BaseRoute]:
    bearer = [Middleware(Bearer, token=token)]
    ours = [
        Route("/health", api.health),
        Route("/openapi.json", api.openapi, middleware=bearer),
        Route("/runs/{kickoff_id}/events", api.events, middleware=bearer),
    ]
    return [
        *([] if strict else ours),
        *api.chats.routes(bearer),
        Route("/inputs", api.inputs, middleware=bearer),
        Route("/kickoff", api.kickoff, methods=["POST"], middleware=bearer),
        Route("/status/{kickoff_id:path}", api.status, middleware=bearer),
        Route("/inspect", api.inspect, middleware=bearer),
        Route("/resume", api.resume, methods=["POST"], middleware=bearer),
        Route("/resume_feedback", api.resume_flow, methods=["POST"], middleware=bearer),
        Route("/stop/{kickoff_id:path}", api.stop, methods=["POST"], middleware=bearer),
        # The address is the key: it holds the question's random id, and only the webhook was told.
        Route("/feedback/{question_id}", api.feedback, methods=["POST"]),
    ]


class _Api:
    def __init__(self, runs: Runs, launcher: Launcher, prefix: str, *, strict: bool, patience: float) -> None:
        self._runs = runs
        self._patience = patience
        self._prefix = prefix
        self._launcher = launcher
        self._strict = strict
        self._streams = EventStreams(runs)
        self.chats = Chats(runs, launcher, self._streams, self._described, _object)

    async def inputs(self, _: Request) -> Response:
        project = await self._described()
        if self._strict:
            return _json({"inputs": [*project.prompted]})
        # Ours: a deployment answers `inputs` alone.
        return _json({"inputs": [*project.inputs], "details": project.details})

    async def inspect(self, _: Request) -> Response:
        project = await self._described()
        chats = project.conversational
        said: JSONObject = {"conversational": chats, "transports": ["sse"] if chats else []}
        ours: JSONObject = {"kind": project.kind, "name": project.name, "human_input": project.human_input}
        return _json(said if self._strict else said | ours)

    async def health(self, _: Request) -> Response:
        if self._launcher.is_well():
            return _json({"status": "healthy"})
        return _json({"status": "unhealthy", "detail": "The server does not look after its runs any more"}, 503)

    async def openapi(self, request: Request) -> Response:
        url = request.url
        return _json(openapi(f"{url.scheme}://{url.netloc}{url.path.removesuffix('/openapi.json')}"))

    async def kickoff(self, request: Request) -> Response:
        body = await run_in_threadpool(_kickoff, await _body(request))
        project = await self._described()
        if await request.is_disconnected():
            raise ClientDisconnect  # it would not learn of the run, and start another one
        return _json(
            {"kickoff_id": await run_in_threadpool(self._launcher.keep_run, body, project, strict=self._strict)}
        )

    async def _described(self) -> Description:
        # Waits on no worker thread: a project may never finish loading, and other requests need the threads.
        described = self._launcher.describe()
        try:
            return await asyncio.wait_for(asyncio.wrap_future(described), self._patience)
        except TimeoutError:
            raise StillLoading("The project") from None

    def status(self, request: Request) -> Response:
        return _json(self._status(self._runs.get(request.path_params["kickoff_id"])))

    async def events(self, request: Request) -> Response:
        return await self._streams.answer(request, request.path_params["kickoff_id"])

    async def resume(self, request: Request) -> Response:
        answer = read_answer(await _object(request), strict=self._strict)
        return await run_in_threadpool(self._resume_as_live if self._strict else self._resume, answer)

    async def resume_flow(self, request: Request) -> Response:
        return await run_in_threadpool(self._resume_flow, *read_feedback(await _object(request)))

    async def feedback(self, request: Request) -> Response:
        # Looked up first: the server reads no body from a client that does not know an address.
        question = await run_in_threadpool(self._runs.question, request.path_params["question_id"])
        if question is None:
            raise HTTPException(404, "No such request")
        said = await run_in_threadpool(_feedback, await _body(request))
        if not await run_in_threadpool(self._launcher.answer, question.question_id, said, approved=None):
            raise HTTPException(409, "This request has an answer already, or its run has ended")
        return _json(_RESUMED)

    def stop(self, request: Request) -> Response:
        kickoff_id = request.path_params["kickoff_id"]
        if self._launcher.stop(kickoff_id):
            return _json({"status": "stopped", "kickoffId": kickoff_id})
        state = self._status(self._runs.get(kickoff_id))["state"]
        raise HTTPException(400, f"Cannot stop execution. Current state: {state}")

    def _status(self, run: StoredRun | None) -> JSONObject:
        waits = run is not None and run.state == "PAUSED"
        # The live service hides a crew that waits for a human, but not a flow.
        if run is None or (self._strict and waits and run.answer.get("unit") == "task"):
            return NOT_FOUND
        asked = open_questions(self._runs.questions(run.kickoff_id)) if waits else []
        body = status_of(run, self._runs.steps(run.kickoff_id, outputs=False), asked, strict=self._strict)
        if not self._strict:  # a key of our own: the path of the run's page
            body["run_page"] = f"{self._prefix}/runs/{run.kickoff_id}"
        counts = self._runs.event_counts(run.kickoff_id)
        return body | events_in_short(counts, self._runs.last_event(run.kickoff_id)) if counts else body

    def _resume(self, answer: Answer) -> Response:
        question = self._asked(answer)
        if question is None:
            raise HTTPException(
                404, "Execution not found, or it did not ask this question: see 'human_input' in its status"
            )
        if not self._launcher.answer(question.question_id, answer.feedback, approved=answer.approved):
            raise HTTPException(409, "This question has an answer already, was given up, or its run has ended")
        return _json({"kickoff_id": question.kickoff_id, **_RESUMED})

    def _resume_flow(self, flow_id: str, feedback: str) -> Response:
        run = self._runs.get(flow_id)
        if run is None or run.answer.get("unit") != "method":
            raise HTTPException(404, "There is no such flow: see 'flow_id' in the status of a flow that waits")
        question = open_question(self._runs.questions(run.kickoff_id))
        if question is None or not self._launcher.answer(question.question_id, feedback, approved=None):
            raise HTTPException(409, "This flow does not wait for feedback: it has an answer already, or has ended")
        return _json({"flow_id": run.kickoff_id, **_RESUMED})

    def _resume_as_live(self, answer: Answer) -> Response:
        question = self._asked(answer)
        if question is not None:
            self._launcher.answer(question.question_id, answer.feedback, approved=None)
        # Always 200 and a new id, even if nothing was resumed.
        return _json({"kickoff_id": self._runs.alias(question.kickoff_id if question else answer.kickoff_id)})

    def _asked(self, answer: Answer) -> StoredQuestion | None:
        run, question = self._runs.get(answer.kickoff_id), self._runs.question(answer.question_id)
        return question if run and question and question.kickoff_id == run.kickoff_id else None


# ---- bodies ---------------------------------------------------------------------------------------


def _json(body: JSONObject, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # Written in ASCII: a kickoff may hold lone surrogates, which UTF-8 cannot encode.
    return Response(json.dumps(body), status, headers, media_type="application/json")


async def _object(request: Request) -> JSONObject:
    # On a worker thread: megabytes of JSON would keep all other requests waiting.
    return await run_in_threadpool(read_object, await _body(request))


def _kickoff(sent: bytes) -> JSONObject:
    body = read_object(sent)
    if not isinstance(body.get("inputs") or {}, dict):
        raise HTTPException(422, "inputs must be an object")
    return body


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"Request body is larger than {MAX_BODY} bytes")
    return bytes(body)


def _feedback(sent: bytes) -> str:
    with suppress(NotJSON):
        return texts({"feedback": read_object(sent).get("feedback")})["feedback"]
    return texts({"feedback": None})["feedback"]


# ---- refusals -------------------------------------------------------------------------------------


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type alone
    return _json({"detail": error.detail}, error.status_code, error.headers)


def _unusable(_: Request, error: Exception) -> Response:
    return _json({"detail": str(error)}, 422)


def _not_json(_: Request, __: Exception) -> Response:
    return PlainTextResponse("Internal Server Error", 500)  # as live


def _gone(_: Request, __: Exception) -> Response:
    return PlainTextResponse("The request ended before its body did", 400)  # nobody receives it


def _project_error(_: Request, error: Exception) -> Response:
    # Only after 503 may a client believe that no run was started. An editor may still be saving the other files.
    return _json({"detail": str(error)}, 503, {"Retry-After": "1"})


_REFUSALS: dict[Any, Any] = {
    HTTPException: _http_error,
    ProjectError: _project_error,
    MissingInputs: _unusable,
    BeyondBounds: _unusable,
    NotJSON: _not_json,
    ClientDisconnect: _gone,
}
