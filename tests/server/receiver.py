"""A real receiver of webhooks on a loopback socket, and the outbox that delivers to it, on a thread as in the server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from airflow_provider_crewai.server.outbox import Outbox


@dataclass
class Received:
    at: float
    path: str
    headers: HTTPMessage
    raw: bytes

    def json(self) -> Any:
        return json.loads(self.raw)


@dataclass
class Answer:
    status: int
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0


@dataclass
class Receiver:
    """Answers what it is told in turn, and else 204."""

    url: str = ""
    received: list[Received] = field(default_factory=list)
    answers: list[Answer] = field(default_factory=list)
    hung_up: threading.Event = field(default_factory=threading.Event)

    def bodies(self) -> list[Any]:
        return [one.json() for one in self.received]

    def wait_for(self, count: int, seconds: float = 10) -> list[Received]:
        deadline = time.monotonic() + seconds
        while len(self.received) < count:
            assert time.monotonic() < deadline, f"{len(self.received)} of {count} requests arrived"
            time.sleep(0.005)
        return self.received


@contextmanager
def receiving(*answers: Answer, port: int = 0) -> Iterator[Receiver]:
    receiver = Receiver(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"] or 0))
            receiver.received.append(Received(time.time(), self.path, self.headers, raw))
            answer = receiver.answers.pop(0) if receiver.answers else Answer(204)
            receiver.hung_up.wait(answer.seconds)
            self.send_response(answer.status)
            for name, value in {"Content-Length": "0", **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.hung_up.set()
        server.shutdown()
        server.server_close()


@contextmanager
def delivering(database: Path, token: str, timeout: float = 10, finish: float = 60) -> Iterator[None]:
    """Let an outbox deliver. What it has begun by the end of the block it finishes, within so many seconds."""
    stop = threading.Event()
    outbox = Outbox(database, token, timeout=timeout, finish=finish)
    thread = threading.Thread(target=outbox.run, args=(stop,))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
