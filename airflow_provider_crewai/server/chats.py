"""Chats with a conversational flow: each turn is a run, and one follows another.

The paths, the refusal `session_busy` and `last_event_id` are those of the live service, by its product pages. The
bodies are not published; ours hold each id under the names that clients look for.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from airflow_provider_crewai.server.event_stream import EventStreams
from airflow_provider_crewai.server.launch import Launcher
from airflow_provider_crewai.server.project import Description
from airflow_provider_crewai.server.records import StoredEvent
from airflow_provider_crewai.server.resume import texts
from airflow_provider_crewai.server.runs import Runs, SessionBusy
from airflow_provider_crewai.wire.model import JSON, JSONObject

_EVENTS_OF_A_TURN = 1_000_000


class Chats:
    """The endpoints of chats.

    :param described: describes the project, without holding a thread.
    :param body: reads a request's body, a JSON object.
    :param streams: streams events.
    """

    def __init__(
        self,
        runs: Runs,
        launcher: Launcher,
        streams: EventStreams,
        described: Callable[[], Awaitable[Description]],
        body: Callable[[Request], Awaitable[JSONObject]],
    ) -> None:
        self._runs = runs
        self._launcher = launcher
        self._streams = streams
        self._described = described
        self._body = body

    def routes(self, bearer: list[Middleware]) -> list[BaseRoute]:
        """Return the routes."""
        return [
            Route("/chat/start", self._start, methods=["POST"], middleware=bearer),
            Route("/chat/{session_id}/message", self._message, methods=["POST"], middleware=bearer),
            Route("/chat/{session_id}/stream/events", self._stream, middleware=bearer),
            Route("/chat/{session_id}/history", self._history, middleware=bearer),
        ]

    async def _start(self, _: Request) -> Response:
        if not (await self._described()).conversational:
            raise HTTPException(400, "This is no conversational flow, so nobody can chat with it")
        session_id = await run_in_threadpool(self._runs.start_chat)
        return _json({"session_id": session_id, "id": session_id})

    async def _message(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        message = texts({"message": (await self._body(request)).get("message")})["message"]
        await self._described()
        return await run_in_threadpool(self._take_turn, session_id, message)

    def _take_turn(self, session_id: str, message: str) -> Response:
        self._turns(session_id)
        try:
            kickoff_id = self._launcher.take_turn(session_id, message)
        except SessionBusy:
            raise HTTPException(409, "session_busy") from None
        return _json({"session_id": session_id, "kickoff_id": kickoff_id, "status": "accepted"})

    async def _stream(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        await run_in_threadpool(self._turns, session_id)
        return self._streams.follow(request, partial(self._news, session_id))

    def _news(self, session_id: str, after: int) -> tuple[bool, list[StoredEvent]]:
        turns = self._runs.turns(session_id)
        seen, number = divmod(after, _EVENTS_OF_A_TURN)
        told = [
            replace(event, number=turn * _EVENTS_OF_A_TURN + event.number, data={"kickoff_id": run, **event.data})
            for turn, run in (turns or {}).items()
            if turn >= seen
            for event in self._runs.events(run, number if turn == seen else 0)
        ]
        return turns is None, told

    async def _history(self, request: Request) -> Response:
        session_id = request.path_params["session_id"]
        return _json({"session_id": session_id, "messages": await run_in_threadpool(self._messages, session_id)})

    def _messages(self, session_id: str) -> list[JSON]:
        messages: list[JSON] = []
        for kickoff_id in self._turns(session_id).values():
            messages.append({"role": "user", "content": self._runs.message(kickoff_id), "kickoff_id": kickoff_id})
            run = self._runs.get(kickoff_id)
            if run and run.state == "SUCCESS":
                answer: JSONObject = {"content": run.answer.get("result"), "kickoff_id": kickoff_id}
                messages.append({"role": "assistant", **answer})
        return messages

    def _turns(self, session_id: str) -> dict[int, str]:
        turns = self._runs.turns(session_id)
        if turns is None:
            raise HTTPException(404, "There is no such chat")
        return turns


def _json(body: JSONObject) -> Response:
    return Response(json.dumps(body), media_type="application/json")
