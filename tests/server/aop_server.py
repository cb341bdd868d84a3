"""The real server, as a process of its own on a real socket, with the real example crew."""

from __future__ import annotations

import fcntl
import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
EXAMPLE = REPOSITORY / "example_crew"
PROJECTS = REPOSITORY / "tests" / "server" / "projects"
PLAIN = PROJECTS / "plain"
"""A crew for `start_plain`: it knows nothing of crewai but plain tasks."""
TOKEN = "a-token-for-tests"
LOADING = b"still being loaded, so nothing was started"
INPUTS = {"topic": "AI agents", "audience": "engineers"}


@dataclass
class Answer:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server under test. It is started again with the same state by `restart`."""

    arguments: list[str]
    state: Path
    environment: dict[str, str] = field(default_factory=dict)
    cwd: Path = REPOSITORY
    token: str = TOKEN

    def start(self) -> Server:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "airflow_provider_crewai.server", *self.arguments, "--state", str(self.state)],
            cwd=self.cwd,
            env=os.environ | {"PYTHONPATH": str(REPOSITORY), "CREWAI_SERVER_TOKEN": self.token} | self.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line.startswith("Serving "), line
        self.url = line.split()[-1]
        return self

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        code = self.process.wait(60)
        assert self.process.stdout
        assert self.process.stdout.read() == "", "stdout holds the one line alone"
        return code

    def restart(self, how: signal.Signals = signal.SIGTERM) -> None:
        self.end(how)
        self.start()

    def ask(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        """Ask, and again while the project is still being loaded, as the server says: a busy machine takes its time."""
        deadline = time.monotonic() + 180
        while (answer := self.ask_once(method, path, body, headers)).status == 503 and LOADING in answer.body:
            assert time.monotonic() < deadline, answer
            time.sleep(float(answer.headers["Retry-After"]))
        return answer

    def ask_once(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Answer:
        if headers is None:
            headers = {"Authorization": f"Bearer {self.token}"}
        payload = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        with closing(http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=180)) as connection:
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())

    def kickoff(self, inputs: dict[str, Any] | None = None, **rest: object) -> str:
        answer = self.ask("POST", "/kickoff", {"inputs": INPUTS if inputs is None else inputs, **rest})
        assert answer.status == 200, answer
        assert answer.json().keys() == {"kickoff_id"}
        return str(answer.json()["kickoff_id"])

    def status(self, kickoff_id: str) -> dict[str, Any]:
        answer = self.ask("GET", f"/status/{kickoff_id}")
        assert answer.status == 200, answer
        status: dict[str, Any] = answer.json()
        return status

    def wait(self, kickoff_id: str, *states: str, seconds: float = 60) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while (status := self.status(kickoff_id))["state"] not in states:
            assert time.monotonic() < deadline, status
            assert status["state"] not in {"SUCCESS", "FAILED", "REVOKED"}, status
            time.sleep(0.1)
        return status

    def resume(self, kickoff_id: str, task_id: str, feedback: str, **rest: object) -> Answer:
        answer = {"executionId": kickoff_id, "taskId": task_id, "humanFeedback": feedback}
        return self.ask("POST", "/resume", answer | rest)

    def asked(self, kickoff_id: str, other_than: str = "", seconds: float = 60) -> dict[str, Any]:
        """Wait until the run asks a human (something new); returns the question."""
        deadline = time.monotonic() + seconds
        while True:
            status = self.wait(kickoff_id, "PAUSED", seconds=seconds)
            question: dict[str, Any] = status.get("human_input", {})
            if question.get("task_id", other_than) != other_than:
                return question
            assert time.monotonic() < deadline, status
            time.sleep(0.1)

    def pid_now(self, kickoff_id: str) -> int | None:
        """The run's process, which no endpoint tells: none while it is between two processes."""
        with closing(sqlite3.connect(self.state / "runs" / "runs.sqlite")) as db:
            row = db.execute("SELECT pid FROM runs WHERE kickoff_id = ?", (kickoff_id,)).fetchone()
        return None if row[0] is None else int(row[0])

    def pid(self, kickoff_id: str, seconds: float = 60) -> int:
        """Wait for the run's process: a run can be RUNNING a moment before the server has written down its pid."""
        deadline = time.monotonic() + seconds
        while (pid := self.pid_now(kickoff_id)) is None:
            assert time.monotonic() < deadline, self.status(kickoff_id)
            time.sleep(0.02)
        return pid

    @contextmanager
    def held(self, kickoff_id: str) -> Iterator[None]:
        """Stand a run still, so that it is not over before a slow machine has seen it."""
        group = self.pid(kickoff_id)
        os.killpg(group, signal.SIGSTOP)
        while not self._may_write():  # it was stopped while it wrote, and nobody else could
            os.killpg(group, signal.SIGCONT)
            time.sleep(0.05)
            os.killpg(group, signal.SIGSTOP)
        try:
            yield
        finally:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGCONT)

    def _may_write(self) -> bool:
        with closing(sqlite3.connect(self.state / "runs" / "runs.sqlite", timeout=0.2, isolation_level=None)) as db:
            try:
                db.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def parent_of(self, pid: int) -> int:
        """A run's parent: the warm process."""
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])

    def question_id(self, kickoff_id: str) -> str:
        """What the run asked last: told by a webhook alone where the server is strict."""
        with closing(sqlite3.connect(self.state / "runs" / "runs.sqlite")) as db:
            query = "SELECT question_id FROM questions WHERE kickoff_id = ? ORDER BY asked_at DESC"
            return str(db.execute(query, (kickoff_id,)).fetchone()[0])

    def has_let_go(self, kickoff_id: str, seconds: float = 30) -> bool:
        """Whether the run's process is gone: by its lock, since where nobody reaps orphans their pids stay."""
        deadline = time.monotonic() + seconds
        file = self.state / "runs" / kickoff_id / "lock"
        if not file.exists():  # it was stopped before it had a process
            return True
        with file.open() as lock:
            while time.monotonic() < deadline:
                with suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return True
                time.sleep(0.05)
        return False


Start = Callable[..., Server]
"""The `start` fixture: takes a project, options of the command line, and fields of `Server`."""
