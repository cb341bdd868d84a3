"""A deployed crew on a real socket, whose answers a test writes. Milliseconds for each."""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

TOKEN = "the-secret-token-of-the-crew"
INPUTS = {"topic": "Tides", "audience": "sailors"}


@dataclass(frozen=True)
class Answer:
    """What is sent back. A body that is no bytes is sent as JSON; `drip` seconds pass before each byte of it."""

    status: int = 200
    body: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    drip: float = 0.0


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


LOST = Answer(0)
"""The connection ends without an answer."""

State = str | dict[str, Any]
Script = Answer | Callable[[Asked], Answer | None]
"""An answer, or something that is done when the request has come; None then means the usual answer."""


def error(status: int, detail: str, **headers: str) -> Answer:
    return Answer(status, {"detail": detail}, {name.replace("_", "-"): value for name, value in headers.items()})


def success(text: str = "A brief on tides.", result_json: Any = None) -> dict[str, Any]:
    return {"state": "SUCCESS", "status": None, "result": text, "result_json": result_json}


def failure(said: str) -> dict[str, Any]:
    return {"state": "FAILED", "status": said, "result": None}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128
    """Connections that wait to be accepted. Beyond it the kernel drops them, and who connects waits for seconds."""


class ScriptedCrew:
    """A crew that runs what its story says: each look at a run sees the next state, and the last one lasts for ever.

    `kickoffs`, `looks` and `stops` are what it was asked, in order. `connections` counts TCP connections.
    """

    def __init__(self) -> None:
        self.token = TOKEN
        self.kickoffs: list[dict[str, Any]] = []
        self.looks: list[str] = []
        self.stops: list[str] = []
        self.asked: list[Asked] = []
        self.connections = 0
        self.inputs = list(INPUTS)
        self._story: tuple[State, ...] = (success(),)
        self._runs: dict[str, deque[State]] = {}
        self._once: dict[str, deque[Script]] = defaultdict(deque)
        self._always: dict[str, Script] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection that leads here."""
        return {"conn_type": "crewai", "host": self.url, "password": self.token}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def story(self, *states: State) -> None:
        """Let the runs that start from now on go through these states."""
        self._story = states

    def now(self, kickoff_id: str, *states: State) -> None:
        """Let a run, known or not, go through these states from now on."""
        self._runs[kickoff_id] = deque(states)

    def once(self, path: str, *scripts: Script) -> None:
        """Answer the next requests below a path by these instead, one each."""
        self._once[path].extend(scripts)

    def always(self, path: str, script: Script | None) -> None:
        """Answer all requests below a path by this, until it is None again."""
        if script is None:
            del self._always[path]
        else:
            self._always[path] = script

    def _answer(self, asked: Asked) -> Answer:
        place, _, kickoff_id = asked.path.removeprefix("/").partition("/")
        with self._lock:
            self.asked.append(asked)
            self._note(place, kickoff_id, asked)
            script = self._script(f"/{place}")
        # Not locked: a script may take its time, and other requests come meanwhile.
        scripted = script(asked) if callable(script) else script
        if scripted is not None:
            return scripted
        if asked.headers.get("authorization") != f"Bearer {self.token}":
            return error(401, "Invalid or missing authentication credentials")
        with self._lock:
            return self._usual(place, kickoff_id)

    def _note(self, place: str, kickoff_id: str, asked: Asked) -> None:
        match place:
            case "kickoff":
                self.kickoffs.append(asked.body)
            case "status":
                self.looks.append(kickoff_id)
            case "stop":
                self.stops.append(kickoff_id)

    def _script(self, path: str) -> Script | None:
        queue = self._once[path]
        return queue.popleft() if queue else self._always.get(path)

    def _usual(self, place: str, kickoff_id: str) -> Answer:
        match place:
            case "inputs":
                return Answer(body={"inputs": self.inputs})
            case "kickoff":
                kickoff_id = f"run-{len(self._runs) + 1}"
                self._runs[kickoff_id] = deque(self._story)
                return Answer(body={"kickoff_id": kickoff_id})
            case "status":
                return Answer(body=self._look(kickoff_id))
            case "stop":
                return self._stop(kickoff_id)
        return error(404, "Not Found")

    def _look(self, kickoff_id: str) -> dict[str, Any]:
        states = self._runs.get(kickoff_id, deque(["NOT FOUND"]))
        state = states.popleft() if len(states) > 1 else states[0]
        return {"state": state, "status": f"It is {state}"} if isinstance(state, str) else state

    def _stop(self, kickoff_id: str) -> Answer:
        state = self._look(kickoff_id)["state"]
        if state in ("SUCCESS", "FAILED", "REVOKED"):
            return error(400, f"Cannot stop execution. Current state: {state}")
        self._runs[kickoff_id] = deque([{"state": "REVOKED", "status": None}])
        return Answer(body={"status": "stopped", "kickoffId": kickoff_id})

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        crew = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                crew.connections += 1

            def handle_any(self) -> None:
                sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                asked = Asked(self.command, self.path, headers, json.loads(sent) if sent else None)
                with suppress(ConnectionError):  # who asked may be gone
                    self.give(crew._answer(asked))

            do_GET = do_POST = handle_any  # noqa: N815 - http.server's names

            def give(self, answer: Answer) -> None:
                if answer is LOST:
                    self.close_connection = True
                    return
                body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                for name, value in {"Content-Length": str(len(body)), **answer.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                for part in (bytes([byte]) for byte in body) if answer.drip else (body,):
                    time.sleep(answer.drip)
                    self.wfile.write(part)

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        return Handler
