"""The queue: starts runs as slots come free, and handles those whose process has died.

A run's process holds a lock on a file while it lives. So the next server, too, knows whether the process is alive.
"""

from __future__ import annotations

import fcntl
import logging
import os
import signal
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Literal

from airflow_provider_crewai.server import private
from airflow_provider_crewai.server.chores import Chore
from airflow_provider_crewai.server.crew_process.run_states import UNDER_WAY
from airflow_provider_crewai.server.project import Description, ProjectError, StillLoading, WarmProcessDied
from airflow_provider_crewai.server.records import StoredRun
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.warm_process import WarmProcess
from airflow_provider_crewai.wire.model import JSONObject

OnLost = Literal["fail", "resume"]

MAX_LIVES = 5
"""How many processes a run may have. A run that kills each of them would otherwise be resumed for ever."""

LOOK_EVERY = 0.25
"""Seconds between two looks at the queue and at the locks."""

MOST_WAITING = 10_000
"""How many runs may wait for a slot."""

A_WHILE = 5.0
"""Seconds for which a thread waits for a project that loads."""

_TOO_LONG = 120.0
_A_MOMENT = 0.2
_MOST_WHO_WAIT = 8

log = logging.getLogger(__name__)


class MissingInputs(ValueError):
    """A kickoff lacks inputs that the crew's prompts need. The message lists them, as the live service does."""


class Launcher:
    """Starts waiting runs as slots come free, and handles runs whose process has died.

    :param runs: the store of all runs.
    :param warm: the warm process, which starts the processes of runs.
    :param home: the folder of all runs.
    :param slots: how many runs may work at once. A run that waits for a human does not count.
    :param on_lost: what happens when the process of a crew's run dies: the run fails, or resumes after its finished
        tasks.
    :param patience: seconds for which a thread waits for a project that loads.
    :param most_waiting: how many runs may wait for a slot.
    """

    def __init__(
        self,
        runs: Runs,
        warm: WarmProcess,
        home: Path,
        *,
        slots: int,
        on_lost: OnLost,
        patience: float = A_WHILE,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._runs = runs
        self._warm = warm
        self._home = home
        self._slots = slots
        self._on_lost = on_lost
        self._patience = patience
        self._most_waiting = most_waiting
        self._lock = threading.Lock()  # a claimed run seems dead until its process holds its own lock
        self._wake = threading.Event()
        self._looked_at = time.monotonic()
        self._loading: Future[Description] | None = None  # what the queue waits for
        self._in_vain_until = 0.0
        self._waiting = threading.Semaphore(_MOST_WHO_WAIT)
        self._lost, self._asked = Chore(self._handle_lost), Chore(self._handle_paused)

    def describe(self) -> Future[Description]:
        """Describe the project.

        :returns: the description, as soon as there is one, or ProjectError. It may take as long as the project does.
        """
        return self._warm.description()

    def description(self) -> Description:
        """Describe the project. Waits a short time, and only for some who ask at once: each holds a thread meanwhile.

        :raises ProjectError: the project cannot be loaded, or is still being loaded.
        """
        described = self.describe()
        try:
            return self._waited_for(described)
        except TimeoutError:
            described.cancel()
            raise StillLoading("The project") from None

    def _waited_for(self, described: Future[Description]) -> Description:
        with suppress(TimeoutError):
            return described.result(_A_MOMENT)
        if time.monotonic() < self._in_vain_until or not self._waiting.acquire(blocking=False):
            raise TimeoutError
        try:
            return described.result(self._patience)
        except TimeoutError:
            self._in_vain_until = time.monotonic() + self._patience
            raise
        finally:
            self._waiting.release()

    def kickoff(self, request: JSONObject) -> str:
        """Keep a run for a person at the page, and start it if a slot is free.

        :param request: the kickoff's body. Its `inputs`, if any, must be an object.
        :returns: its kickoff_id.
        :raises MissingInputs: an input is missing; no run was kept.
        :raises ProjectError: the project cannot be loaded, or is still being loaded; no run was kept.
        """
        return self.keep_run(request, self.description(), origin="ui")

    def keep_run(self, request: JSONObject, project: Description, *, strict: bool = False, origin: str = "api") -> str:
        """Keep a run of a project that has just been described. It starts when a slot is free.

        :param strict: whether to demand what a deployment demands, also where the project's main.py brings it itself.
        :returns: its kickoff_id.
        :raises MissingInputs: an input is missing; no run was kept.
        """
        given = request.get("inputs") or {}
        assert isinstance(given, dict)  # noqa: S101 - the caller has checked it
        demanded = project.prompted if strict and project.kind == "crew" else project.required
        if missing := ", ".join(name for name in demanded if name not in given):
            raise MissingInputs(f"Missing inputs: {missing}")
        return self._keep_run({name: value for name, value in request.items() if name != "chat"}, origin=origin)

    def _keep_run(self, request: JSONObject, chat_id: str | None = None, origin: str = "chat") -> str:
        if self._runs.waiting() >= self._most_waiting:
            raise ProjectError(f"{self._most_waiting} runs wait already, so nothing was started. Try again later")
        kickoff_id = self._runs.add(request, chat_id, origin)
        self._wake.set()
        return kickoff_id

    def take_turn(self, chat_id: str, message: str) -> str:
        """Keep the run that is the next turn of a chat.

        :param message: what the user says.
        :returns: its kickoff_id.
        :raises SessionBusy: the last turn has not ended; no run was kept.
        """
        request: JSONObject = {"inputs": {"message": message}, "chat": {"session_id": chat_id, "message": message}}
        return self._keep_run(request, chat_id)

    def is_well(self) -> bool:
        """Return whether somebody looks after the queue."""
        return time.monotonic() - self._looked_at < _TOO_LONG

    def dispatch(self) -> None:
        """Start waiting runs, in order, while slots are free and the project can be loaded."""
        started = True
        while started and self._runs.claimable(self._slots) and self._is_loaded():
            with self._lock:
                kickoff_id = self._runs.claim(self._slots)
                started = kickoff_id is not None and self._start(kickoff_id)

    def answer(self, question_id: str, feedback: str, *, approved: bool | None) -> bool:
        """Give a run a human's answer. A run that waits without a process gets one at the next look at the queue.

        :returns: False if the question has an answer already, or the run has ended.
        """
        return self._runs.answer(question_id, feedback, approved=approved)

    def stop(self, kickoff_id: str) -> bool:
        """Stop a run and every process of its group.

        :param kickoff_id: the run's id, or an id that a resume made up for it.
        :returns: False if the run had ended already, or there is none.
        """
        with self._lock:
            run = self._runs.get(kickoff_id)
            if run is None or not self._runs.end(run.kickoff_id, "REVOKED", "Task was revoked"):
                return False
            self._kill(run.kickoff_id)
        return True

    def _kill(self, kickoff_id: str) -> None:
        run = self._runs.get(kickoff_id)  # again, since its process may have noted its pid meanwhile
        # The pid of a dead process may belong to another one by now.
        if run and run.pid and self._is_alive(kickoff_id):
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)

    def log_tail(self, kickoff_id: str, length: int) -> str:
        """Return the last `length` bytes of what a run has printed."""
        with suppress(OSError):  # there is no log, or something else in its place
            descriptor = private.opened(self._home / kickoff_id / "log", os.O_RDONLY)
            with os.fdopen(descriptor, "rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - length))
                return file.read().decode("utf-8", "replace")
        return ""

    # ---- the queue --------------------------------------------------------------------------------

    def keep_going(self, stop: threading.Event, chores: Sequence[Chore[[]]] = ()) -> None:
        """Look after the queue until told to stop, whatever goes wrong meanwhile.

        :param chores: what else is to be done again and again.
        """
        look, queue = Chore(self.look, LOOK_EVERY), Chore(self.dispatch)
        while not stop.is_set():
            self._looked_at = time.monotonic()
            self._wake.wait(LOOK_EVERY)
            self._wake.clear()
            for chore in (look, queue, *chores):
                chore.do_if_due()

    def look(self) -> None:
        """Handle the runs whose process is gone. One that cannot be handled keeps no other from it."""
        with self._lock:
            for run in self._runs.under_way():
                if not self._is_alive(run.kickoff_id):
                    self._lost.do(run.kickoff_id)
            for paused in self._runs.paused():
                self._asked.do(paused)

    def _is_loaded(self) -> bool:
        # Loading takes seconds, or for ever. Nobody waits for it here: when it is over, the queue is looked at again.
        if self._loading is None:
            self._loading = self._warm.make_ready()
            self._loading.add_done_callback(lambda _: self._wake.set())
        try:
            self._loading.result(_A_MOMENT)
        except TimeoutError:
            return False
        except ProjectError as error:
            if self._runs.hold(f"Task is pending: {error}"):
                log.warning("no run can start: %s", error)
            self._loading = None
            return False
        self._loading = None
        self._runs.hold(None)
        return True

    def _start(self, kickoff_id: str) -> bool:
        try:
            pid = self._warm.start(kickoff_id)
        except ProjectError as error:
            self._runs.put_back(kickoff_id)
            log.warning("run %s cannot start yet: %s", kickoff_id, error)
            return False
        except WarmProcessDied as error:
            # If the run was started all the same, it holds its lock. If not, the next look handles it.
            log.warning("the warm process died (%s) before it said whether it started run %s", error, kickoff_id)
            return False
        self._runs.set_pid(kickoff_id, pid)
        return True

    def _handle_lost(self, kickoff_id: str) -> None:
        run = self._runs.get(kickoff_id)  # again, since it may have ended before it released its lock
        if run is None or run.state not in UNDER_WAY:
            return
        if run.pid:
            _kill_leftovers(run.pid)
        if run.state == "STARTED" and run.lives < MAX_LIVES:  # the crew had not begun, so it can begin once more
            self._runs.requeue(kickoff_id, "STARTED")
        else:
            self._resume_or_fail(run)

    def _resume_or_fail(self, run: StoredRun) -> None:
        died = f"The run's process {run.exit or 'died'} {self._how_far(run)}"
        if self._on_lost == "resume" and run.answer.get("unit") == "task" and run.lives < MAX_LIVES:
            if self._runs.requeue(run.kickoff_id, *UNDER_WAY):
                log.warning("run %s: %s; another process resumes it there", run.kickoff_id, died)
        elif self._runs.end(run.kickoff_id, "FAILED", died):
            log.warning("run %s: %s; see %s", run.kickoff_id, died, self._home / run.kickoff_id / "log")

    def _handle_paused(self, run: StoredRun) -> None:
        """Give a run that waits without a process a new one as soon as its question has an answer."""
        if self._is_alive(run.kickoff_id):
            return
        question = self._runs.questions(run.kickoff_id)[-1]
        if question.kind != "flow" and run.answer.get("unit") != "task":
            # The flow waited in the middle of a method, and no other process can return there.
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


def _kill_leftovers(group: int) -> None:
    """Kill what is left of a dead process's group. The system reuses its number only when nothing is left."""
    try:
        os.kill(group, 0)  # if such a process exists again, nothing was left
    except ProcessLookupError:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    except PermissionError:
        pass
