"""Whoever asks for the same thing at the same time asks once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_crewai.client.lookups import Lookups


@dataclass
class Backend:
    """A backend of secrets that answers when it is told to, with a new object each time.

    :param failures: how many of the first look-ups fail.
    """

    failures: int = 0
    asked: int = 0
    answering: asyncio.Event = field(default_factory=asyncio.Event)

    async def look_up(self) -> list[int]:
        self.asked += 1
        mine = self.asked
        await self.answering.wait()
        if mine <= self.failures:
            raise LookupError(f"look-up {mine} failed")
        return [mine]


def law(
    check: Callable[[Lookups[list[int]], Backend], Coroutine[Any, Any, None]], keep: float = 60, failures: int = 0
) -> None:
    async def run() -> None:
        await check(Lookups(keep), Backend(failures))

    asyncio.run(run())


def test_a_hundred_who_start_together_ask_once() -> None:
    async def check(lookups: Lookups[list[int]], backend: Backend) -> None:
        waiting = [asyncio.ensure_future(lookups.get("crew", backend.look_up)) for _ in range(100)]
        await asyncio.sleep(0)
        backend.answering.set()
        answers = await asyncio.gather(*waiting)
        assert {id(answer) for answer in answers} == {id(answers[0])}
        assert await lookups.get("crew", backend.look_up) is answers[0]
        assert backend.asked == 1

    law(check)


def test_a_failure_is_everybodys_who_waited_and_is_not_kept() -> None:
    async def check(lookups: Lookups[list[int]], backend: Backend) -> None:
        backend.answering.set()
        asking = [lookups.get("crew", backend.look_up) for _ in range(10)]
        answers = await asyncio.gather(*asking, return_exceptions=True)
        assert {str(answer) for answer in answers} == {"look-up 1 failed"}
        assert await lookups.get("crew", backend.look_up) == [2]

    law(check, failures=1)


def test_an_answer_that_proved_wrong_is_looked_up_anew_once_for_all_who_had_it() -> None:
    async def check(lookups: Lookups[list[int]], backend: Backend) -> None:
        backend.answering.set()
        first = await lookups.get("crew", backend.look_up)
        renewed = await asyncio.gather(*[lookups.get("crew", backend.look_up, stale=first) for _ in range(10)])
        assert renewed == [[2]] * 10
        assert backend.asked == 2

    law(check)


def test_an_answer_is_kept_for_its_time_only() -> None:
    async def check(lookups: Lookups[list[int]], backend: Backend) -> None:
        backend.answering.set()
        await lookups.get("crew", backend.look_up)
        await asyncio.sleep(0.02)
        assert await lookups.get("crew", backend.look_up) == [2]

    law(check, keep=0.01)


def test_different_keys_and_different_loops_share_nothing() -> None:
    lookups: Lookups[list[int]] = Lookups(60)

    async def ask(backend: Backend, key: str) -> list[int]:
        backend.answering.set()
        return await lookups.get(key, backend.look_up)

    async def both() -> list[list[int]]:
        backend = Backend()
        return [await ask(backend, "a"), await ask(backend, "b")]

    assert asyncio.run(both()) == [[1], [2]]
    assert asyncio.run(both()) == [[1], [2]]
    assert len(lookups._asked) == 2  # noqa: SLF001 - a loop that has ended is not kept alive


@given(st.sets(st.integers(0, 9)))
def test_nobodys_cancellation_ends_a_look_up_for_the_others(cancelled: set[int]) -> None:
    async def check(lookups: Lookups[list[int]], backend: Backend) -> None:
        waiting = [asyncio.ensure_future(lookups.get("crew", backend.look_up)) for _ in range(10)]
        await asyncio.sleep(0)
        for index in cancelled:
            waiting[index].cancel()
        await asyncio.sleep(0)
        backend.answering.set()
        answers = await asyncio.gather(*waiting, return_exceptions=True)
        assert {index for index, answer in enumerate(answers) if answer != [1]} == cancelled
        assert await lookups.get("crew", backend.look_up) == [1]

    law(check)


@pytest.mark.filterwarnings("error")
def test_a_failure_that_nobody_waits_for_any_more_is_no_complaint(caplog: pytest.LogCaptureFixture) -> None:
    async def check(lookups: Lookups[list[int]], backend: Backend) -> None:
        waiting = asyncio.ensure_future(lookups.get("crew", backend.look_up))
        await asyncio.sleep(0)
        waiting.cancel()
        backend.answering.set()
        await asyncio.sleep(0.01)

    law(check, failures=1)
    assert caplog.records == []
