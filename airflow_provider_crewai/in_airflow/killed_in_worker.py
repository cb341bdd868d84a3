"""What a worker does for its run when Airflow tells its process to end: stop the run first, write the log later.

Airflow tells it in a signal handler, and the interrupted code may hold any lock: the log's, the supervisor socket's,
a connection pool's. So a thread does all the work, and the handler waits for it only a limited time. What the thread
cannot do because a lock is held, it does as soon as the handler has returned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_crewai.client.held import Held, outcome
from airflow_provider_crewai.client.killing import (
    ASK_PATIENCE,
    KILL_PATIENCE,
    UNKNOWN,
    OnKill,
    is_ended,
    is_left_by_user,
)
from airflow_provider_crewai.client.ledger import OnClear, Record
from airflow_provider_crewai.in_airflow.compat import Context, state_now
from airflow_provider_crewai.wire.errors import CrewLedgerError

if TYPE_CHECKING:
    from airflow_provider_crewai.client.shell import Store
    from airflow_provider_crewai.client.sync import CrewClient

T = TypeVar("T")

HANDLER_PATIENCE = 4.5
"""Seconds for which the handler waits for the run to be stopped or left. Airflow kills the process after five."""

LAST_WORDS = 2.0
"""Seconds for which a killed task waits until its log says what became of its runs."""

STOP_PATIENCE = 3 * KILL_PATIENCE
"""Seconds that stopping may take, for one run or for all of a batch."""

STOPS_AT_ONCE = 20
"""How many runs of a batch are stopped at a time."""

SPEAK_PATIENCE = 0.3
"""Seconds for which the handler waits for a log line to be written."""


class Termination:
    """Decides what happens to the run, or to the runs of a batch, when the worker's process ends, and does it.

    :param client: the client that waits for them.
    :param held: the runs.
    :param on_clear: what the author wants after a clear.
    :param policy: `stop` or `leave`.
    :param store: where the record is kept that names the run, or the batch.
    :param log: the task's logger.
    """

    def __init__(
        self,
        client: CrewClient,
        held: Held,
        context: Context,
        *,
        on_clear: OnClear,
        policy: OnKill,
        store: Store,
        log: Any,
    ) -> None:
        self.client = client
        self.held = held
        self.ti = context["ti"]
        self.on_clear = on_clear
        self.policy = policy
        self.store = store
        self.log = log
        self.state: str | None = UNKNOWN
        """The task's state, as Airflow said it when it was asked."""
        self._settling: threading.Thread | None = None

    def settle(self) -> None:
        """Stop the runs if their task gave them up, else leave them. Called in a signal handler; five seconds are left.

        A thread does it, and logs it as soon as the log is free.
        """
        acted = threading.Event()

        def settle() -> None:
            try:
                self.state = ask_state(self.ti)
                told = self._act(self.state)
            finally:
                acted.set()
            self._tell("The task's process is told to end", *told)

        self._settling = threading.Thread(target=settle, daemon=True)
        self._settling.start()
        acted.wait(HANDLER_PATIENCE)
        self._settling.join(SPEAK_PATIENCE)

    def finish(self, held: Held) -> None:
        """Wait until the log says what became of the runs, and ask Airflow again if it could not say what happened.

        Called after the signal handler, when the interrupted code holds no lock any more. While it talks to Airflow,
        the handler cannot ask (seen on 3.3.2).

        :param held: the runs that may go on, as they are known now.
        """
        if self._settling is not None:
            self._settling.join(LAST_WORDS)
        self.held = held
        if self.state == UNKNOWN and (state := ask_state(self.ti)) != UNKNOWN:
            self.settle_for(state, "Airflow was asked again")

    def settle_for(self, state: str | None, occasion: str) -> None:
        """Do the same when no signal came and the task's state is known.

        :param occasion: what happened, for the log.
        """
        self._tell(occasion, *self._act(state))

    def _tell(self, occasion: str, why: str, said: Iterable[str]) -> None:
        self.log.warning("%s: %s.", occasion, why)
        for line in said:
            self.log.warning("%s", line)

    def _act(self, state: str | None) -> tuple[str, list[str]]:
        left = is_left_by_user(state)
        # Read before the stop only if the decision needs it.
        on_record = self._is_on_record() if left and self.on_clear == "reattach" else True
        retried = self.ti.try_number <= (self.ti.max_tries or 0) and self.store.durable
        noun = self.held.noun
        ended, why = is_ended(state, self.on_clear, retried=retried, on_record=on_record, noun=noun)
        said = self._stopped() if ended and self.policy == "stop" else self._left(ended=ended)
        if left:
            self._write_down()
        return why, said

    def _stopped(self) -> list[str]:
        """Stop all runs at the same time, and return what became of them. There is time for one slow answer."""
        said = {run: f"Run {run} could not be stopped in time and may go on." for run in self.held.runs}
        left = iter(self.held.runs)

        def stop() -> None:
            client = self.client.in_a_hurry()
            for run in left:
                said[run] = client.kill(run)

        threads = [threading.Thread(target=stop, daemon=True) for _ in self.held.runs[:STOPS_AT_ONCE]]
        until = time.monotonic() + STOP_PATIENCE
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(until - time.monotonic(), 0))
        return outcome(dict(said))

    def _left(self, *, ended: bool) -> list[str]:
        return [self.held.left(f"on_kill is {self.policy!r}" if ended else "")]

    def _is_on_record(self) -> bool:
        """Return whether the next try will find the run. If the record cannot be read, we assume so."""
        return within(ASK_PATIENCE, lambda: self._record() is not None, otherwise=True)

    def _write_down(self) -> None:
        """Record for the next try that a user asked for it: `max_tries` does not always show that."""
        with suppress(CrewLedgerError):
            if record := self._record():
                self.store.save(record.after_a_clear().to_json())

    def _record(self) -> Record | None:
        stored = self.store.load()
        record = None if stored is None else Record.from_json(stored)
        return record if record is not None and record.kickoff_id == self.held.name else None


def ask_state(ti: Any) -> str | None:
    """Return the state of a worker's task instance, or `UNKNOWN` if Airflow does not answer in time."""
    state: str | None = UNKNOWN
    return within(ASK_PATIENCE, partial(state_now, ti), state)


def ask_state_if_cheap(ti: Any) -> str | None:
    """Return the same, but `UNKNOWN` below Airflow 3, where a try that a user tests shows the state of another try."""
    return UNKNOWN if hasattr(ti, "current_state") else ask_state(ti)


def speak(log: Callable[..., Any], *line: object) -> None:
    """Log a line from a signal handler: now, or as soon as the interrupted code releases the log."""
    within(SPEAK_PATIENCE, partial(log, *line), None)


def within(seconds: float, act: Callable[[], T], otherwise: T) -> T:
    """Return what `act` returns, or `otherwise` if it raises or takes longer. Then it goes on in the background.

    It runs in a thread, because the thread that the signal interrupted may hold a lock that `act` needs.
    """
    results: list[T] = []

    def listen() -> None:
        with suppress(Exception):
            results.append(act())

    thread = threading.Thread(target=listen, daemon=True)
    thread.start()
    thread.join(seconds)
    return results[0] if results else otherwise
