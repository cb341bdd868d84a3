"""The server's end of the warm process (`crew_process`): starts it, asks it, and replaces it when files change."""

from __future__ import annotations

import json
import logging
import os
import select
import signal
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_provider_crewai.server import private
from airflow_provider_crewai.server.access import TOKEN_VARIABLE
from airflow_provider_crewai.server.crew_process.run_settings import RunSettings
from airflow_provider_crewai.server.project import Description, Project, ProjectError, StillLoading, WarmProcessDied

FAILURE_HOLDS = 5.0
"""Seconds to wait after a failed load before the next try, unless the project's files change."""

START_WITHIN = 15.0
"""Seconds that the warm process may take to start a run. It only has to fork."""

LOAD_WITHIN = 300.0
"""Seconds that a project may take to load. A first import on a slow disk takes a minute."""

TURN_WITHIN = 2.0
"""Seconds that a run waits for its turn, while the warm process does something else."""

_TO_SAY_WHERE = 0.5
_TOP = Path(__file__).with_name("crew_process") / "__main__.py"

# Without these the first kickoff waits 15 seconds for hosts that a local run does not need.
_QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "PYTHONUNBUFFERED": "1",
}

log = logging.getLogger(__name__)


class WarmProcess:
    """The project as it is on disk now, loaded in a process that waits to start runs.

    :param project: where the crew or flow comes from.
    :param python: the interpreter that has crewai.
    :param settings: what the warm process and the runs need to know.
    :param umask: the umask of the files that a crew creates.
    :param load_within: seconds that the project may take to load.
    """

    def __init__(
        self, project: Project, python: str, settings: RunSettings, umask: int, *, load_within: float = LOAD_WITHIN
    ) -> None:
        self._project = project
        self._python = python
        self._settings = settings
        self._umask = umask
        self._load_within = load_within
        # One thread does all that follows, one thing at a time. Nobody else ever waits for a project without limit.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="warm process")
        self._process: subprocess.Popen[bytes] | None = None
        self._description: Description | None = None
        self._files: list[str] | None = None
        self._loaded_from: int | None = None
        self._failure: ProjectError | None = None
        self._failed_at = 0.0
        self._logged = ""
        self._closed = False

    def description(self) -> Future[Description]:
        """Describe the project. Loads it first if it is not loaded, or its files have changed.

        :returns: the description, as soon as there is one, or ProjectError, if it cannot be loaded.
        """
        return self._thread.submit(self._describe)

    def make_ready(self) -> Future[Description]:
        """Do the same, but take a failed load for what it is until it may be tried again."""
        return self._thread.submit(self._make_ready)

    def start(self, kickoff_id: str) -> int:
        """Start the process of a run. It holds the run's lock from the first moment.

        :returns: its pid.
        :raises ProjectError: the project cannot be loaded, or is being loaded, or no process can be started.
        :raises WarmProcessDied: the warm process did not answer.
        """
        starting = self._thread.submit(self._start, kickoff_id)
        with suppress(TimeoutError):
            return starting.result(TURN_WITHIN)
        if starting.cancel():
            raise StillLoading(self._project.name)
        return starting.result()

    def _describe(self) -> Description:
        if self._project.fingerprint(self._files) != self._loaded_from:
            self._let_go()
        return self._ready()

    def _make_ready(self) -> Description:
        if self._description and self._project.fingerprint(self._files) != self._loaded_from:
            self._let_go()
        return self._ready()

    def _start(self, kickoff_id: str) -> int:
        self._ready()
        said = self._ask({"run": kickoff_id})
        if "error" in said:
            raise ProjectError(said["error"])
        pid: int = said["pid"]
        return pid

    def close(self) -> None:
        """Let the warm process go for good. It ends when its runs have ended, or at once if it is still loading.

        Does not wait for its turn: a project may never finish loading.
        """
        self._closed = True
        process = self._process
        if process and self._description is None:
            _kill(process)
        elif process and process.stdin:
            with suppress(OSError):
                process.stdin.close()

    def _let_go(self) -> None:
        process, self._process, self._description, self._failure = self._process, None, None, None
        if process and process.stdin and process.stdout:
            with suppress(OSError):  # flushes what could not be written before the process died
                process.stdin.close()
            process.stdout.close()

    def _ready(self) -> Description:
        if self._failure and time.monotonic() < self._failed_at + FAILURE_HOLDS:
            raise self._failure
        if self._description is None or self._process is None or self._process.poll() is not None:
            self._let_go()
            self._description = self._load()
        return self._description

    def _load(self) -> Description:
        began = time.time_ns()
        said = self._started()
        if "error" in said:
            self._log_traceback(said)
            raise self._failed(said["error"])
        description = Description(**said)
        self._files = description.files
        # A file that changed while the project was loaded may have been read before that.
        is_old = description.has_changed_since(began)
        self._loaded_from = None if is_old else self._project.fingerprint(self._files)
        return description

    def _started(self) -> dict[str, Any]:
        """Start the process. Returns what it says about the project, or an `error`."""
        try:
            self._process = process = self._open()
            if self._closed:  # `close` came a moment earlier and found no process
                _kill(process)
            return self._loaded(process)
        except WarmProcessDied as error:
            return {"error": f"{error}; see {self._settings.folder('warm') / 'log'}"}
        except OSError as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _loaded(self, process: subprocess.Popen[bytes]) -> dict[str, Any]:
        if _speaks_within(process, self._load_within):
            return _hear(process)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGUSR1)  # writes into its log where it hangs
        time.sleep(_TO_SAY_WHERE)
        _kill(process)
        return {
            "error": f"it was not loaded within {self._load_within:g} seconds, and was ended; the last lines of "
            f"{self._settings.folder('warm') / 'log'} say where it hung (--load-timeout gives it longer)"
        }

    def _log_traceback(self, said: dict[str, Any]) -> None:
        # Once for each error: while runs wait, the project is loaded again and again.
        if self._logged != said["error"]:
            self._logged = said["error"]
            for each in said.get("traceback", "").splitlines():
                log.warning("    %s", each)

    def _failed(self, why: str) -> ProjectError:
        self._let_go()
        self._files, self._loaded_from = None, self._project.fingerprint()
        self._failed_at = time.monotonic()
        self._failure = ProjectError(f"{self._project.name} cannot be loaded by {self._python}: {why}")
        return self._failure

    def _open(self) -> subprocess.Popen[bytes]:
        folder = self._settings.folder("warm")
        with os.fdopen(private.opened(folder / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND), "wb") as output:
            output.truncate()
            return subprocess.Popen(  # noqa: S603 - the interpreter is the operator's own choice
                [self._python, str(_TOP), "warm"],
                cwd=self._project.directory,
                env=self._settings.in_environment(_environment(self._settings)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                umask=self._umask,
            )

    def _ask(self, what: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process is not None  # noqa: S101 - just made ready
        assert process.stdin is not None  # noqa: S101 - a pipe
        try:
            process.stdin.write(json.dumps(what).encode() + b"\n")
            process.stdin.flush()
        except OSError as error:
            raise WarmProcessDied(str(error)) from error
        if not _speaks_within(process, START_WITHIN):
            _kill(process)  # a late answer would be taken for the answer to the next question
        return _hear(process)


def _environment(settings: RunSettings) -> dict[str, str]:
    environment = os.environ | _QUIET | {"CREWAI_STORAGE_DIR": str(settings.folder("storage"))}
    environment.pop(TOKEN_VARIABLE, None)  # a crew and its tools do not need it
    return environment


def _speaks_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    assert process.stdout is not None  # noqa: S101 - a pipe
    poll = select.poll()
    poll.register(process.stdout, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _hear(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    assert process.stdout is not None  # noqa: S101 - a pipe
    line = process.stdout.readline()
    if not line:
        raise WarmProcessDied(f"its process exited with code {process.wait()}")
    said: dict[str, Any] = json.loads(line)
    return said


def _kill(process: subprocess.Popen[bytes]) -> None:
    # With its group, which the process that describes the project belongs to. Runs have groups of their own.
    with suppress(ProcessLookupError, PermissionError):  # macOS raises the latter for a group of dead processes
        os.killpg(process.pid, signal.SIGKILL)
