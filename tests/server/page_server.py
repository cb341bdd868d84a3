"""The page on a real socket, over a real store of runs; what a run's own process writes comes over a second connection."""

from __future__ import annotations

import http.client
import json
import re
import socket
import sqlite3
import threading
import time
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette

from airflow_provider_crewai.server.connections import new_server
from airflow_provider_crewai.server.launch import MissingInputs
from airflow_provider_crewai.server.page import Page
from airflow_provider_crewai.server.page.listing import FILTERS, ListedRun, Listing
from airflow_provider_crewai.server.project import Description, ProjectError
from airflow_provider_crewai.server.runs import Runs

TOKEN = "a-token-for-tests"
HINT = "It is in /somewhere/token."
INPUTS = ["topic", "audience"]
TASKS = [{"name": name, "agent": None} for name in ("survey", "outline", "brief")]
CREW = Description("crew", "brief", INPUTS, required=INPUTS, tasks=TASKS)
FLOW = Description("flow", "poem", ["topic", "lines"], defaults={"topic": "the sea", "lines": 4})


@dataclass
class Backend:
    """Acts on runs as the launcher does, but starts no process: the test plays the run."""

    runs: Runs
    described: Description | ProjectError = CREW
    logs: dict[str, str] = field(default_factory=dict)

    def description(self) -> Description:
        if isinstance(self.described, ProjectError):
            raise self.described
        return self.described

    def describe(self) -> Future[Description]:
        described: Future[Description] = Future()
        if isinstance(self.described, ProjectError):
            described.set_exception(self.described)
        else:
            described.set_result(self.described)
        return described

    def keep_run(self, request: dict[str, Any], _: Description, *, strict: bool = False) -> str:
        del strict  # a real launcher's signature
        return self.kickoff(request)

    def kickoff(self, request: dict[str, Any]) -> str:
        if missing := [name for name in self.description().required if name not in (request.get("inputs") or {})]:
            raise MissingInputs(f"Missing inputs: {', '.join(missing)}")
        return self.runs.add(request)

    def stop(self, kickoff_id: str) -> bool:
        return self.runs.end(kickoff_id, "REVOKED", "Task was revoked")

    def answer(self, question_id: str, feedback: str, *, approved: bool | None) -> bool:
        return self.runs.answer(question_id, feedback, approved=approved)

    def log_tail(self, kickoff_id: str, length: int) -> str:
        return self.logs.get(kickoff_id, "")[-length:]


@dataclass
class Run:
    """A run as its own process writes it."""

    path: Path
    kickoff_id: str

    def step(
        self, position: int, name: str, agent: str | None = None, output: str | None = None, **times: float
    ) -> None:
        begun = times.get("at", time.time())
        ended = begun + times.get("took", 3) if output is not None else None
        said = None if output is None else json.dumps({"name": name, "output": output})
        values = (self.kickoff_id, position, name, agent, begun, ended, said, times.get("tokens"))
        self._write(
            "INSERT OR REPLACE INTO steps (kickoff_id, position, name, agent, started_at, ended_at, output, tokens) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            *values,
        )

    def ask(
        self, question_id: str, kind: str, message: str, output: str = "", options: list[str] | None = None
    ) -> None:
        said = options and json.dumps(options)
        query = "INSERT INTO questions (question_id, kickoff_id, kind, step, message, output, options, asked_at) VALUES (?, ?, ?, 0, ?, ?, ?, ?)"
        self._write(query, question_id, self.kickoff_id, kind, message, output, said, time.time())
        self.now("PAUSED")

    def asked_earlier(self, question_id: str, seconds: float) -> None:
        self._write("UPDATE questions SET asked_at = asked_at - ? WHERE question_id = ?", seconds, question_id)

    def give_up(self, question_id: str) -> None:
        self._write("UPDATE questions SET answered_at = asked_at WHERE question_id = ?", question_id)

    def now(self, state: str, status: str | None = None, *, took: float | None = None, **answer: Any) -> None:
        query = "UPDATE runs SET state = ?, status = ?, answer = ?, started_at = coalesce(started_at, created_at), ended_at = coalesce(started_at, created_at) + ? WHERE kickoff_id = ?"
        self._write(query, state, status, json.dumps(answer), took, self.kickoff_id)

    def _write(self, query: str, *values: str | float | None) -> None:
        # A lone surrogate can be stored in JSON, which escapes it, and nowhere else.
        storable = [each.encode("utf-8", "replace").decode() if isinstance(each, str) else each for each in values]
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            db.execute(query, storable)


@dataclass
class Seen:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


class PageServer:
    """A server with nothing but the page. `started` anew on the same store, it is a restarted one."""

    def __init__(self, state: Path, token: str = TOKEN) -> None:
        self.runs = Runs(state / "runs.sqlite")
        self.backend = Backend(self.runs)
        self.page = Page(self.runs, self.backend, token, HINT)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"http://{self.host}"
        self._uvicorn = new_server(Starlette(routes=self.page.routes()))
        self._thread = threading.Thread(target=self._uvicorn.run, args=([self._listener],))

    def __enter__(self) -> PageServer:
        self._thread.start()
        self.cookie = self.ask("GET", self.page.ticket(), cookie="").headers.get("Set-Cookie", "").partition(";")[0]
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._uvicorn.should_exit = True
        self._thread.join()
        self._listener.close()

    def run(self, **inputs: Any) -> Run:
        return Run(self.runs.path, self.runs.add({"inputs": inputs}))

    def listed(self, limit: int) -> list[ListedRun]:
        """The newest runs, whatever their states."""
        return Listing(self.runs.path).listed([*FILTERS], limit)

    def ask(
        self, method: str, path: str, body: str | None = None, *, cookie: str | None = None, **headers: str
    ) -> Seen:
        sent = {"Cookie": self.cookie if cookie is None else cookie} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        with closing(http.client.HTTPConnection(self.host, timeout=60)) as connection:
            connection.request(method, path, body, sent)
            response = connection.getresponse()
            return Seen(response.status, response.headers, response.read())

    def see(self, path: str) -> str:
        seen = self.ask("GET", path)
        assert seen.status == 200, seen
        return seen.text

    def send(self, path: str, fields: dict[str, str | list[str]], **rest: Any) -> Seen:
        """Send a form as a browser would that has just loaded the list of runs."""
        fields = {"key": self.key()} | fields
        headers = {"Origin": self.url, "Sec_Fetch_Site": "same-origin"} | rest
        return self.ask("POST", path, urlencode(fields, doseq=True), **headers)

    def key(self) -> str:
        found = re.search(r'name="key" value="([0-9a-f]{64})"', self.see("/"))
        assert found
        return found[1]
