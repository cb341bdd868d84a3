"""Decides what happens to the runs whose triggers Airflow cancels: one, or a thousand at once.

All triggers of a triggerer ask Airflow through one pipe, whose other end answers one question at a time. So triggers
that are cancelled together ask together, ask only what the decision needs, and take turns.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from contextlib import suppress
from contextvars import Context
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from airflow_provider_crewai.client import killing
from airflow_provider_crewai.client.dialogue import GIVEN_UP
from airflow_provider_crewai.client.held import Held, HeldRun, Noun, outcome
from airflow_provider_crewai.client.killing import GONE, Bond, Judgement, OnKill
from airflow_provider_crewai.in_airflow.compat import name_among_states, on_kill_timeout, task_states, xcom_now
from airflow_provider_crewai.in_airflow.required_action import close_action, is_refused_to_old_attempts, response_to
from airflow_provider_crewai.in_airflow.xcom import CREW_BATCH_ID, KICKOFF_ID

if TYPE_CHECKING:
    from airflow_provider_crewai.client.aio import AsyncCrewClient

LAST_WORDS = 2.0
"""Seconds that we keep of Airflow's `on_kill_timeout` to log what could not be done."""

ASK_AGAIN = 1.0
"""Seconds between two questions about the same task."""

GATHER = 0.1
"""Seconds for which a question waits for others to join it."""

NAMES = 100
"""The most tasks and Dag runs that one question names: they travel in a URL."""

ASKED_AT_ONCE = 8
"""How many questions may wait in the pipe at a time."""

STOPS_AT_ONCE = 50
"""How many runs of one connection are stopped at a time. So a slow deployment still stops some of them in time."""


XCOMS: dict[Noun, str] = {"run": KICKOFF_ID, "batch": CREW_BATCH_ID}
"""The XCom that holds the id of what a task holds."""


class Cancellation:
    """The run, or the runs of a batch, whose trigger was cancelled. Stops them if a user ended or cleared their task.

    :param bond: what the trigger knows about the task.
    :param held: the runs; default: the bond's one.
    :param policy: `stop` or `leave`.
    :param task_instance: the trigger's task instance.
    :param client: the trigger's client; if it has read its connection, it does not read it again.
    :param conn_id: that connection.
    :param log: the trigger's logger.
    :param timeout: seconds that everything may take; default: what Airflow gives `on_kill`, less `LAST_WORDS`.
    :param asked: whether a Required Action is open: a person's response cancels the trigger, too.
    """

    def __init__(
        self,
        bond: Bond,
        policy: OnKill,
        task_instance: Any,
        client: AsyncCrewClient,
        conn_id: str,
        log: Any,
        timeout: float | None = None,
        *,
        held: Held | None = None,
        asked: bool = False,
    ) -> None:
        self.bond = bond
        self.held = HeldRun(bond.kickoff_id) if held is None else held
        self.asked = asked
        self.policy = policy
        self.task_instance = task_instance
        self.client = client
        self.conn_id = conn_id
        self.log = log
        self.timeout = on_kill_timeout() - LAST_WORDS if timeout is None else timeout
        self._lacks = dict.fromkeys(self.held.runs, "nothing was asked yet")
        """Why each run is not settled yet."""
        self._end = 0.0

    async def settle(self) -> None:
        """Stop the runs or leave them, and log which. Raises nothing."""
        if self.policy != "stop":
            self.log.warning(self.held.left(f"on_kill is {self.policy!r}"))
            return
        # Logged before we ask anything: Airflow may close the task's log before the answer comes.
        self.log.warning(self.held.cancelled())
        self._end = asyncio.get_running_loop().time() + self.timeout
        try:
            async with asyncio.timeout_at(self._end):
                await self._settled()
        except TimeoutError:
            pass
        except Exception as error:  # noqa: BLE001 - whatever it is, a person must learn of the runs
            self._lack(repr(error))
        for kickoff_id, lack in self._lacks.items():
            self.log.error("Run %s is not stopped and may go on: %s.", kickoff_id, lack)

    def _lack(self, what: str) -> None:
        self._lacks = dict.fromkeys(self._lacks, what)

    async def _settled(self) -> None:
        if self.asked:
            self.bond = replace(self.bond, responded=await self._responded())
        abandoned, why = killing.at_once(self.bond)
        if abandoned is None:
            abandoned, why = await self._ask_airflow()
        if not abandoned:
            self._lacks.clear()
            self.log.warning(self.held.spared(why))
            return
        self.log.warning(self.held.stopping(why))
        said = await self._stop_all()
        if self.asked:
            with suppress(Exception):  # the action shows nowhere once the task has ended
                await close_action(self.task_instance, GIVEN_UP, " ".join(said))

    async def _responded(self) -> bool:
        """Ask until Airflow says whether a person has responded. Without that, a response would stop the run."""
        self._lack("Airflow did not say whether a person has responded")
        while True:
            try:
                return await response_to(self.task_instance) is not None
            except Exception as error:  # noqa: BLE001 - whatever it is, the next question may be answered
                self._lack(f"Airflow does not say whether a person has responded ({type(error).__name__}: {error})")
                if is_refused_to_old_attempts(error):
                    return False
            await asyncio.sleep(ASK_AGAIN)

    async def _stop_all(self) -> list[str]:
        """Stop the runs at the same time, and log what became of them, also if the time is up before all are."""
        self._lack("too many runs had to be stopped before it")
        said: dict[str, str] = {}
        try:
            async with self.client, asyncio.TaskGroup() as group:
                for kickoff_id in self.held.runs:
                    group.create_task(self._stop(kickoff_id, said))
        finally:
            for line in outcome({run: said[run] for run in self.held.runs if run in said}):
                self.log.warning(line)
        return list(said.values())

    async def _stop(self, kickoff_id: str, said: dict[str, str]) -> None:
        try:
            async with _Desk.of_this_loop().stopping[self.conn_id]:
                self._lacks[kickoff_id] = "the deployment did not answer in time"
                left = self._end - asyncio.get_running_loop().time()
                said[kickoff_id] = await self.client.drive(killing.kill(kickoff_id, left))
                del self._lacks[kickoff_id]
        except Exception as error:  # noqa: BLE001 - whatever it is, the others are stopped all the same
            self._lacks[kickoff_id] = repr(error)

    async def _ask_airflow(self) -> Judgement:
        """Ask until we can tell whether the task gave the run up."""
        doubted = False
        while True:
            if not doubted:
                self._lack("Airflow did not say what happened to the task")
            try:
                abandoned, why = await self._judge(doubted=doubted)
            except Exception as error:  # noqa: BLE001 - whatever it is, the next question may be answered
                abandoned, why = (
                    None,
                    f"Airflow does not say what happened to the task ({type(error).__name__}: {error})",
                )
            else:
                doubted = True
            if abandoned is not None:
                return abandoned, why
            self._lack(why)
            await asyncio.sleep(ASK_AGAIN)

    async def _judge(self, *, doubted: bool) -> Judgement:
        desk = _Desk.of_this_loop()
        state = await desk.state_of(self.task_instance)
        abandoned, why = killing.by_state(state, self.bond, doubted=doubted)
        if abandoned is not None:
            return abandoned, why
        current = await desk.xcom_of(self.task_instance, XCOMS[self.bond.noun])
        return killing.by_xcom(state, current, self.bond, why)


class _StatesQuery:
    """One question to Airflow about many task instances of a Dag."""

    def __init__(self) -> None:
        self.task_ids: set[str] = set()
        self.run_ids: set[str] = set()
        self.answer: asyncio.Task[dict[str, dict[str, str | None]]] | None = None

    def join(self, ti: Any) -> bool:
        """Ask about this task instance as well, if there is room for its names."""
        task_ids, run_ids = self.task_ids | {ti.task_id}, self.run_ids | {ti.run_id}
        if len(task_ids) + len(run_ids) > NAMES:
            return False
        self.task_ids, self.run_ids = task_ids, run_ids
        return True


class _Desk:
    """Shared by the cancelled triggers of one event loop: their questions to Airflow, and the turns to stop runs."""

    _desks: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, _Desk]] = WeakKeyDictionary()

    def __init__(self) -> None:
        self.stopping: dict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(STOPS_AT_ONCE))
        self._asking = asyncio.Semaphore(ASKED_AT_ONCE)
        self._open: dict[tuple[str, str | None], _StatesQuery] = {}

    @classmethod
    def of_this_loop(cls) -> _Desk:
        return cls._desks.setdefault(asyncio.get_running_loop(), cls())

    async def state_of(self, ti: Any) -> str | None:
        """Return the state of a task instance, or `GONE` if it no longer exists."""
        name = name_among_states(ti)
        # A mapped task gets a question of its own: the third instance of `a` and the task `a_3` share a name.
        states = await self._answer(ti, (ti.dag_id, None if name == ti.task_id else ti.task_id))
        return states.get(ti.run_id, {}).get(name, GONE)

    async def xcom_of(self, ti: Any, key: str) -> object:
        """Return what a task instance has in XCom, or None."""
        async with self._asking:
            return await xcom_now(ti, key)

    async def _answer(self, ti: Any, group: tuple[str, str | None]) -> dict[str, dict[str, str | None]]:
        question = self._open.get(group)
        if question is None or question.answer is None or not question.join(ti):
            question = self._open[group] = _StatesQuery()
            question.join(ti)
            # In a context of its own: the question does not belong to the trigger that happens to ask first.
            question.answer = asyncio.create_task(self._ask(group, question), context=Context())
        return await asyncio.shield(question.answer)

    async def _ask(self, group: tuple[str, str | None], question: _StatesQuery) -> dict[str, dict[str, str | None]]:
        await asyncio.sleep(GATHER)
        async with self._asking:
            if self._open.get(group) is question:
                del self._open[group]
            return await task_states(group[0], sorted(question.task_ids), sorted(question.run_ids))
