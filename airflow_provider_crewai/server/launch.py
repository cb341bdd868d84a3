"""Which interpreter runs the crew, and the processes of the runs: started, stopped, and noticed when they die."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_provider_crewai.server.runs import Runs

TOKEN_VARIABLE = "CREWAI_SERVER_TOKEN"  # noqa: S105 - the variable's name, not a token

_RUNNER = Path(__file__).with_name("runner.py")
_DESCRIBE_SECONDS = 120

# Without these the first kickoff waits 15 seconds for hosts that a local run has no business with.
_QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "PYTHONUNBUFFERED": "1",
}

log = logging.getLogger(__name__)


class ProjectError(Exception):
    """The project's crew cannot be loaded; the message says why."""


@dataclass(frozen=True, slots=True)
class Project:
    """Where a crew comes from.

    :param target: what the runner loads: a directory, or `module:attribute`.
    :param directory: where it is run.
    """

    target: str
    directory: Path
    name: str

    @classmethod
    def named(cls, text: str) -> Project:
        """Understand the PROJECT argument.

        :raises ValueError: it is neither a directory nor `module:attribute`.
        """
        path = Path(text).resolve()
        if path.is_dir():
            return cls(str(path), path, path.name)
        module, _, attribute = text.partition(":")
        if not (attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))):
            raise ValueError(f"{text!r} is neither a directory nor module:attribute")
        return cls(text, Path.cwd(), text)

    def python(self) -> str:
        """Return the interpreter that has crewai: the project's `.venv`, else this one."""
        own = self.directory / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable


class Launcher:
    """Describes the crew and runs its kickoffs, each in a process of its own that outlives the server.

    A run's process holds a lock on a file for as long as it lives, so the next server knows it is alive.

    :param runs: the store of all runs.
    :param project: where the crew comes from.
    :param python: the interpreter that has crewai.
    :param home: where logs, locks and storages are kept.
    :param slots: how many runs may be under way at once.
    """

    def __init__(self, runs: Runs, project: Project, python: str, home: Path, slots: int) -> None:
        self._runs = runs
        self._project = project
        self._python = python
        self._home = home
        self._slots = slots
        self._under_way: set[str] = set()
        self._launching = threading.Lock()
        self._describing = threading.Lock()
        self._inputs: list[str] | None = None
        self._describer: subprocess.Popen[bytes] | None = None

    # ---- describe ---------------------------------------------------------------------------------

    def inputs(self) -> list[str]:
        """Return the sorted names of the crew's inputs; asked once, then remembered.

        :raises ProjectError: the crew cannot be loaded. The next call tries again.
        """
        with self._describing:
            if self._inputs is None:
                self._inputs = self._describe()
            return self._inputs

    def close(self) -> None:
        """End the process that describes the crew, if there is one. Runs go on."""
        if self._describer and self._describer.poll() is None:
            self._describer.kill()

    def _describe(self) -> list[str]:
        said = self._described()
        if "error" in said:
            raise ProjectError(f"{self._project.name} cannot be loaded by {self._python}: {said['error']}")
        inputs: list[str] = said["inputs"]
        return inputs

    def _described(self) -> dict[str, Any]:
        home = self._home / "describe"
        out = home / "described.json"
        out.unlink(missing_ok=True)
        try:
            self._describer = self._command("describe", home, str(out))
        except OSError as error:
            return {"error": f"{type(error).__name__}: {error}"}
        how = _exit_of(self._describer, _DESCRIBE_SECONDS)
        if not out.exists():
            return {"error": f"its process {how}; see {home / 'log'}"}
        said: dict[str, Any] = json.loads(out.read_bytes())
        return said

    # ---- run --------------------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take over what an earlier server left: watch the runs under way, start those that wait."""
        for run in self._runs.under_way():
            self._watch(run.kickoff_id, None)
        self.dispatch()

    def dispatch(self) -> None:
        """Start the runs that wait, in order, while there are free slots."""
        with self._launching:
            while len(self._under_way) < self._slots and (kickoff_id := self._runs.claim()):
                self._start(kickoff_id)

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run and every process of its group.

        :returns: False if it had already ended.
        """
        with self._launching:
            if not self._runs.end(kickoff_id, "REVOKED", "Task was revoked"):
                return False
            run = self._runs.get(kickoff_id)
            # Asked first, since the pid of a dead process may be somebody else's by now.
            if run and run.pid and self._is_alive(kickoff_id):
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
        return True

    def _start(self, kickoff_id: str) -> None:
        lock = self._open_lock(kickoff_id)
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            home = self._home / kickoff_id
            process = self._command("run", home, str(self._runs.path), kickoff_id, lock=lock)
        except OSError as error:
            self._runs.end(kickoff_id, "FAILED", f"{type(error).__name__}: {error}")
        else:
            self._runs.set_pid(kickoff_id, process.pid)
            self._watch(kickoff_id, process)
        finally:
            os.close(lock)  # the lock itself lives on in the run's process, which inherited it

    def _command(self, command: str, home: Path, *rest: str, lock: int | None = None) -> subprocess.Popen[bytes]:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        environment = os.environ | _QUIET | {"CREWAI_STORAGE_DIR": str(home / "storage")}
        environment.pop(TOKEN_VARIABLE, None)  # a crew and its tools have no use for it
        with (home / "log").open("wb") as output:
            return subprocess.Popen(  # noqa: S603 - the interpreter is the operator's own choice
                [self._python, str(_RUNNER), command, self._project.target, *rest],
                cwd=self._project.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=() if lock is None else (lock,),
            )

    # ---- watch ------------------------------------------------------------------------------------

    def _watch(self, kickoff_id: str, process: subprocess.Popen[bytes] | None) -> None:
        self._under_way.add(kickoff_id)
        threading.Thread(target=self._see_to_the_end, args=(kickoff_id, process), daemon=True).start()

    def _see_to_the_end(self, kickoff_id: str, process: subprocess.Popen[bytes] | None) -> None:
        how = _exit_of(process) if process else self._death_of(kickoff_id)
        if self._runs.end(kickoff_id, "FAILED", f"The run's process {how} before it could report an end"):
            log.warning("run %s: its process %s; see %s", kickoff_id, how, self._home / kickoff_id / "log")
        with self._launching:
            self._under_way.discard(kickoff_id)
        self.dispatch()

    def _death_of(self, kickoff_id: str) -> str:
        lock = self._open_lock(kickoff_id)
        fcntl.flock(lock, fcntl.LOCK_SH)
        os.close(lock)
        return "died"

    def _is_alive(self, kickoff_id: str) -> bool:
        lock = self._open_lock(kickoff_id)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def _open_lock(self, kickoff_id: str) -> int:
        home = self._home / kickoff_id
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)


def _exit_of(process: subprocess.Popen[bytes], seconds: float | None = None) -> str:
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return f"took longer than {seconds} seconds"
    names = {-member.value: member.name for member in signal.Signals}
    return f"was killed by {names[code]}" if code in names else f"exited with code {code}"
