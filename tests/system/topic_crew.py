"""A crew whose runs do what their topic says, in the shapes of a live deployment. Its texts are as hostile as can be."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from types import TracebackType
from typing import Any, Self

HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>[x](javascript:alert(3))\"'><svg/onload=alert(4)>"
PROGRESS = {"completed": 1, "total": 3, "current": "write", "current_agent": "Writer"}
USAGE = {"total_tokens": 1200, "prompt_tokens": 1000, "completion_tokens": 200}
STATES: dict[str, dict[str, Any]] = {
    "fails": {
        "state": "FAILED",
        "status": "ValueError: no tides on Mars",
        "progress": PROGRESS,
        "usage_metrics": USAGE,
    },
    "runs": {"state": "RUNNING", "status": "Task is Running", "progress": PROGRESS, "usage_metrics": USAGE},
    "asks": {
        "state": "PAUSED",
        "status": "Waiting for human input",
        "progress": PROGRESS,
        "human_input": {
            "task_id": "q-1",
            "message": "Is the brief good enough?",
            "output": "# Tides\n\n**Ebb** and flow.",
        },
    },
    "succeeds": {"state": "SUCCESS", "result": "# Tides\n\nThe *sea* rises.", "usage_metrics": USAGE},
    "forgotten": {"state": "SUCCESS", "result": "What is left behind.", "usage_metrics": USAGE},
    "hostile": {
        "state": "FAILED",
        "status": HOSTILE,
        "progress": {"completed": 1, "total": 2, "current": HOSTILE, "current_agent": HOSTILE},
        "usage_metrics": {HOSTILE: 7},
    },
}


class TopicCrew:
    """Serves on a port of its own, in a thread of its own. Use it as a context manager.

    :param forgets: topics whose runs it does not know any more.
    :param looks: how often it was asked about the runs of each topic.
    """

    token = "a-token-for-pages"

    def __init__(self) -> None:
        self.forgets: set[str] = set()
        self.looks: Counter[str] = Counter()
        self._numbers = count(1)
        crew = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._answer(*crew.get(self.path))

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or b"{}")
                self._answer(*crew.post(self.path, body))

            def _answer(self, status: int, body: object) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    @property
    def connection(self) -> dict[str, object]:
        """The Airflow connection that leads here."""
        return {"conn_type": "crewai", "host": self.url, "password": self.token}

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def get(self, path: str) -> tuple[int, object]:
        """Answer a look, or say which inputs the crew takes."""
        if path == "/inputs":
            return 200, {"inputs": ["topic"]}
        topic = path.rpartition("/")[2].partition("-")[0]
        self.looks[topic] += 1
        gone = {"state": "NOT FOUND", "status": "Task not found or Invalid kickoff id"}
        return 200, gone if topic in self.forgets else STATES.get(topic, gone)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, object]:
        """Start a run; the answer to one kickoff is lost in a gateway."""
        if path.startswith("/stop"):
            return 200, {"status": "stopped"}
        topic = body["inputs"]["topic"]
        if topic == "vanishes":
            return 502, {"detail": "Bad Gateway"}
        return 200, {"kickoff_id": f"{topic}-{next(self._numbers)}"}
