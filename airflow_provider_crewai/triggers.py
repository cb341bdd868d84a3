"""Waiting for a run without a worker slot."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_crewai._compat import task_now
from airflow_provider_crewai.client.killing import OnKill, is_abandoned
from airflow_provider_crewai.client.ledger import OnClear
from airflow_provider_crewai.client.watch import Ending, Patience, Watch
from airflow_provider_crewai.hooks import DEFAULT_CONN_ID, XCOM_KICKOFF_ID, AsyncCrewHook
from airflow_provider_crewai.journal import Journal
from airflow_provider_crewai.wire.model import JSONObject

ON_KILL_PATIENCE = 20.0
"""Seconds for which `on_kill` asks what became of the task."""

ON_KILL_TIMEOUT = 28.0
"""Seconds that `on_kill` takes at most: Airflow gives it 30, by default."""


class CrewStatusTrigger(BaseTrigger):
    """Polls a run until it ends, or until it is time to give up, and then fires one event.

    Its arguments are stored in Airflow's database and printed in logs, so they are ids and numbers only. It
    never starts a run: a trigger is run again after a triggerer's restart. It blocks nothing, raises nothing but a
    complaint about what is no kickoff_id, and its event is a hint: the worker reads the run again and believes that.

    :param kickoff_id: the run.
    :param crewai_conn_id: the connection, looked up once and again after a 401.
    :param started_at: when the run was kicked off, epoch seconds; its age sets the pace. Default: now.
    :param deadline: epoch second at which to stop waiting, or None.
    :param poll_interval: seconds, the shortest wait between two looks.
    :param max_poll_interval: seconds, the longest.
    :param unreachable_timeout: seconds for which the API may fail to answer.
    :param human_input: whether somebody is told when the crew waits for a human.
    :param seen_alive: whether the run is already known to exist.
    :param on_kill: `stop` stops the run when a user ends or clears the deferred task (Airflow 3.3+).
    :param on_clear: `reattach` spares the run when the task was cleared, since the next try takes it up.
    :param durable: whether the task's next try finds the run on record, and so sees to it itself.
    """

    # The class path is stored in Airflow's database: it can never change.
    CLASSPATH = "airflow_provider_crewai.triggers.CrewStatusTrigger"

    def __init__(
        self,
        kickoff_id: str,
        crewai_conn_id: str = DEFAULT_CONN_ID,
        started_at: float | None = None,
        deadline: float | None = None,
        poll_interval: float = 2.0,
        max_poll_interval: float = 60.0,
        unreachable_timeout: float = 900.0,
        human_input: bool = False,
        seen_alive: bool = False,
        on_kill: OnKill = "leave",
        on_clear: OnClear = "rerun",
        durable: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not typed
        self.kickoff_id = kickoff_id
        self.crewai_conn_id = crewai_conn_id
        self.started_at = time.time() if started_at is None else started_at
        self.patience = Patience(poll_interval, max_poll_interval, deadline, unreachable_timeout, human_input)
        self.seen_alive = seen_alive
        self.kill_policy = on_kill
        self.on_clear = on_clear
        self.durable = durable

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON scalars all."""
        return self.CLASSPATH, {
            "kickoff_id": self.kickoff_id,
            "crewai_conn_id": self.crewai_conn_id,
            "started_at": self.started_at,
            "deadline": self.patience.deadline,
            "poll_interval": self.patience.poll_interval,
            "max_poll_interval": self.patience.max_poll_interval,
            "unreachable_timeout": self.patience.unreachable_timeout,
            "human_input": self.patience.human_input,
            "seen_alive": self.seen_alive,
            "on_kill": self.kill_policy,
            "on_clear": self.on_clear,
            "durable": self.durable,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the run, then fire one event."""
        watch = Watch(self.kickoff_id, self.patience, started_at=self.started_at, seen_alive=self.seen_alive)
        async with AsyncCrewHook(self.crewai_conn_id) as hook:
            ending = await hook.wait(watch, Journal(self.log, self.kickoff_id))
        yield TriggerEvent(event_of(ending))  # type: ignore[no-untyped-call]  # nor is this one

    async def on_kill(self) -> None:
        """Stop the run if a user ended the task and so abandoned it (Airflow 3.3+ calls this)."""
        # Airflow 3.3.2 cancels the trigger anew with each round of the triggerer, about once a second, and so would
        # cut this off before it is done.
        stopping = asyncio.ensure_future(asyncio.wait_for(self._stop_if_abandoned(), ON_KILL_TIMEOUT))
        while not stopping.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([stopping])
        if stopping.exception():
            self.log.warning("Run %s could not be stopped and may go on: %r", self.kickoff_id, stopping.exception())

    async def _stop_if_abandoned(self) -> None:
        if self.kill_policy != "stop":
            self.log.warning("Run %s GOES ON: on_kill is %r.", self.kickoff_id, self.kill_policy)
            return
        abandoned, why = await self._abandoned()
        if not abandoned:
            self.log.warning("Run %s is not stopped: %s.", self.kickoff_id, why)
            return
        async with AsyncCrewHook(self.crewai_conn_id) as hook:
            self.log.warning("Stopping run %s: %s.", self.kickoff_id, why)
            self.log.warning(await hook.get_async_conn().kill(self.kickoff_id))

    async def _abandoned(self) -> tuple[bool, str]:
        """Ask Airflow until it can be told whether the task has left the run, or until Airflow's patience ends."""
        clock, doubted = asyncio.get_running_loop().time, False
        give_up = clock() + ON_KILL_PATIENCE
        while True:
            try:
                state, current = await task_now(self.task_instance, XCOM_KICKOFF_ID)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next question may be answered
                abandoned, why = None, f"Airflow does not say what became of the task ({type(error).__name__}: {error})"
            else:
                abandoned, why = self._judge(state, current, doubted=doubted)
                doubted = True
            if abandoned is not None:
                return abandoned, why
            if clock() > give_up:
                return False, f"{why}. If it was ended or cleared, the run GOES ON"
            await asyncio.sleep(1)

    def _judge(self, state: str | None, current: str | None, *, doubted: bool) -> tuple[bool | None, str]:
        return is_abandoned(state, current, self.kickoff_id, self.on_clear, durable=self.durable, doubted=doubted)


def event_of(ending: Ending) -> JSONObject:
    """Return the event that tells a worker to look: the run, our verdict, and since when it was out of sight."""
    return {
        "kickoff_id": ending.kickoff_id,
        "ending": ending.verdict.value,
        "since": ending.since,
        "seen_alive": ending.seen_alive,
    }
