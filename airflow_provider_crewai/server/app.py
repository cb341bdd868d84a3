"""The API of a deployed crew, in the shapes that deployments answer live."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import NoReturn

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_crewai.server.launch import Launcher, ProjectError
from airflow_provider_crewai.server.runs import Runs, StoredRun
from airflow_provider_crewai.wire.model import JSONObject

MAX_BODY = 10 * 1024 * 1024

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
# What crewai fills in. Its `fetch_inputs` also lists what merely stands in braces, such as a sample of JSON.
_FILLED_IN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_SENTENCES = {"PENDING": "Task is pending", "STARTED": "Task is Running", "RUNNING": "Task is Running"}
_NULLS: JSONObject = {
    "result": None,
    "result_json": None,
    "usage_metrics": None,
    "progress": None,
    "last_event": None,
    "events": None,
    "events_count": None,
    "events_by_type": None,
    "triggered_by": None,
    "execution_origin": "api",
    "last_step": None,
    "last_executed_task": None,
    "flow_id": None,
}


def create_app(runs: Runs, launcher: Launcher, token: str, greeting: str) -> Starlette:
    """Build the application.

    :param runs: the store of all runs.
    :param launcher: what describes the crew and runs its kickoffs.
    :param token: the bearer token that every endpoint wants.
    :param greeting: the line to print once requests are answered.
    """

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        print(greeting, flush=True)  # noqa: T201 - the one line that scripts read
        yield

    api = _Api(runs, launcher)
    bearer = [Middleware(_Bearer, token=token)]
    return Starlette(
        routes=[
            Route("/inputs", api.inputs, middleware=bearer),
            Route("/kickoff", api.kickoff, methods=["POST"], middleware=bearer),
            Route("/status/{kickoff_id:path}", api.status, middleware=bearer),
            Route("/stop/{kickoff_id:path}", api.stop, methods=["POST"], middleware=bearer),
        ],
        middleware=[Middleware(_LoopbackOnly)],
        exception_handlers={HTTPException: _http_error, ProjectError: _project_error},
        lifespan=lifespan,
    )


class _Api:
    def __init__(self, runs: Runs, launcher: Launcher) -> None:
        self._runs = runs
        self._launcher = launcher

    def inputs(self, _: Request) -> Response:
        return _json({"inputs": [*self._launcher.inputs()]})

    async def kickoff(self, request: Request) -> Response:
        body = _object(await _body(request))
        if body is None:
            return PlainTextResponse("Internal Server Error", 500)
        return await run_in_threadpool(self._kickoff, body)

    def status(self, request: Request) -> Response:
        return _json(_status(self._runs.get(request.path_params["kickoff_id"])))

    def stop(self, request: Request) -> Response:
        kickoff_id = request.path_params["kickoff_id"]
        if self._launcher.stop(kickoff_id):
            return _json({"status": "stopped", "kickoffId": kickoff_id})
        state = _status(self._runs.get(kickoff_id))["state"]
        raise HTTPException(400, f"Cannot stop execution. Current state: {state}")

    def _kickoff(self, body: JSONObject) -> Response:
        inputs = body.get("inputs") or {}
        if not isinstance(inputs, dict):
            raise HTTPException(422, "inputs must be an object")
        wanted = filter(_FILLED_IN.fullmatch, self._launcher.inputs())
        if missing := ", ".join(name for name in wanted if name not in inputs):
            raise HTTPException(422, f"Missing inputs: {missing}")
        kickoff_id = self._runs.add(body)
        self._launcher.dispatch()
        return _json({"kickoff_id": kickoff_id})


# ---- bodies ---------------------------------------------------------------------------------------


def _status(run: StoredRun | None) -> JSONObject:
    if run is None:
        return {"state": "NOT FOUND", "status": "Task not found or Invalid kickoff id"} | _NULLS
    body: JSONObject = {"state": run.state, "status": run.status or _SENTENCES.get(run.state)}
    body |= _NULLS | run.answer
    if run.state in ("FAILED", "REVOKED"):
        body["progress"] = None
    return body


def _json(body: JSONObject, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    # In ASCII, since a lone surrogate, which a kickoff may hold, has no other encoding.
    return Response(json.dumps(body), status, headers, media_type="application/json")


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY:
            raise HTTPException(413, f"Request body is larger than {MAX_BODY} bytes")
    return bytes(body)


def _object(body: bytes) -> JSONObject | None:
    try:
        value = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


# ---- refusals -------------------------------------------------------------------------------------


def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - registered for nothing else
    return _json({"detail": error.detail}, error.status_code, error.headers)


def _project_error(_: Request, error: Exception) -> Response:
    return _json({"detail": str(error)}, 500)


class _Bearer:
    """Lets through only who knows the token."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
        if not secrets.compare_digest(token.strip().encode("latin-1"), self._token):
            raise HTTPException(401, "Invalid or missing authentication credentials")
        await self._app(scope, receive, send)


class _LoopbackOnly:
    """Refuses requests for other names: a web page that rebinds its own name to us sends that name as Host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not _LOOPBACK.fullmatch(Headers(scope=scope).get("host", "")):
            await PlainTextResponse("Invalid host header", 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
