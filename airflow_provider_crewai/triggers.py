"""The triggers that wait for runs in the triggerer, without holding a worker slot."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_crewai.batch_trigger import CrewBatchTrigger
from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.dialogue import Dialogue
from airflow_provider_crewai.client.held import HeldRun
from airflow_provider_crewai.client.journal import Journal
from airflow_provider_crewai.client.killing import OnKill
from airflow_provider_crewai.client.ledger import OnClear
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch
from airflow_provider_crewai.in_airflow.compat import CLEAR_KEEPS_TASK_STATE
from airflow_provider_crewai.in_airflow.metrics import counting
from airflow_provider_crewai.triggering import WaitsForRuns
from airflow_provider_crewai.wire.model import JSONObject, Progress

if TYPE_CHECKING:
    from airflow_provider_crewai.in_airflow.listening import Listener

__all__ = ["CrewBatchTrigger", "CrewStatusTrigger", "event_of"]


class CrewStatusTrigger(WaitsForRuns):
    """Polls a run until it ends, or until it is time to give up, and then fires one event.

    Airflow stores its arguments in the database and prints them in logs, so they are ids and numbers only. It never
    starts a run, because Airflow runs a trigger again after a triggerer's restart. It never blocks. It raises only
    CrewConfigError, for an invalid kickoff_id. Its event is a hint: the worker reads the run again and trusts that.

    :param kickoff_id: the run.
    :param crewai_conn_id: the connection, looked up once, and again after a 401.
    :param started_at: when the run was kicked off, epoch seconds; its age sets the pace. Default: now.
    :param deadline: epoch second at which to stop waiting, or None.
    :param poll_interval: seconds, the shortest wait between two looks.
    :param max_poll_interval: seconds, the longest wait.
    :param unreachable_timeout: seconds for which the API may fail to answer, or None.
    :param human_input: whether somebody is told when the crew waits for a human.
    :param seen_alive: whether we already know that the run exists.
    :param on_kill: `stop` stops the run when a user ends or clears the deferred task (Airflow 3.3+).
    :param on_clear: `reattach` keeps the run when the task was cleared, because the next try takes it up.
    :param durable: whether the task's next try finds the run on record, and so handles it itself.
    :param survives_clear: whether it also finds it after a user's clear.
    :param silent: whether the wait goes on until the deadline, in spite of errors that may go away.
    :param asks: whether the worker wants to know what the run asks, to ask people.
    :param asked: the key of the question for which a Required Action is open, or None.
    :param given: the key of the question that was answered last, at `given_at` (epoch seconds).
    :param human_deadline: epoch second until which a person may respond, or None.
    :param also: another id of the run, from the answer to the last resume, or None.
    :param mailbox: whether webhooks may bring questions.
    :param may_be_outdated: whether an earlier try may have left an action open.
    :param unknown: arguments of a newer version of this provider, which are ignored.
    """

    # The class path is stored in Airflow's database: it can never change.
    CLASSPATH = "airflow_provider_crewai.triggers.CrewStatusTrigger"

    def __init__(
        self,
        kickoff_id: str,
        crewai_conn_id: str = defaults.CONN_ID,
        started_at: float | None = None,
        deadline: float | None = None,
        poll_interval: float = defaults.POLL_INTERVAL,
        max_poll_interval: float = defaults.MAX_POLL_INTERVAL,
        unreachable_timeout: float | None = defaults.UNREACHABLE_TIMEOUT,
        human_input: bool = False,
        seen_alive: bool = False,
        on_kill: OnKill = "leave",
        on_clear: OnClear = "rerun",
        durable: bool = False,
        survives_clear: bool = CLEAR_KEEPS_TASK_STATE,
        silent: bool = False,
        asks: bool = False,
        asked: str | None = None,
        given: str | None = None,
        given_at: float = 0.0,
        human_deadline: float | None = None,
        also: str | None = None,
        mailbox: bool = False,
        may_be_outdated: bool = False,
        **unknown: Any,
    ) -> None:
        super().__init__(
            crewai_conn_id,
            Patience(poll_interval, max_poll_interval, deadline, unreachable_timeout, human_input, silent=silent),
            on_kill=on_kill,
            on_clear=on_clear,
            durable=durable,
            survives_clear=survives_clear,
            unknown=unknown,
        )
        self.kickoff_id = kickoff_id
        self.started_at = time.time() if started_at is None else started_at
        self.seen_alive = seen_alive
        self.asks = asks
        self.asked = asked
        self.given = given
        self.given_at = given_at
        self.human_deadline = human_deadline
        self.also = also
        self.mailbox = mailbox
        self.may_be_outdated = may_be_outdated

    @property
    def held(self) -> HeldRun:
        """The run."""
        return HeldRun(self.kickoff_id)

    @property
    def is_asked_about(self) -> bool:
        """Whether a Required Action is open: a person's response cancels the trigger, too."""
        return self.asked is not None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, all JSON scalars."""
        return self.CLASSPATH, {
            "kickoff_id": self.kickoff_id,
            "started_at": self.started_at,
            "seen_alive": self.seen_alive,
            **self.shared_arguments(),
            "silent": self.patience.silent,
            "asks": self.asks,
            "asked": self.asked,
            "given": self.given,
            "given_at": self.given_at,
            "human_deadline": self.human_deadline,
            "also": self.also,
            "mailbox": self.mailbox,
            "may_be_outdated": self.may_be_outdated,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the run, then fire one event."""
        self.warn_of_unknown()
        listener = self._listener()
        watch = Watch(
            self.kickoff_id,
            self.patience if listener is None else listener.paced(self.patience),
            started_at=self.started_at,
            seen_alive=self.seen_alive,
            dialogue=listener.dialogue if listener else None,
        )
        journal = Journal(self.log, self.kickoff_id, None if listener else self.crewai_conn_id)
        async with self._hook as hook:
            if listener:
                hook.get_async_conn().hear = listener.hear
                await listener.begin(outdated=self.may_be_outdated)
            event = event_of(await hook.wait(watch, counting(journal)))
            if listener:
                event |= await listener.end(Verdict(str(event["ending"])))
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]  # nor is this one

    def _listener(self) -> Listener | None:
        if not self.asks:
            return None
        from airflow_provider_crewai.in_airflow.listening import Listener

        dialogue = Dialogue(self.asked, self.given, self.given_at, self.human_deadline, self.also)
        return Listener(self.task_instance, self.kickoff_id, dialogue, self.log, self.mailbox)


def event_of(ending: Ending) -> JSONObject:
    """Return the event that wakes the worker: our verdict, since when, and what we last saw of the run, and when.

    Numbers and known words only: Airflow logs it.
    """
    last = ending.last
    progress = (ending.run and ending.run.progress) or Progress()
    return {
        "kickoff_id": ending.kickoff_id,
        "ending": ending.verdict.value,
        "since": ending.since,
        "seen_alive": ending.seen_alive,
        "state": last.state.value if last else None,
        "at": last.at if last else None,
        "crew_tasks_done": progress.completed,
        "crew_tasks_total": progress.total,
        "tokens": ending.run.usage.get("total_tokens") if ending.run else None,
    }
