"""The warm process: imports the project once, and forks a process for each run.

A fork takes a tenth of a second; importing crewai takes seconds. A fork is not safe if the project started threads on
import, or on macOS. Then the forked process starts Python anew.

The server writes lines of JSON to stdin, and gets one line back for each. When the server is gone, the warm process
takes no more runs, but stays until its runs have ended: only the parent of a process can see how it ended.
"""

from __future__ import annotations

import faulthandler
import fcntl
import io
import json
import os
import select
import signal
import sqlite3
import sys
import threading
import traceback
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NoReturn

from . import describing, running
from .loading import Loaded
from .reading import Reading
from .run_settings import RunSettings
from .telling import told

_TOP = str(Path(__file__).resolve().with_name("__main__.py"))


def main(settings: RunSettings) -> int:
    """Load the project, describe it, then do what the server says. Returns the exit code."""
    hear, say = _listener(), _speaker()
    _be_the_first_to_go()
    faulthandler.register(signal.SIGUSR1)  # the server asks where a project hangs that never finishes loading
    reading = Reading(settings.directory)
    try:
        loaded, settings = running.load(settings)
    except BaseException as error:  # noqa: BLE001 - whatever a project raises on import, even SystemExit, is the answer
        traceback.print_exc()
        say(told(error, Path(settings.directory)))
        return 1
    warm = ForkServer(settings, loaded)
    say(warm.describe(reading))
    reading.stop()
    warm.serve(hear, say)
    return 0


def _be_the_first_to_go() -> None:
    """Let the kernel end this process and its runs before the server and others, if the machine has no memory left."""
    with suppress(OSError):  # only Linux has this file
        Path("/proc/self/oom_score_adj").write_text("500")


class ForkServer:
    """Forks runs, and notes how they end.

    :param settings: what each run needs to know.
    :param loaded: the project.
    """

    def __init__(self, settings: RunSettings, loaded: Loaded) -> None:
        self._settings = settings
        self._loaded = loaded
        self._runs: dict[int, tuple[str, int]] = {}  # pid: kickoff_id and the lock that it holds
        self._may_fork = threading.active_count() == 1 and sys.platform != "darwin"
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for end in (self._woken, wake):
            _keep_from_children(end)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # Python writes to the pipe only if it has a handler

    def describe(self, reading: Reading) -> dict[str, Any]:
        """Describe the project, and name the files that it is read from.

        A process of its own builds the crew, because that starts threads, and this process must have none.
        """
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(read)
            self._tell_description(write, reading)
        os.close(write)
        with os.fdopen(read, "rb") as answer:
            told = answer.readline()  # one line only: a process that the project started may keep the pipe open
        os.waitpid(pid, 0)
        described: dict[str, Any] = json.loads(told or b'{"error": "the process that describes it died"}')
        return described

    def _tell_description(self, write: int, reading: Reading) -> NoReturn:
        # This child stays in its parent's group, so that killing the group ends the whole loading.
        self._become_child(1, 2)
        os.write(write, json.dumps(_described(self._loaded, reading, self._settings)).encode() + b"\n")
        running.leave(0)

    def serve(self, hear: io.RawIOBase, say: Any) -> None:
        """Start a run for each line that the server writes, until the server is gone and all runs have ended."""
        inputs: list[Any] = [hear, self._woken]
        while len(inputs) > 1 or self._runs:
            ready, _, _ = select.select(inputs, [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._bury()
            if len(inputs) > 1 and inputs[0] in ready:
                if line := hear.readline():
                    say(self._start(json.loads(line)["run"]))
                else:
                    inputs.pop(0)

    def _start(self, kickoff_id: str) -> dict[str, Any]:
        try:
            lock = _locked(self._settings, kickoff_id)
            pid = os.fork()
        except OSError as error:
            return {"error": f"{type(error).__name__}: {error}"}
        if not pid:
            self._be(kickoff_id, lock)
        self._runs[pid] = kickoff_id, lock
        return {"pid": pid}

    def _be(self, kickoff_id: str, lock: int) -> NoReturn:
        """Become the run."""
        code = 1
        try:
            self._leave_the_parent(kickoff_id)
            if not self._may_fork:
                os.set_inheritable(lock, True)
                run = [sys.executable, _TOP, "run", kickoff_id, str(lock)]
                os.execve(sys.executable, run, self._settings.in_environment(os.environ))  # noqa: S606 - ourselves
            running.keep_to_itself(lock)
            code = running.run(self._settings, self._loaded, kickoff_id)
        except BaseException:  # noqa: BLE001 - nobody else reports it
            traceback.print_exc()
        running.leave(code)

    def _leave_the_parent(self, kickoff_id: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        log = os.open(self._settings.folder(kickoff_id) / "log", flags, 0o600)
        os.setsid()
        self._become_child(log, log)
        os.close(log)
        for _, other in self._runs.values():
            os.close(other)  # the locks of other runs: a lock is held until its last copy is closed

    def _become_child(self, out: int, err: int) -> None:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        for source, target in ((out, 1), (err, 2)):
            os.dup2(source, target)

    def _bury(self) -> None:
        """Note how each dead process ended, then release its lock, by which the server learns that it is gone."""
        for pid in list(self._runs):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                kickoff_id, lock = self._runs.pop(pid)
                _note_exit(self._settings.database, kickoff_id, status)
                os.close(lock)


def _locked(settings: RunSettings, kickoff_id: str) -> int:
    """Take the lock that shows this server, and the next one, that the run's process lives."""
    lock = os.open(settings.folder(kickoff_id) / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        raise
    return lock


def _note_exit(database: str, kickoff_id: str, status: int) -> None:
    # One try only. That the run is gone matters more than how, and the server waits for its next run to start.
    try:
        with closing(sqlite3.connect(database, timeout=5, isolation_level=None)) as db:
            db.execute("UPDATE runs SET exit = ? WHERE kickoff_id = ?", (_how(status), kickoff_id))
    except sqlite3.Error:
        traceback.print_exc()


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with code {code}"
    with suppress(ValueError):  # most realtime signals have no name
        return f"was killed by {signal.Signals(-code).name}"
    return f"was killed by signal {-code}"


def _described(loaded: Loaded, reading: Reading, settings: RunSettings) -> dict[str, Any]:
    try:
        return {**describing.describe(loaded), "files": reading.files()}
    except BaseException as error:  # noqa: BLE001 - whatever building a crew raises is the answer
        traceback.print_exc()
        return told(error, Path(settings.directory))


def _listener() -> io.RawIOBase:
    """Keep stdin for the server's lines. The project and its children get an empty stdin."""
    private = os.fdopen(os.dup(0), "rb", buffering=0)  # select does not see what a buffer holds
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.register_at_fork(after_in_child=private.close)
    return private


def _keep_from_children(descriptor: int) -> None:
    # As a file object: it may be closed twice, in a child of a child.
    os.register_at_fork(after_in_child=os.fdopen(descriptor, "rb", buffering=0).close)


def _speaker() -> Any:
    """Keep stdout for the answers to the server. What the project prints goes to stderr."""
    private = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    # The server notices the death of this process by the end of its output, so no child may keep it open.
    os.register_at_fork(after_in_child=private.close)

    def say(what: dict[str, Any]) -> None:
        private.write(json.dumps(what) + "\n")
        private.flush()

    return say
