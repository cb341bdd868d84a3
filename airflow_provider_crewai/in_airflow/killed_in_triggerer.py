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
from airflow_provider_crewai.client.killing import GONE, Bond, Judgement, OnKill
from airflow_provider_crewai.in_airflow.compat import name_among_states, on_kill_timeout, task_states, xcom_now
from airflow_provider_crewai.in_airflow.required_action import close_action, is_refused_to_old_attempts, response_to
from airflow_provider_crewai.in_airflow.xcom import KICKOFF_ID

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


class Cancellation:
    """One run whose trigger was cancelled. Stops the run if a user ended or cleared its task.

    :param bond: what the trigger knows about the task.
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
        asked: bool = False,
    ) -> None:
        self.bond = bond
        self.asked = asked
        self.policy = policy
        self.task_instance = task_instance
        self.client = client
        self.conn_id = conn_id
        self.log = log
        self.timeout = on_kill_timeout() - LAST_WORDS if timeout is None else timeout
        self._lack = "nothing was asked yet"
        self._end = 0.0

    async def settle(self) -> None:
        """Stop the run or leave it, and log which. Raises nothing."""
        kickoff_id = self.bond.kickoff_id
        if self.policy != "stop":
            self.log.warning("Run %s GOES ON: on_kill is %r.", kickoff_id, self.policy)
            return
        # Logged before we ask anything: Airflow may close the task's log before the answer comes.
        self.log.warning(
            "The trigger of run %s was cancelled. If a user ended or cleared the task, we now stop the run. It GOES "
            "ON unless a line below says otherwise.",
            kickoff_id,
        )
        self._end = asyncio.get_running_loop().time() + self.timeout
        try:
            async with asyncio.timeout_at(self._end):
                self.log.warning(await self._settled())
        except TimeoutError:
            self.log.error("Run %s is not stopped and may go on: %s.", kickoff_id, self._lack)  # noqa: TRY400 - no bug
        except Exception as error:  # noqa: BLE001 - whatever it is, a person must learn of the run
            self.log.error("Run %s could not be stopped and may go on: %r", kickoff_id, error)  # noqa: TRY400 - nor is it

    async def _settled(self) -> str:
        if self.asked:
            self.bond = replace(self.bond, responded=await self._responded())
        abandoned, why = killing.at_once(self.bond)
        if abandoned is None:
            abandoned, why = await self._ask_airflow()
        if not abandoned:
            return f"Run {self.bond.kickoff_id} is not stopped: {why}."
        self.log.warning("Stopping run %s: %s.", self.bond.kickoff_id, why)
        said = await self._stop()
        if self.asked:
            with suppress(Exception):  # the action shows nowhere once the task has ended
                await close_action(self.task_instance, GIVEN_UP, said)
        return said

    async def _responded(self) -> bool:
        """Ask until Airflow says whether a person has responded. Without that, a response would stop the run."""
        self._lack = "Airflow did not say whether a person has responded"
        while True:
            try:
                return await response_to(self.task_instance) is not None
            except Exception as error:  # noqa: BLE001 - whatever it is, the next question may be answered
                self._lack = f"Airflow does not say whether a person has responded ({type(error).__name__}: {error})"
                if is_refused_to_old_attempts(error):
                    return False
            await asyncio.sleep(ASK_AGAIN)

    async def _stop(self) -> str:
        self._lack = "too many runs had to be stopped before it"
        async with _Desk.of_this_loop().stopping[self.conn_id], self.client as client:
            self._lack = "the deployment did not answer in time"
            left = self._end - asyncio.get_running_loop().time()
            return await client.drive(killing.kill(self.bond.kickoff_id, left))

    async def _ask_airflow(self) -> Judgement:
        """Ask until we can tell whether the task gave the run up."""
        doubted = False
        while True:
            self._lack = self._lack if doubted else "Airflow did not say what happened to the task"
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
            self._lack = why
            await asyncio.sleep(ASK_AGAIN)

    async def _judge(self, *, doubted: bool) -> Judgement:
        desk = _Desk.of_this_loop()
        state = await desk.state_of(self.task_instance)
        abandoned, why = killing.by_state(state, self.bond, doubted=doubted)
        if abandoned is not None:
            return abandoned, why
        return killing.by_xcom(state, await desk.kickoff_id_of(self.task_instance), self.bond, why)


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

    async def kickoff_id_of(self, ti: Any) -> object:
        """Return the kickoff_id that a task instance has in XCom, or None."""
        async with self._asking:
            return await xcom_now(ti, KICKOFF_ID)

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
