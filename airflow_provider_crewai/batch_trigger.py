"""The trigger that waits for the runs of a batch. Import it from `triggers`: that path is in Airflow's database."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import asdict
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.batch_aio import until_news
from airflow_provider_crewai.client.batch_journal import BatchJournal
from airflow_provider_crewai.client.batch_pace import News, Pace
from airflow_provider_crewai.client.held import HeldBatch
from airflow_provider_crewai.client.killing import OnKill
from airflow_provider_crewai.client.ledger import OnClear
from airflow_provider_crewai.client.messages import OVER
from airflow_provider_crewai.client.watch import Patience, Watch
from airflow_provider_crewai.in_airflow.compat import CLEAR_KEEPS_TASK_STATE
from airflow_provider_crewai.in_airflow.metrics import counting
from airflow_provider_crewai.triggering import WaitsForRuns
from airflow_provider_crewai.wire.model import JSON, JSONObject


class CrewBatchTrigger(WaitsForRuns):
    """Polls the runs of a batch until their worker has something to do, and then fires one event.

    It never starts a run: the worker does. Its event is a hint: the worker reads the runs again and trusts that.

    :param batch_id: the batch.
    :param runs: a pair for each run: its kickoff_id, and when it was kicked off, epoch seconds. All were seen alive.
    :param crewai_conn_id: the connection, looked up once, and again after a 401.
    :param deadline: epoch second at which to stop waiting, or None.
    :param poll_interval: seconds, the shortest wait between two looks at a run.
    :param max_poll_interval: seconds, the longest wait.
    :param unreachable_timeout: seconds for which the API may fail to answer, or None.
    :param human_input: whether somebody is told when a run waits for a human.
    :param slots: the most runs at a time.
    :param left: how many items wait for a run.
    :param since: epoch second of the last wave. Default: now.
    :param usual: seconds that a run takes on average, or None if none has ended yet.
    :param bearable: how many more runs may fail before the batch is to end, or None for any number.
    :param wake_at: epoch second before which no kickoff may be sent, and at which the worker wakes; or None.
    :param on_kill: `stop` stops the runs when a user ends or clears the deferred task (Airflow 3.3+).
    :param on_clear: `reattach` keeps the runs when the task was cleared, because the next try takes them up.
    :param durable: whether the task's next try finds the runs on record, and so handles them itself.
    :param survives_clear: whether it also finds them after a user's clear.
    :param unknown: arguments of a newer version of this provider, which are ignored.
    """

    # The class path is stored in Airflow's database: it can never change.
    CLASSPATH = "airflow_provider_crewai.triggers.CrewBatchTrigger"

    def __init__(
        self,
        batch_id: str,
        runs: Sequence[Sequence[Any]],
        crewai_conn_id: str = defaults.CONN_ID,
        deadline: float | None = None,
        poll_interval: float = defaults.POLL_INTERVAL,
        max_poll_interval: float = defaults.MAX_POLL_INTERVAL,
        unreachable_timeout: float | None = defaults.UNREACHABLE_TIMEOUT,
        human_input: bool = False,
        slots: int = 1,
        left: int = 0,
        since: float | None = None,
        usual: float | None = None,
        bearable: int | None = None,
        wake_at: float | None = None,
        on_kill: OnKill = "leave",
        on_clear: OnClear = "rerun",
        durable: bool = False,
        survives_clear: bool = CLEAR_KEEPS_TASK_STATE,
        **unknown: Any,
    ) -> None:
        super().__init__(
            crewai_conn_id,
            Patience(poll_interval, max_poll_interval, deadline, unreachable_timeout, human_input),
            on_kill=on_kill,
            on_clear=on_clear,
            durable=durable,
            survives_clear=survives_clear,
            unknown=unknown,
        )
        self.batch_id = batch_id
        self.runs = {str(kickoff_id): float(started_at) for kickoff_id, started_at in runs}
        self.pace = Pace(slots, left, time.time() if since is None else since, usual, bearable, wake_at)
        self._news = News(self.pace, len(self.runs))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments: JSON scalars, and the pairs of `runs`."""
        runs = [[kickoff_id, started_at] for kickoff_id, started_at in self.runs.items()]
        return self.CLASSPATH, {"batch_id": self.batch_id, "runs": runs, **asdict(self.pace), **self.shared_arguments()}

    @property
    def held(self) -> HeldBatch:
        """The runs that may go on."""
        over = {ending.kickoff_id for ending in self._news.endings if ending.verdict in OVER}
        return HeldBatch(self.batch_id, tuple(run for run in self.runs if run not in over))

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the runs, then fire one event."""
        self.warn_of_unknown()
        observe = counting(BatchJournal(self.log, self.crewai_conn_id, self.runs))
        async with self._hook as hook:
            await until_news(lambda watch: hook.wait(watch, observe), self._watches(), self._news)
        yield TriggerEvent(self._event())  # type: ignore[no-untyped-call]  # Airflow's is not typed

    def _watches(self) -> Iterator[Watch]:
        for kickoff_id, started_at in self.runs.items():
            yield Watch(kickoff_id, self.patience, started_at=started_at, seen_alive=True)

    def _event(self) -> JSONObject:
        """Return the event that wakes the worker: ids, numbers and known words only, because Airflow logs it."""
        ended: list[JSON] = [[ending.kickoff_id, ending.verdict.value, ending.since] for ending in self._news.endings]
        return {"batch_id": self.batch_id, "ended": ended, "at": time.time()}
