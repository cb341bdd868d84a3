"""The run's own process: loads a crew from its project and describes or runs it.

Run by path with the interpreter that has crewai, so it may import the standard library and crewai only:

    runner.py describe PROJECT OUT            writes {"inputs": […]} or {"error": "…"} to the file OUT
    runner.py run PROJECT DATABASE KICKOFF_ID  runs a kickoff and writes its progress and end to DATABASE
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sqlite3
import sys
import threading
import traceback
from datetime import datetime, timezone
from pathlib import Path
from typing import Any


def main(command: str, project: str, *rest: str) -> int:
    """Describe or run the crew of a project.

    :returns: the process's exit code.
    """
    # Python puts this file's directory first: its modules must not shadow the project's.
    sys.path[:] = [entry for entry in sys.path if entry != str(Path(__file__).parent)]
    return describe(project, Path(*rest)) if command == "describe" else run(project, *rest)


# ---- describe -------------------------------------------------------------------------------------


def describe(project: str, out: Path) -> int:
    """Write the names of the crew's inputs, or why it cannot be loaded, to a file."""
    try:
        said: dict[str, Any] = {"inputs": sorted(load(project).fetch_inputs())}
    except BaseException as error:  # noqa: BLE001 - whatever a project raises on import, even SystemExit, is the answer
        traceback.print_exc()
        said = {"error": _words(error)}
    out.write_text(json.dumps(said), encoding="utf-8")
    return "error" in said


# ---- run ------------------------------------------------------------------------------------------


def run(project: str, database: str, kickoff_id: str) -> int:
    """Run a kickoff and write its end, whatever that is."""
    report = Report(database, kickoff_id)
    try:
        report.succeeded(_kickoff(load(project), report))
    except BaseException as error:  # noqa: BLE001 - whatever a crew raises, even SystemExit, is how the run ended
        traceback.print_exc()
        report.failed(error)
        return 1
    return 0


def _kickoff(crew: Any, report: Report) -> Any:
    events = importlib.import_module("crewai.events")
    _listen(events, report, {id(task) for task in crew.tasks})
    report.started(total=len(crew.tasks))
    crew.stream = False  # a streaming crew answers with chunks: what is wanted is the result
    output = crew.kickoff(inputs=report.request.get("inputs") or {})
    events.crewai_event_bus.flush()
    return output


def _listen(events: Any, report: Report, own: set[int]) -> None:
    # A crew may kick off another one, whose tasks do not count: only its own do.
    def started(_: Any, event: Any) -> None:
        if id(event.task) in own:
            report.task_started(event.task)

    def completed(_: Any, event: Any) -> None:
        if id(event.task) in own:
            report.task_completed(event.output)

    events.crewai_event_bus.on(events.TaskStartedEvent)(started)
    events.crewai_event_bus.on(events.TaskCompletedEvent)(completed)


class Report:
    """What a run says of itself, written to the server's database under the API's own keys.

    Events arrive on threads of crewai's. A run that was stopped meanwhile is never written over.

    :param database: the server's sqlite file.
    :param kickoff_id: the run.
    """

    def __init__(self, database: str, kickoff_id: str) -> None:
        self._database = database
        self._kickoff_id = kickoff_id
        self._lock = threading.Lock()
        self._begun: datetime | None = None
        self._total = self._completed = 0
        self._current: dict[str, Any] = {"current": None, "current_agent": None}
        self._answer: dict[str, Any] = {}
        with contextlib.closing(self._connect()) as db:
            row = db.execute("SELECT request FROM runs WHERE kickoff_id = ?", (kickoff_id,)).fetchone()
        self.request: dict[str, Any] = json.loads(row[0])

    def started(self, total: int) -> None:
        """Say that the crew is at work on so many tasks."""
        self._begun, self._total = _now(), total
        self._write("RUNNING")

    def task_started(self, task: Any) -> None:
        """Say which task is at work, and whose it is."""
        agent = task.agent.role.strip() if task.agent else None
        with self._lock:
            self._current = {"current": task.name, "current_agent": agent}
            self._write("RUNNING")

    def task_completed(self, output: Any) -> None:
        """Say that a task is done, and what came out of it."""
        with self._lock:
            self._completed += 1
            self._answer["last_executed_task"] = self._task(output)
            self._write("RUNNING")

    def succeeded(self, output: Any) -> None:
        """Say that the crew is done, and what it answers."""
        with self._lock:
            self._completed = self._total
            self._current = {"current": None, "current_agent": None}
            self._answer = {
                "result": output.raw,
                "result_json": output.to_dict() or None,
                "usage_metrics": output.token_usage.model_dump(),
                "last_executed_task": self._task(output.tasks_output[-1]) if output.tasks_output else None,
            }
            self._write("SUCCESS")

    def failed(self, error: BaseException) -> None:
        """Say why there is no answer."""
        with self._lock:
            self._write("FAILED", _words(error))

    def _task(self, output: Any) -> dict[str, Any]:
        return {
            "name": output.name,
            "description": output.description,
            "expected_output": output.expected_output,
            "summary": output.summary,
            "agent": output.agent.strip(),
            "output": output.raw,
            "output_json": output.to_dict() or None,
            "kickoff_id": self._kickoff_id,
            "meta": self.request.get("meta"),
        }

    def _progress(self) -> dict[str, Any] | None:
        if self._begun is None:
            return None
        now = _now()
        counts = {"completed": self._completed, "total": self._total, "remaining": self._total - self._completed}
        times = {"started_at": _utc(self._begun), "updated_at": _utc(now)}
        return {
            "unit": "task",
            **counts,
            **self._current,
            **times,
            "duration_seconds": round((now - self._begun).total_seconds(), 3),
        }

    def _write(self, state: str, status: str | None = None) -> None:
        answer = _plain(self._answer | {"progress": self._progress()})
        query = (
            "UPDATE runs SET state = ?, status = ?, answer = ? WHERE kickoff_id = ? AND state IN ('STARTED', 'RUNNING')"
        )
        with contextlib.closing(self._connect()) as db:
            db.execute(query, (state, status, answer, self._kickoff_id))

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self._database, timeout=30, isolation_level=None)


def _plain(value: Any) -> str:
    # A second pass, since NaN and Infinity are Python's, not JSON's.
    return json.dumps(json.loads(json.dumps(value, default=str), parse_constant=lambda _: None))


def _now() -> datetime:
    return datetime.now(timezone.utc)  # noqa: UP017 - crewai runs on Python 3.10 too, which has no datetime.UTC


def _utc(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def _words(error: BaseException) -> str:
    # Replaced, since a lone surrogate cannot be stored.
    return f"{type(error).__name__}: {error}".encode("utf-8", "replace").decode()


# ---- load -----------------------------------------------------------------------------------------


def load(project: str) -> Any:
    """Load the crew of a project.

    :param project: a directory with `crew.py` or `src/*/crew.py`, or `module:attribute` in the current directory.
    :returns: a new `Crew`.
    :raises LookupError: there is no crew, or more than one.
    """
    _load_dotenv()
    if Path(project).is_dir():
        return _as_crew(_crew_class(_crew_module(Path(project).resolve())))
    sys.path.insert(0, str(Path.cwd()))
    module, _, attribute = project.partition(":")
    return _as_crew(getattr(importlib.import_module(module), attribute))


def _load_dotenv() -> None:
    # As crewai's own command line does. Where dotenv is missing so is crewai, and the crew's import says so.
    with contextlib.suppress(ImportError):
        importlib.import_module("dotenv").load_dotenv(Path(".env"))


def _crew_module(project: Path) -> Any:
    files = sorted([*project.glob("crew.py"), *project.glob("src/*/crew.py")])
    if len(files) != 1:
        found = ", ".join(str(file.relative_to(project)) for file in files) or "neither"
        raise LookupError(f"a project has one crew.py or src/*/crew.py; {project} has {found}")
    package = files[0].parent
    if package == project:
        sys.path.insert(0, str(project))
        return importlib.import_module("crew")
    sys.path.insert(0, str(package.parent))
    return importlib.import_module(f"{package.name}.crew")


def _crew_class(module: Any) -> Any:
    own = [value for value in vars(module).values() if getattr(value, "__module__", None) == module.__name__]
    classes = [value for value in own if isinstance(value, type) and getattr(value, "is_crew_class", False)]
    if len(classes) != 1:
        found = ", ".join(found.__name__ for found in classes) or "none"
        raise LookupError(f"{module.__file__} must define one @CrewBase class, it has {found}")
    return classes[0]


def _as_crew(found: Any) -> Any:
    # A Crew, an instance of a @CrewBase class, or whatever makes one of them.
    if not isinstance(found, type):
        if hasattr(found, "fetch_inputs"):
            return found
        if hasattr(found, "crew"):
            return _as_crew(found.crew())
    if callable(found):
        return _as_crew(found())
    raise LookupError(f"{found!r} is not a crew")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
