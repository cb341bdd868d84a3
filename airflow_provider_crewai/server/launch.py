"""The queue: which runs may start, which have died, and what becomes of them.

A run's process holds a lock on a file for as long as it lives, so also the next server knows whether it is alive.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import signal
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Literal

from airflow_provider_crewai.server import private
from airflow_provider_crewai.server.crew_process.run_settings import FLOWS
from airflow_provider_crewai.server.crew_process.run_states import UNDER_WAY
from airflow_provider_crewai.server.project import Description, ProjectError, WarmProcessDied
from airflow_provider_crewai.server.records import StoredRun
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.warm_process import WarmProcess
from airflow_provider_crewai.wire.model import JSONObject

OnLost = Literal["fail", "resume"]

MAX_LIVES = 5
"""Processes that a run may have before it is given up: one that kills them all would be resumed for ever."""

LOOK_EVERY = 0.25
"""Seconds between two looks at the queue and at the locks."""

TIDY_EVERY = 5.0
"""Seconds for which the password of a webhook may still be read from the disk when its run has ended."""

CLEAN_EVERY = 60.0
"""Seconds between two looks for runs that are old enough to be deleted."""

log = logging.getLogger(__name__)


class MissingInputs(ValueError):
    """A kickoff lacks inputs that the crew's prompts need. The message names them, as the live service does."""


class Launcher:
    """Starts the runs that wait, as slots come free, and sees to those whose process has died.

    :param runs: the store of all runs.
    :param warm: the warm process, which starts a run's.
    :param home: the folder of all runs.
    :param slots: how many runs may be at work at once; one that waits for a human does not count.
    :param on_lost: what becomes of a crew's run whose process dies: it fails, or it goes on from its finished tasks.
    :param keep: seconds after which an ended run is deleted.
    """

    def __init__(self, runs: Runs, warm: WarmProcess, home: Path, *, slots: int, on_lost: OnLost, keep: float) -> None:
        self._runs = runs
        self._warm = warm
        self._home = home
        self._slots = slots
        self._on_lost = on_lost
        self._keep = keep
        self._lock = threading.Lock()  # between a claim and the run's own lock nobody may look

    def description(self) -> Description:
        """Say what the project is.

        :raises ProjectError: it cannot be loaded.
        """
        return self._warm.description()

    def kickoff(self, request: JSONObject) -> str:
        """Keep a run and start it, if a slot is free.

        :param request: the kickoff's body, whose `inputs` is an object where there is one.
        :returns: its kickoff_id.
        :raises MissingInputs: an input is missing; nothing was kept.
        :raises ProjectError: the project cannot be loaded; nothing was kept.
        """
        given = request.get("inputs") or {}
        assert isinstance(given, dict)  # noqa: S101 - seen to by who read the request
        if missing := ", ".join(name for name in self.description().required if name not in given):
            raise MissingInputs(f"Missing inputs: {missing}")
        kickoff_id = self._runs.add(request)
        self.dispatch()
        return kickoff_id

    def dispatch(self) -> None:
        """Start the runs that wait, in order, while there are free slots and the project can be loaded."""
        going_on = True
        while going_on and self._runs.claimable(self._slots) and self._is_loaded():
            with self._lock:
                kickoff_id = self._runs.claim(self._slots)
                going_on = kickoff_id is not None and self._start(kickoff_id)

    def answer(self, question_id: str, feedback: str, *, approved: bool | None) -> bool:
        """Give a run a human's answer. False if there was one already, or the run has ended.

        A run that waits without a process goes on when somebody looks round, which is soon.
        """
        return self._runs.answer(question_id, feedback, approved=approved)

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run and every process of its group.

        :param kickoff_id: the run, also by an id that a resume made up for it.
        :returns: False if it had already ended, or never was.
        """
        with self._lock:
            run = self._runs.get(kickoff_id)
            if run is None or not self._runs.end(run.kickoff_id, "REVOKED", "Task was revoked"):
                return False
            run = self._runs.get(run.kickoff_id)  # again, since its process may have noted its pid meanwhile
            # Asked first, since the pid of a dead process may be somebody else's by now.
            if run and run.pid and self._is_alive(run.kickoff_id):
                with suppress(ProcessLookupError):
                    os.killpg(run.pid, signal.SIGKILL)
        return True

    def log_tail(self, kickoff_id: str, length: int) -> str:
        """Return the last so many bytes of what a run has printed."""
        with suppress(OSError):  # none, or something else in its place
            descriptor = private.opened(self._home / kickoff_id / "log", os.O_RDONLY)
            with os.fdopen(descriptor, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - length))
                return file.read().decode("utf-8", "replace")
        return ""

    # ---- the look round ---------------------------------------------------------------------------

    def keep_going(self, stop: threading.Event) -> None:
        """Look round until told to stop."""
        tidied_at = cleaned_at = 0.0
        while not stop.wait(LOOK_EVERY):
            try:
                self.look()
                if time.monotonic() - tidied_at > TIDY_EVERY:
                    tidied_at = time.monotonic()
                    self._runs.tidy_up()
                if time.monotonic() - cleaned_at > CLEAN_EVERY:
                    cleaned_at = time.monotonic()
                    self._clean()
            except (OSError, sqlite3.Error):  # a full disk, say: what it keeps from being done now is done later
                log.exception("the runs could not be looked at")

    def look(self) -> None:
        """See to the runs whose process is gone, then start what waits."""
        with self._lock:
            for run in self._runs.under_way():
                if not self._is_alive(run.kickoff_id):
                    self._see_to_lost(run.kickoff_id)
            for run in self._runs.paused():
                self._see_to_paused(run)
        self.dispatch()

    def _is_loaded(self) -> bool:
        # Without the lock: loading takes seconds, in which others may want to stop a run.
        try:
            self._warm.make_ready()
        except ProjectError as error:
            if self._runs.hold(f"Task is pending: {error}"):
                log.warning("no run is started: %s", error)
            return False
        self._runs.hold(None)
        return True

    def _start(self, kickoff_id: str) -> bool:
        try:
            pid = self._warm.start(kickoff_id)
        except ProjectError as error:
            self._runs.put_back(kickoff_id)
            log.warning("run %s is not started yet: %s", kickoff_id, error)
            return False
        except WarmProcessDied as error:
            # If the run was started all the same, it holds its lock; if not, the next look round sees to it.
            log.warning("the warm process died (%s) when it was to start run %s", error, kickoff_id)
            return False
        self._runs.set_pid(kickoff_id, pid)
        return True

    def _see_to_lost(self, kickoff_id: str) -> None:
        run = self._runs.get(kickoff_id)  # again, since it may have ended before it let its lock go
        if run is None or run.state not in UNDER_WAY:
            return
        if run.pid:
            _end_leftovers(run.pid)
        if run.state == "STARTED" and run.lives < MAX_LIVES:  # it was not at work yet, so it can begin once more
            self._runs.requeue(kickoff_id, "STARTED")
            return
        died = f"The run's process {run.exit or 'died'} {self._how_far(run)}"
        if self._on_lost == "resume" and run.answer.get("unit") == "task" and run.lives < MAX_LIVES:
            if self._runs.requeue(kickoff_id, *UNDER_WAY):
                log.warning("run %s: %s; it goes on from there in another process", kickoff_id, died)
        elif self._runs.end(kickoff_id, "FAILED", died):
            log.warning("run %s: %s; see %s", kickoff_id, died, self._home / kickoff_id / "log")

    def _see_to_paused(self, run: StoredRun) -> None:
        """Where a run waits without a process, give it one once it is answered."""
        if self._is_alive(run.kickoff_id):
            return
        question = self._runs.questions(run.kickoff_id)[-1]
        if question.kind != "flow" and run.answer.get("unit") != "task":
            # A flow that waits in the middle of a method, to which no other process can return.
            died = f"The run's process {run.exit or 'died'} while it waited for an answer in a flow's method"
            self._runs.end(run.kickoff_id, "FAILED", died)
        elif question.answered_at is not None:
            self._runs.requeue(run.kickoff_id, "PAUSED")

    def _how_far(self, run: StoredRun) -> str:
        steps = self._runs.steps(run.kickoff_id, outputs=False)
        done, total = sum(step.ended_at is not None for step in steps), run.answer.get("total")
        if not steps:
            return "before it began its first task"
        return f"after {done} of {total} crew tasks" if total else f"after {done} flow methods"

    def _clean(self) -> None:
        # The rows go last, since by them the next server finds what this one has left, if it is killed meanwhile.
        old = self._runs.ended_before(time.time() - self._keep)
        for kickoff_id in old:
            shutil.rmtree(self._home / kickoff_id, ignore_errors=True)
        _forget_flows(self._home / FLOWS, old)
        self._runs.forget(old)

    def _is_alive(self, kickoff_id: str) -> bool:
        try:
            lock = os.open(self._home / kickoff_id / "lock", os.O_RDWR | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False


def _forget_flows(states: Path, kickoff_ids: list[str]) -> None:
    """Delete what crewai has kept of the flows of these runs. What a project keeps under ids of its own is its own."""
    if kickoff_ids and states.exists():
        with closing(sqlite3.connect(states, timeout=30)) as db, db:
            for table in ("flow_states", "pending_feedback"):  # crewai's, 1.15.2 to 1.15.30
                db.executemany(f"DELETE FROM {table} WHERE flow_uuid = ?", [(each,) for each in kickoff_ids])  # noqa: S608 - constants


def _end_leftovers(group: int) -> None:
    """End what a dead process has left of its group, whose number nobody else is given while there is any."""
    try:
        os.kill(group, 0)  # if there is such a process again, nothing was left
    except ProcessLookupError:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    except PermissionError:
        pass
