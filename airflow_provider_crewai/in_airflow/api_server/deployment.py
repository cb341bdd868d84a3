"""One look at a run for all who look at its page: seldom, in bounded time, in threads of our own."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from airflow_provider_crewai.client.lookups import Lookups
from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import Run

KEPT = 5.0
"""Seconds for which one look is enough for all."""

PATIENCE = 8.0
"""Seconds for which a page waits for the deployment. Then it shows what the task has left behind."""

_THREADS = ThreadPoolExecutor(4, thread_name_prefix="crew-run-page")
"""So a deployment that is slow takes no thread of Airflow's."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at the deployment showed: the run, or why it could not be seen."""

    at: float
    run: Run | None = None
    why: str | None = None


_looks: Lookups[Look] = Lookups(KEPT)


async def look(conn_id: str, kickoff_id: str) -> Look:
    """Look at a run over the task's connection, or take what another page has just seen."""

    async def ask() -> Look:
        return await asyncio.get_running_loop().run_in_executor(_THREADS, _look, conn_id, kickoff_id)

    try:
        return await asyncio.wait_for(_looks.get((conn_id, kickoff_id), ask), PATIENCE)
    except TimeoutError:
        return Look(time.time(), why=f"The deployment did not answer within {PATIENCE:g} seconds.")


def _look(conn_id: str, kickoff_id: str) -> Look:
    from airflow_provider_crewai.client.sync import CrewClient

    client = CrewClient(CrewHook(conn_id).settings, patience=0)
    try:
        return Look(time.time(), run=client.get_status(kickoff_id))
    except CrewError as error:
        return Look(time.time(), why=str(error))
    finally:
        client.close()
