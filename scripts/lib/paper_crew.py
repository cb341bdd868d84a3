"""A crew on paper: the API of a deployed crew without models and processes, for hundreds of runs at once."""

import asyncio
import secrets
import threading
import time
import uuid
from types import TracebackType
from typing import Self

from aiohttp import web

SECONDS = 5.0
"""How long a run takes, unless it is stopped."""


class PaperCrew:
    """Serves on a port of its own, in a thread of its own. Use it as a context manager."""

    def __init__(self) -> None:
        self.token = secrets.token_urlsafe(24)
        self.url = ""
        self._began: dict[str, float] = {}
        self._readers: dict[str, str] = {}
        self._stopped: set[str] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    async def _start(self) -> None:
        application = web.Application()
        application.router.add_get("/inputs", self._inputs)
        application.router.add_post("/kickoff", self._kickoff)
        application.router.add_get("/status/{kickoff_id}", self._status)
        application.router.add_post("/stop/{kickoff_id}", self._stop)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _inputs(self, _: web.Request) -> web.Response:
        return web.json_response({"inputs": ["topic", "audience"]})

    async def _kickoff(self, request: web.Request) -> web.Response:
        kickoff_id = str(uuid.uuid4())
        self._began[kickoff_id] = time.monotonic()
        self._readers[kickoff_id] = (await request.json())["inputs"]["audience"]
        return web.json_response({"kickoff_id": kickoff_id})

    async def _status(self, request: web.Request) -> web.Response:
        kickoff_id = request.match_info["kickoff_id"]
        result = f"Addressed to {self._readers.get(kickoff_id)}, a brief."
        return web.json_response({"state": self._state(kickoff_id), "result": result})

    async def _stop(self, request: web.Request) -> web.Response:
        kickoff_id = request.match_info["kickoff_id"]
        if (state := self._state(kickoff_id)) != "RUNNING":
            return web.json_response({"detail": f"Cannot stop execution. Current state: {state}"}, status=400)
        self._stopped.add(kickoff_id)
        return web.json_response({"status": "stopped", "kickoffId": kickoff_id})

    def _state(self, kickoff_id: str) -> str:
        if kickoff_id in self._stopped:
            return "REVOKED"
        if kickoff_id not in self._began:
            return "NOT FOUND"
        return "SUCCESS" if time.monotonic() - self._began[kickoff_id] > SECONDS else "RUNNING"
