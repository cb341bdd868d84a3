"""The server for `poll_cost.py`: a TLS server that speaks just enough of three APIs, in a process of its own.

It reports each run as running for as many polls as the plan says, then as ended. It counts the connections that it
accepted and the requests that it answered.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from pathlib import Path

from aiohttp import web
from far_end import serve

LENGTH = 2000
"""Bytes of an answer about a run that goes on, the same for each API."""


class Far:
    """What the server answers, and what it has counted."""

    def __init__(self) -> None:
        self.plan = {"looks": 1, "result": LENGTH}
        self.seen: Counter[str] = Counter()
        self.accepted = 0
        self.answered = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        if request.path == "/plan":
            self.plan = {key: int(value) for key, value in request.query.items()}
            self.seen.clear()
            self.accepted = self.answered = 0
            return web.Response()
        if request.path == "/counts":
            return web.json_response({"connections": self.accepted, "requests": self.answered})
        self.answered += 1
        return web.Response(body=await self._about_a_run(request), content_type="application/json")

    async def _about_a_run(self, request: web.BaseRequest) -> bytes:
        run = request.path if "databricks" not in request.headers.get("User-Agent", "") else await request.text()
        self.seen[run] += 1
        ended = self.seen[run] >= self.plan["looks"]
        return json.dumps(_body(request.path, self.plan["result"] if ended else LENGTH, ended=ended)).encode()


def _body(path: str, length: int, *, ended: bool) -> dict[str, object]:
    filler = ("lorem ipsum dolor sit amet " * (length // 27 + 1))[: length - 200]
    if path.startswith("/status/"):
        if ended:
            return {"state": "SUCCESS", "status": "Completed", "result": filler, "result_json": None, "last_step": {}}
        progress = {"completed": 1, "total": 3, "current": "survey_task", "current_agent": "Word Analyst"}
        return {"state": "STARTED", "status": "Running", "result": None, "progress": progress, "last_step": filler}
    if path.startswith("/api/v2/accounts/"):
        return {"status": {"code": 200}, "data": {"status": 10 if ended else 3, "id": 1, "notes": filler}}
    state = {"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"} if ended else {"life_cycle_state": "RUNNING"}
    return {"job_id": 1, "state": {**state, "state_message": ""}, "notes": filler}


if __name__ == "__main__":
    asyncio.run(serve(Far(), Path(sys.argv[1])))
