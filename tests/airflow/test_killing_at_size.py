"""A thousand deferred tasks that a user ends or clears at once, on one triggerer with one pipe to Airflow."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
import structlog
from crew_tasks import brief
from in_memory import Airflow, TaskInstance
from scripted_crew import Asked, ScriptedCrew

from airflow_provider_crewai.in_airflow.compat import CANCELS_MOVED_TRIGGERS
from airflow_provider_crewai.triggers import CrewBatchTrigger, CrewStatusTrigger

pytestmark = pytest.mark.slow

LATENCY = 0.02
"""Seconds that Airflow takes for an answer."""

GOAL = 25.0
"""Seconds within which a thousand runs are stopped: Airflow's patience is thirty."""


@dataclass
class OnePipe(Airflow):
    """A triggerer's supervisor: it answers one question after the other."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _free_at: float = 0.0

    def send(self, msg: Any) -> Any:
        time.sleep(self._wait())
        return super().send(msg)

    async def asend(self, msg: Any) -> Any:
        await asyncio.sleep(self._wait())
        return await super().asend(msg)

    def _wait(self) -> float:
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic()) + LATENCY
            return self._free_at - time.monotonic()


@pytest.fixture
def airflow(crew: ScriptedCrew) -> OnePipe:
    return OnePipe({"crewai_default": crew.connection})


def deferred(airflow: Airflow, crew: ScriptedCrew, count: int, **options: Any) -> list[TaskInstance]:
    """Map a task, whose instances are deferred for `run-0`, `run-1` and so on."""
    task, tis = brief(deferrable=True, **options), []
    for number in range(count):
        ti = airflow.task(task, map_index=number)
        airflow.instances[ti._id] = ti  # noqa: SLF001 - a task that is deferred already
        ti.state = "deferred"
        airflow.xcoms[ti.key, "kickoff_id"] = f"run-{number}"
        crew.now(f"run-{number}", "RUNNING")
        tis.append(ti)
    return tis


def trigger_of(ti: TaskInstance, durable: bool) -> CrewStatusTrigger:
    trigger = CrewStatusTrigger(f"run-{ti.map_index}", poll_interval=60, on_kill="stop", durable=durable)
    trigger.task_instance = ti._runtime()  # noqa: SLF001 - what Airflow gives a trigger
    return trigger


async def life(trigger: CrewStatusTrigger | CrewBatchTrigger) -> None:
    """Do what Airflow does with a trigger that it cancels."""
    try:
        async for _ in trigger.run():
            pass
    except asyncio.CancelledError:
        with suppress(asyncio.CancelledError):
            await asyncio.wait_for(trigger.on_kill(), 30)
    finally:
        await trigger.cleanup()


async def cancelled(triggers: Iterable[CrewStatusTrigger | CrewBatchTrigger], act: Callable[[], None]) -> float:
    """Let a user act on the tasks of running triggers, and cancel these again and again as Airflow 3.3 does."""
    lives = [asyncio.create_task(life(trigger)) for trigger in triggers]
    await asyncio.sleep(0.1)
    act()
    began = asyncio.get_running_loop().time()
    while left := [one for one in lives if not one.done()]:
        for one in left:
            one.cancel()
            await asyncio.sleep(0)
        await asyncio.wait(left, timeout=1)
    return asyncio.get_running_loop().time() - began


@pytest.mark.parametrize(
    ("state", "durable"), [("failed", True), ("success", False), (None, False), ("scheduled", True)]
)
def test_a_thousand_runs_are_stopped_within_airflows_patience(
    airflow: OnePipe,
    crew: ScriptedCrew,
    state: str | None,
    durable: bool,
) -> None:
    tis = deferred(airflow, crew, 1000, durable=durable)

    def act() -> None:
        for ti in tis:
            ti.state = state

    with airflow.connected(), structlog.testing.capture_logs():
        took = asyncio.run(cancelled([trigger_of(ti, durable) for ti in tis], act))
    assert set(crew.stops) == {f"run-{number}" for number in range(1000)}
    assert len(crew.stops) == 1000
    assert took < GOAL
    # Some for the states, the more the busier the machine, and a look-up of the connection: not one for each trigger.
    assert len(airflow.asked) < len(tis) / 10


def test_a_batch_of_a_thousand_runs_is_stopped_within_airflows_patience(airflow: OnePipe, crew: ScriptedCrew) -> None:
    (ti,) = deferred(airflow, crew, 1)
    runs = [f"run-{number}" for number in range(1000)]
    for kickoff_id in runs:
        crew.now(kickoff_id, "RUNNING")
    started = [[kickoff_id, time.time()] for kickoff_id in runs]
    trigger = CrewBatchTrigger("batch-1", started, poll_interval=60, on_kill="stop", durable=True)
    trigger.task_instance = ti._runtime()  # noqa: SLF001 - what Airflow gives a trigger

    with airflow.connected(), structlog.testing.capture_logs() as written:
        took = asyncio.run(cancelled([trigger], lambda: setattr(ti, "state", "failed")))
    assert sorted(crew.stops) == sorted(runs)
    assert took < GOAL
    assert len(written) < 10, "no line for each run that is stopped"


@pytest.mark.skipif(not CANCELS_MOVED_TRIGGERS, reason="from Airflow 3.4 on a moved trigger is not told")
def test_a_hundred_triggers_that_moved_stop_nothing(airflow: OnePipe, crew: ScriptedCrew) -> None:
    tis = deferred(airflow, crew, 100)
    with airflow.connected():
        asyncio.run(cancelled([trigger_of(ti, durable=True) for ti in tis], lambda: None))
    assert crew.stops == []


def test_what_a_slow_deployment_leaves_over_is_the_rest_and_not_all_and_is_named(
    airflow: OnePipe, crew: ScriptedCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__TRIGGERER__ON_KILL_TIMEOUT", "5")
    tis = deferred(airflow, crew, 300)

    def slow(_: Asked) -> None:
        time.sleep(1)

    def end() -> None:
        for ti in tis:
            ti.state = "failed"

    crew.always("/stop", slow)
    with airflow.connected(), structlog.testing.capture_logs() as written:
        asyncio.run(cancelled([trigger_of(ti, durable=True) for ti in tis], end))
    said = [str(line["event"]) for line in written]
    stopped = {line.split()[1] for line in said if line.startswith("Run ") and line.endswith(" is stopped.")}
    named = {line.split()[1] for line in said if line.startswith("Run ") and " stopped and may go on: " in line}
    assert len(stopped) >= 50
    assert stopped | named == {f"run-{number}" for number in range(300)}
    assert not stopped & named
