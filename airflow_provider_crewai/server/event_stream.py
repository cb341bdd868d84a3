"""The events of a run or of a chat as they happen (Server-Sent Events), for the API and for the page.

A client that was cut off goes on where it was: it sends the id of the last event that it has. When the run has ended
and everything was told, the stream ends, and a client that asks again is told by 204 that nothing will come. A chat has
no end.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from airflow_provider_crewai.server.connections import ENDLESS
from airflow_provider_crewai.server.crew_process.run_states import FINAL
from airflow_provider_crewai.server.records import StoredEvent
from airflow_provider_crewai.server.runs import Runs

LOOK_EVERY = 0.5
"""Seconds between two looks for new events."""

SILENT = 15.0
"""Seconds after which a stream without news says that it is alive."""

MOST = 100
"""How many streams may be open at once: each takes a connection."""

_MOST_DIGITS = 15

News = Callable[[int], tuple[bool, list[StoredEvent]]]


class EventStreams:
    """Streams of the events of runs.

    :param runs: the store of all runs.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self._open = 0

    async def answer(self, request: Request, kickoff_id: str) -> Response:
        """Answer a request for a run's events, from behind the one that its `Last-Event-ID` names.

        :raises HTTPException: there is no such run, or too many streams are open.
        """
        run = await run_in_threadpool(self._runs.get, kickoff_id)
        if run is None:
            raise HTTPException(404, "Execution not found")
        news = partial(self._news, run.kickoff_id)
        if run.state in FINAL and not (await run_in_threadpool(news, last_seen(request)))[1]:
            return Response(status_code=204)
        return self.follow(request, news)

    def follow(self, request: Request, news: News) -> Response:
        """Answer with a stream of news, from behind the event that the request's `Last-Event-ID` names.

        :param news: called on a worker thread with the number of the last event that the client has; returns whether
            nothing more will come, and the events behind that one.
        :raises HTTPException: too many streams are open.
        """
        if self._open >= MOST:
            raise HTTPException(503, f"{MOST} streams of events are open. Try again later.", {"Retry-After": "5"})
        request.scope[ENDLESS] = True
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        events = self._events(news, last_seen(request))
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    async def _events(self, news: News, after: int) -> AsyncIterator[str]:
        self._open += 1
        try:
            yield "retry: 1000\n\n"
            spoke_at = time.monotonic()
            while True:
                is_over, events = await run_in_threadpool(news, after)
                for event in events:
                    yield _written(event)
                    after, spoke_at = event.number, time.monotonic()
                if is_over:
                    return
                if time.monotonic() - spoke_at > SILENT:
                    yield ": still here\n\n"
                    spoke_at = time.monotonic()
                await asyncio.sleep(LOOK_EVERY)
        finally:
            self._open -= 1

    def _news(self, kickoff_id: str, after: int) -> tuple[bool, list[StoredEvent]]:
        # The state first: whatever happened before a run ended is among the events by then.
        run = self._runs.get(kickoff_id)
        return run is None or run.state in FINAL, self._runs.events(kickoff_id, after)


def _written(event: StoredEvent) -> str:
    data = json.dumps({"type": event.type, "at": event.at, **event.data})
    return f"id: {event.number}\nevent: {event.type}\ndata: {data}\n\n"


def last_seen(request: Request) -> int:
    """Return the number of the last event that a client has; 0 if it has none."""
    said = request.headers.get("last-event-id") or request.query_params.get("last_event_id", "")
    return int(said) if said.isascii() and said.isdecimal() and len(said) <= _MOST_DIGITS else 0
