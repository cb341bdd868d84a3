"""What holds while the runs of a batch are waited for, in a worker as in a triggerer: random runs in virtual time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted import EPOCH, Answer, Asked, AsyncScriptedShell, ScriptedShell, run_virtually

from airflow_provider_crewai.client import batch_aio, batch_waits, flows
from airflow_provider_crewai.client.batch_pace import LONGEST_UNREAD, News, Pace
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch
from airflow_provider_crewai.wire.errors import CrewError, CrewTransportError
from airflow_provider_crewai.wire.model import Response, Run

SHORTEST, LONGEST = 2.0, 60.0
LATENCY = 0.01
HAIR = 1e-3
DOWN = CrewTransportError("connection refused", sent=False)
WORDS = {"SUCCESS": Verdict.SUCCEEDED, "FAILED": Verdict.FAILED, "REVOKED": Verdict.STOPPED}


@dataclass
class World:
    """Runs that end at a second of their own, and a deployment that is away from one second to another.

    :param ends: for each run the seconds that it takes, and its last state.
    """

    ends: list[tuple[float, str]]
    pace: Pace
    away: tuple[float, float] = (0.0, 0.0)
    looks: list[tuple[str, float]] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    @property
    def runs(self) -> list[str]:
        return [f"run-{number}" for number in range(len(self.ends))]

    def watches(self) -> list[Watch]:
        patience = Patience(SHORTEST, LONGEST, unreachable_timeout=600)
        return [Watch(run, patience, started_at=EPOCH, seen_alive=True) for run in self.runs]

    def serve(self, asked: Asked) -> Answer:
        run, age = asked.request.path.rpartition("/")[2], asked.at - EPOCH
        self.looks.append((run, asked.at))
        if self.away[0] <= age < self.away[1]:
            return Answer(DOWN, LATENCY)
        seconds, state = self.ends[int(run.removeprefix("run-"))]
        body = {"state": state if age >= seconds else "RUNNING", "status": None, "result": "x"}
        return Answer(Response(200, {}, json.dumps(body).encode()), LATENCY)

    def observe(self, seen: Run | CrewError, _now: float) -> None:
        self.seen.append(type(seen).__name__)


@dataclass(frozen=True)
class Waited:
    endings: list[Ending]
    at: float


def chances() -> Iterator[float]:
    return cycle([0.0, 0.3, 0.9, 0.5])


def in_a_worker(world: World) -> Waited:
    shell = ScriptedShell(world.serve, chances())
    flow = batch_waits.until_news(world.watches(), world.pace, flows.Dialect(), world.observe)
    return Waited(shell.drive(flow), shell.now)


def in_a_triggerer(world: World) -> Waited:
    async def wait() -> Waited:
        shell, dialect = AsyncScriptedShell(world.serve, chances()), flows.Dialect()
        news, clock = News(world.pace, len(world.runs)), asyncio.get_running_loop().time

        async def one(watch: Watch) -> Ending:
            return await shell.drive_async(flows.wait(watch, dialect, world.observe))

        await batch_aio.until_news(one, world.watches(), news, clock)
        assert len(asyncio.all_tasks()) == 1, "no wait is left behind"
        return Waited(news.endings, clock())

    return run_virtually(wait())


@st.composite
def worlds(draw: st.DrawFn) -> World:
    lengths = st.one_of(st.floats(0, 30), st.floats(0, 3000))
    ends = draw(st.lists(st.tuples(lengths, st.sampled_from(sorted(WORDS))), max_size=12))
    pace = Pace(
        slots=draw(st.integers(max(len(ends), 1), 12)),
        left=draw(st.sampled_from([0, 0, 1, 100])),
        since=EPOCH,
        usual=draw(st.none() | st.floats(1, 1000)),
        bearable=draw(st.none() | st.integers(0, 5)),
        wake_at=draw(st.none() | st.floats(EPOCH, EPOCH + 1000)),
    )
    begin = draw(st.floats(0, 500))
    return World(ends, pace, away=(begin, begin + draw(st.sampled_from([0.0, 0.0, 30.0, 300.0]))))


ways = pytest.mark.parametrize("wait", [in_a_worker, in_a_triggerer])
Way = Callable[[World], Waited]


@ways
@given(world=worlds())
def test_the_waiting_ends_where_there_is_something_to_do(wait: Way, world: World) -> None:
    waited = wait(world)
    failed = sum(ending.verdict is not Verdict.SUCCEEDED for ending in waited.endings)
    running = len(world.runs) - len(waited.endings)
    due = world.pace.wakes_at([ending.at for ending in waited.endings], failed, running, waited.at)
    assert due is not None
    assert due <= waited.at


@ways
@given(world=worlds())
def test_each_ending_is_true_and_of_another_run(wait: Way, world: World) -> None:
    endings = wait(world).endings
    assert len({ending.kickoff_id for ending in endings}) == len(endings)
    for ending in endings:
        seconds, state = world.ends[int(ending.kickoff_id.removeprefix("run-"))]
        assert ending.verdict is WORDS[state]
        assert ending.at >= EPOCH + seconds


@ways
@given(world=worlds())
def test_an_end_is_seen_and_told_in_time(wait: Way, world: World) -> None:
    """Each run is looked at no later than its pace says, however many others there are, and its end is read in time."""
    waited = wait(world)
    told = {ending.kickoff_id for ending in waited.endings}
    outage = world.away[1] - world.away[0]
    for run, (seconds, _) in zip(world.runs, world.ends, strict=True):
        if waited.at - EPOCH > seconds + LONGEST + outage + len(world.runs):
            assert run in told
    if waited.endings:
        assert waited.at <= waited.endings[0].at + LONGEST_UNREAD + HAIR


@ways
@given(world=worlds())
def test_no_run_is_looked_at_more_often_than_the_author_allows(wait: Way, world: World) -> None:
    wait(world)
    for run in world.runs:
        times = [at for looked, at in world.looks if looked == run]
        assert all(later - earlier >= SHORTEST for earlier, later in pairwise(times))
    # A triggerer gives up the looks that are under way when the worker is to wake.
    given_up = len(world.looks) - len(world.seen)
    assert 0 <= given_up <= len(world.runs), "each other look is observed once"


@ways
@given(count=st.integers(1, 12))
def test_a_deployment_that_stays_away_ends_the_waiting_for_all_runs(wait: Way, count: int) -> None:
    gone = World([(1e9, "SUCCESS")] * count, Pace(12, 0, EPOCH), away=(0, 1e9))
    waited = wait(gone)
    assert {ending.verdict for ending in waited.endings} == {Verdict.UNREACHABLE}
    assert waited.at - EPOCH < 600 + 2 * LONGEST
