"""What the triggers share: how they wait, and what becomes of their runs when Airflow cancels them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from airflow.triggers.base import BaseTrigger

from airflow_provider_crewai.client.held import Held
from airflow_provider_crewai.client.killing import Bond, OnKill
from airflow_provider_crewai.client.ledger import OnClear
from airflow_provider_crewai.client.watch import Patience
from airflow_provider_crewai.hooks import AsyncCrewHook
from airflow_provider_crewai.in_airflow.compat import CANCELS_MOVED_TRIGGERS
from airflow_provider_crewai.in_airflow.killed_in_triggerer import Cancellation


class WaitsForRuns(BaseTrigger):
    """Base of the triggers.

    :param crewai_conn_id: the connection, looked up once, and again after a 401.
    :param patience: how long and how closely to wait.
    :param on_kill: `stop` stops the runs when a user ends or clears the deferred task (Airflow 3.3+).
    :param on_clear: `reattach` keeps the runs when the task was cleared, because the next try takes them up.
    :param durable: whether the task's next try finds the runs on record, and so handles them itself.
    :param survives_clear: whether it also finds them after a user's clear.
    :param unknown: the names of arguments that only a newer version of this provider knows.
    """

    def __init__(
        self,
        crewai_conn_id: str,
        patience: Patience,
        *,
        on_kill: OnKill,
        on_clear: OnClear,
        durable: bool,
        survives_clear: bool,
        unknown: Iterable[str],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow's is not typed
        self.crewai_conn_id = crewai_conn_id
        self.patience = patience
        self.kill_policy = on_kill
        self.on_clear = on_clear
        self.durable = durable
        self.survives_clear = survives_clear
        self._unknown = sorted(unknown)
        # One hook for the trigger's whole life, so that `on_kill` need not read the connection again after `run`.
        self._hook = AsyncCrewHook(crewai_conn_id)
        self._settling: asyncio.Future[None] | None = None

    @property
    def held(self) -> Held:
        """The runs that may go on."""
        raise NotImplementedError

    @property
    def is_asked_about(self) -> bool:
        """Whether a Required Action is open: a person's response cancels the trigger, too."""
        return False

    def shared_arguments(self) -> dict[str, Any]:
        """Return those arguments that all triggers have, all JSON scalars."""
        return {
            "crewai_conn_id": self.crewai_conn_id,
            "deadline": self.patience.deadline,
            "poll_interval": self.patience.poll_interval,
            "max_poll_interval": self.patience.max_poll_interval,
            "unreachable_timeout": self.patience.unreachable_timeout,
            "human_input": self.patience.human_input,
            "on_kill": self.kill_policy,
            "on_clear": self.on_clear,
            "durable": self.durable,
            "survives_clear": self.survives_clear,
        }

    def warn_of_unknown(self) -> None:
        """Log which arguments of a newer version this one ignores."""
        if self._unknown:
            self.log.warning(
                "%s %s: a newer version of this provider deferred the task; this version ignores its arguments %s.",
                self.held.noun.capitalize(),
                self.held.name,
                ", ".join(self._unknown),
            )

    async def on_kill(self) -> None:
        """Stop the runs if a user ended or cleared the task, and so gave them up. Airflow 3.3+ calls this."""
        held = self.held
        cancellation = Cancellation(
            self._bond(held),
            self.kill_policy,
            self.task_instance,
            self._hook.get_async_conn(),
            self.crewai_conn_id,
            self.log,
            held=held,
            asked=self.is_asked_about,
        )
        self._settling = asyncio.ensure_future(cancellation.settle())
        await self._settled()

    def _bond(self, held: Held) -> Bond:
        return Bond(
            held.name,
            self.on_clear,
            durable=self.durable,
            kept=self.survives_clear,
            may_have_moved=CANCELS_MOVED_TRIGGERS,
            overdue=self.patience.deadline is not None and time.time() >= self.patience.deadline,
            noun=held.noun,
        )

    async def cleanup(self) -> None:
        """Wait until `on_kill` is done, so that Airflow keeps the task's log open until its outcome is logged."""
        await self._settled()

    async def _settled(self) -> None:
        # Airflow 3.3.2 cancels the trigger again in each round of the triggerer, about once a second. Without this
        # loop, that would cut the work off before it is done.
        while self._settling and not self._settling.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([self._settling])
