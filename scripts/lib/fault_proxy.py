"""The only liar: stands before the real local AOP server, passes everything on, and loses what it is told to lose.

It also counts: how many kickoffs and feedbacks reached the server, and which runs were stopped. What the server tells
Airflow passes through here, too, if it is told where Airflow is.
"""

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import aiohttp
import httpx
from aiohttp import web

Json = dict[str, Any]


@dataclass
class Exchange:
    """A request that the server has answered, before the answer is passed on.

    `topic` is the input of that name with which the run was kicked off: faults are told apart by it.
    """

    method: str
    path: str
    topic: str
    kickoff_id: str
    body: Json
    status: int
    answer: Json


Fault = Callable[[Exchange], Awaitable[web.StreamResponse | None]]
Refusal = Callable[[str], Awaitable[web.StreamResponse | None]]
"""Gets a path, and answers in the server's place or lets the request pass with None."""
TO_AIRFLOW = "/to-airflow"
"""Below this path the server calls Airflow."""


@dataclass
class Seen:
    """What reached the server for one topic: kickoff_ids, and the epoch seconds of what was done to them.

    `stopped` and `ended` (a success was told) have the first time only: a run that two stop is stopped once.
    `feedbacks` are the texts that the crew took, `questions` the ids of what it asked, as far as it said so, and
    `delivered` the statuses with which Airflow answered the crew's calls.
    """

    kickoffs: list[str] = field(default_factory=list)
    stopped: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    looked: dict[str, list[float]] = field(default_factory=dict)
    feedbacks: list[str] = field(default_factory=list)
    questions: set[str] = field(default_factory=set)
    delivered: list[int] = field(default_factory=list)

    @property
    def looks(self) -> int:
        """Answer with the number of looks."""
        return sum(map(len, self.looked.values()))

    @property
    def started(self) -> int:
        """Answer with the number of kickoffs."""
        return len(self.kickoffs)

    @property
    def left(self) -> int:
        """Answer with the number of runs that go on: nobody has stopped them, and nobody was told of their end."""
        return len(set(self.kickoffs) - set(self.stopped) - set(self.ended))


class FaultProxy:
    """A proxy on a port of its own, in a thread of its own.

    `token` is what it wants from clients; it may differ from the server's and change while runs go on. `airflow` is the
    URL of the Airflow that the server is to call through this proxy, each time so often as `deliveries` says.
    """

    def __init__(self, upstream: str, upstream_token: str) -> None:
        self.token = upstream_token
        self.url = ""
        self.outage = False
        self.airflow = ""
        self.deliveries = 1
        self._upstream = upstream
        self._upstream_token = upstream_token
        self._topics: dict[str, str] = {}
        self._seen: dict[str, Seen] = {}
        self._faults: dict[str, Fault] = {}
        self._refusals: dict[str, Refusal] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def seen(self, topic: str) -> Seen:
        """Answer with what reached the server for a topic."""
        return self._seen.setdefault(topic, Seen())

    def ask_server(self, path: str, body: Json) -> int:
        """Send the server a request that is nobody's here; answer with the HTTP status."""
        headers = {"Authorization": f"Bearer {self._upstream_token}"}
        return httpx.post(self._upstream + path, json=body, headers=headers, timeout=60, trust_env=False).status_code

    def soon(self, callback: Callable[[], object]) -> None:
        """Call something in the thread that the faults run in."""
        self._loop.call_soon_threadsafe(callback)

    def set_fault(self, topic: str, fault: Fault) -> None:
        """Let a fault judge every answer for a topic: it may wait, replace the answer, or let it pass with None."""
        self._faults[topic] = fault

    def set_refusal(self, topic: str, refusal: Refusal) -> None:
        """Let a refusal judge every request about a run of a topic, before the server hears of it."""
        self._refusals[topic] = refusal

    async def _start(self) -> None:
        self._session = aiohttp.ClientSession()
        application = web.Application(client_max_size=64 * 2**20)
        application.router.add_post(TO_AIRFLOW + "/{path:.*}", self._deliver)
        application.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _stop(self) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self.outage:
            return drop(request)
        if request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"detail": "Invalid or missing authentication credentials"}, status=401)
        sent = await request.read()
        body: Json = json.loads(sent) if sent else {}
        refusal = self._refusals.get(self._topics.get(_run_of(request.path, body), ""))
        if refusal and (refused := await refusal(request.path)):
            return refused if refused is not LOST else drop(request)
        exchange = await self._forward(request, sent, body)
        self._count(exchange)
        fault = self._faults.get(exchange.topic)
        replaced = await fault(exchange) if fault else None
        if replaced is LOST:
            return drop(request)
        answer = replaced or web.json_response(exchange.answer, status=exchange.status)
        self._count_ends(exchange, answer, told=replaced is None)
        return answer

    def _count_ends(self, exchange: Exchange, answer: web.StreamResponse, *, told: bool) -> None:
        """Note that a client has stopped a run, or was told of its success."""
        seen, now = self.seen(exchange.topic), time.time()
        if exchange.path.startswith("/stop/") and answer.status < 400:
            seen.stopped.setdefault(exchange.kickoff_id, now)
        if told and exchange.answer.get("state") == "SUCCESS":
            seen.ended.setdefault(exchange.kickoff_id, now)

    async def _forward(self, request: web.Request, sent: bytes, body: Json) -> Exchange:
        headers = {"Authorization": f"Bearer {self._upstream_token}", "Content-Type": "application/json"}
        url = self._upstream + request.path_qs
        if self.airflow:
            sent = sent.replace(self.airflow.encode(), f"{self.url}{TO_AIRFLOW}".encode())
        async with self._session.request(request.method, url, data=sent or None, headers=headers) as response:
            answer: Json = await response.json(content_type=None)
        kickoff_id = answer.get("kickoff_id", "") if request.path == "/kickoff" else _run_of(request.path, body)
        if request.path == "/kickoff" and kickoff_id:
            self._topics[kickoff_id] = body["inputs"]["topic"]
        topic = self._topics.get(kickoff_id, "")
        if request.path == "/resume" and topic and "kickoff_id" in answer:
            self._topics.setdefault(answer["kickoff_id"], topic)  # the same run may go on under another id
        return Exchange(request.method, request.path, topic, kickoff_id, body, response.status, answer)

    async def _deliver(self, request: web.Request) -> web.StreamResponse:
        """Pass a call of the server on to Airflow, as often as it is to arrive."""
        sent = await request.read()
        body: Json = json.loads(sent)
        seen = self.seen(self._topics.get(body.get("kickoff_id", ""), ""))
        seen.questions.update(filter(None, [body.get("task_id")]))
        kept = ("Authorization", "Content-Type")
        headers = {name: request.headers[name] for name in kept if name in request.headers}
        for _ in range(self.deliveries):
            url = self.airflow + request.path_qs.removeprefix(TO_AIRFLOW)
            async with self._session.post(url, data=sent, headers=headers) as response:
                answer = web.Response(status=response.status, body=await response.read())
            seen.delivered.append(answer.status)
        return answer

    def _count(self, exchange: Exchange) -> None:
        seen = self.seen(exchange.topic)
        if exchange.path == "/kickoff":
            seen.kickoffs.append(exchange.kickoff_id)
        elif exchange.path == "/resume" and exchange.status < 400:
            seen.feedbacks.append(exchange.body["humanFeedback"])
        elif exchange.path.startswith("/status/"):
            seen.looked.setdefault(exchange.kickoff_id, []).append(time.time())
            if question := exchange.answer.get("human_input"):
                seen.questions.add(question["task_id"])


def _run_of(path: str, body: Json) -> str:
    """Tell which run a request is about."""
    return str(body.get("executionId", "")) if path == "/resume" else path.rpartition("/")[2]


LOST = web.Response()
"""A fault answers with this to lose the answer: the connection ends without one."""


def drop(request: web.Request) -> web.StreamResponse:
    """End the connection without an answer."""
    if request.transport:
        request.transport.abort()
    return web.Response()
