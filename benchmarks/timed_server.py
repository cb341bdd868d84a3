"""A deployment for the benchmarks on a real Airflow, in a process of its own: its runs take as long as the plan says.

It speaks just enough of a crew's API and of dbt Cloud's, over TLS, and costs next to nothing. It notes each kickoff and
when each run ends and when that is first told, and counts looks and connections. A run that it did not start goes on for ever.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aiohttp import web
from far_end import serve

GOLDEN = 0.618034
"""Multiples of it, without their whole part, are spread evenly however many there are."""
FILLER = "lorem ipsum " * 160
"""Makes each answer about a run that goes on two kilobytes long."""


class Deployment:
    """The runs, and what has been asked about them.

    A run takes `seconds` and a part of `spread`, a different one for each.
    """

    def __init__(self) -> None:
        self.plan = {"seconds": 20.0, "spread": 0.0}
        self.asked: list[object] = []
        self.ends: dict[str, float] = {}
        self.told: dict[str, float] = {}
        self.looked: set[str] = set()
        self.looks = self.accepted = 0

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        steps = request.path.strip("/").split("/")
        for door in (self._own, self._crew, self._dbt):
            if (found := door(steps, dict(request.query), await request.text())) is not None:
                return web.json_response(found)
        return web.json_response({"data": {}})

    def _own(self, steps: list[str], query: dict[str, str], _body: str) -> object:
        """Answer the benchmark."""
        if steps == ["plan"]:
            self.plan |= {name: float(text) for name, text in query.items()}
            return self.plan
        seen = {"looks": self.looks, "looked": len(self.looked), "connections": self.accepted}
        return {"kickoffs": self.asked, "ends": self.ends, "told": self.told, **seen} if steps == ["counts"] else None

    def _crew(self, steps: list[str], _query: dict[str, str], body: str) -> object:
        match steps:
            case ["inputs"]:
                return {"inputs": ["item"]}
            case ["kickoff"]:
                return {"kickoff_id": self._start(str(uuid.uuid4()), json.loads(body)["inputs"])}
            case ["status", kickoff_id]:
                over = self._look(kickoff_id)
                return {"state": "SUCCESS" if over else "RUNNING", "result": "A brief." if over else FILLER}
        return None

    def _dbt(self, steps: list[str], _query: dict[str, str], _body: str) -> object:
        match steps[3:]:
            case [_account, "jobs", _job, "run"]:
                number = int(self._start(str(len(self.ends) + 1), None))
                return {"data": {"id": number, "job_id": 1, "href": f"https://localhost/runs/{number}"}}
            case [_account, "runs", run_id]:
                status = 10 if self._look(run_id) else 3
                return {"status": {"code": 200}, "data": {"id": int(run_id), "status": status, "notes": FILLER}}
        return None

    def _start(self, run_id: str, inputs: object) -> str:
        self.asked.append(inputs)
        share = len(self.asked) * GOLDEN % 1
        self.ends[run_id] = time.time() + self.plan["seconds"] + self.plan["spread"] * share
        return run_id

    def _look(self, run_id: str) -> bool:
        self.looks += 1
        self.looked.add(run_id)
        now = time.time()
        over = now >= self.ends.get(run_id, float("inf"))
        if over:
            self.told.setdefault(run_id, now)
        return over


class Far:
    """The deployment, as its benchmark sees it: where it is, and what it has counted."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.host = "localhost"
        self.port = port
        self.certificate = certificate

    @property
    def connections(self) -> dict[str, dict[str, object]]:
        """Return the Airflow connections that lead to it."""
        place = f"{self.host}:{self.port}"
        return {
            "crewai_default": {"conn_type": "crewai", "host": f"https://{place}", "password": "a-token"},
            "dbt_cloud_default": {"conn_type": "dbt_cloud", "login": "1", "host": place, "password": "a-token"},
        }

    def tell(self, path: str, **query: float) -> Any:
        """Ask for something other than a run."""
        words = "&".join(f"{key}={value}" for key, value in query.items())
        trust = ssl.create_default_context(cafile=str(self.certificate))
        with urllib.request.urlopen(f"https://{self.host}:{self.port}/{path}?{words}", context=trust) as answer:
            return json.loads(answer.read())


@contextmanager
def deployment(folder: Path) -> Iterator[Far]:
    """Serve in a process of its own."""
    from poll_cost import make_certificate

    certificate = folder / "localhost.pem"
    make_certificate(certificate)
    command = (sys.executable, __file__, str(certificate))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        if server.stdout is None:
            raise RuntimeError("the server has no pipes")
        # To leave closes its standard input, and so ends it.
        yield Far(int(server.stdout.readline()), certificate)


if __name__ == "__main__":
    asyncio.run(serve(Deployment(), Path(sys.argv[1])))
