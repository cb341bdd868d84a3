"""The stage of `scripts/chaos`: an Airflow and a crew with a liar between them, and one row played on them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from airflow_api import DagRun, eventually
from airflow_home import PrivateAirflow, Settings
from checkout import CHECKOUT
from fault_proxy import Fault, FaultProxy, Refusal, Seen

TASK = "crew"
LOGS = CHECKOUT / ".chaos"


@dataclass(frozen=True)
class Setup:
    """An Airflow to play rows on: `settings` differ from the usual; `{folder}` in them is a folder of its own.

    :param asks: whether the crew asks a human before it ends.
    :param strict: whether the crew's server hides what it asks, as a deployment does.

    :param secrets: whether the connection stands in a secrets backend (`slow_secrets.py`) instead of the database.
    :param at_size: whether it has a database for many writers, eight slots, and a crew that costs nothing.
    """

    name: str
    settings: Settings = field(default_factory=dict, hash=False)
    secrets: bool = False
    at_size: bool = False
    asks: bool = False
    strict: bool = False


@dataclass(frozen=True)
class Expected:
    """What the README promises: how many kickoffs and stops, how the task ends, and words that its logs must hold.

    :param kickoffs: None for any number, each for a run of its own.
    :param stops: None for any number.
    :param left: how many runs go on that nobody has stopped; None for any number.
    :param feedbacks: how many times the crew took what a human said, through Airflow; None for any number.
    :param rounds: how many times it asked; None for any number.
    """

    kickoffs: int | None
    ending: str = "success"
    says: str = ""
    stops: int | None = 0
    left: int | None = None
    feedbacks: int | None = None
    rounds: int | None = None

    def is_met_by(self, seen: Seen, ending: str, logs: str) -> bool:
        """Whether this is what came of it."""
        pairs = (
            (self.kickoffs, seen.started),
            (self.stops, len(seen.stopped)),
            (self.left, seen.left),
            (self.feedbacks, len(seen.feedbacks)),
            (self.rounds, len(seen.questions)),
        )
        figures = all(wanted in (None, came) for wanted, came in pairs)
        return figures and seen.started == len(set(seen.kickoffs)) and self.ending == ending and self.says in logs


@dataclass(frozen=True)
class Row:
    """One fault and what must come of it.

    :param dag: the Dag, without `chaos_`; see `tests/chaos/dags`.
    :param fault: what the wire does to the answers.
    :param refusal: what the wire does to requests instead of passing them on.
    :param deliveries: how often each call of the crew arrives at Airflow.
    :param since: the first Airflow on which it can be played.
    :param on_3_4: what must come of it from Airflow 3.4 on, where that differs.
    :param patience: seconds after the task's end within which the last stops, and the words in its logs, may come.
    """

    name: str
    dag: str
    expected: Expected
    act: Callable[["Stage", DagRun], None]
    fault: Callable[["Stage"], Fault] | None = None
    refusal: Callable[["Stage"], Refusal] | None = None
    deliveries: int = 1
    setup: Setup = Setup("plain")
    since: tuple[int, int] = (3, 3)
    on_3_4: Expected | None = None
    patience: float = 15

    def expected_on(self, airflow: tuple[int, int]) -> Expected:
        """Answer with what must come of it on this Airflow."""
        return self.on_3_4 if self.on_3_4 and airflow >= (3, 4) else self.expected


class Stage:
    """Airflow, the proxy and the crew behind it, and one row on them."""

    def __init__(self, airflow: PrivateAirflow, proxy: FaultProxy, version: tuple[int, int], secrets: Path) -> None:
        self.airflow = airflow
        self.proxy = proxy
        self.version = version
        self.secrets = secrets
        self.topic = ""
        self.reached = False
        self.go_on = asyncio.Event()
        self.figures: dict[str, object] = {}

    @property
    def seen(self) -> Seen:
        """What reached the server for the row on stage."""
        return self.proxy.seen(self.topic)

    def play(self, row: Row) -> bool:
        """Play one row, print its line of the table, and answer with whether it ended as promised."""
        self.airflow.revive()  # what the row before has broken is that row's alone
        self.topic, self.reached, self.go_on, self.figures = row.name, False, asyncio.Event(), {}
        if row.fault:
            self.proxy.set_fault(self.topic, row.fault(self))
        if row.refusal:
            self.proxy.set_refusal(self.topic, row.refusal(self))
        self.proxy.deliveries = row.deliveries
        started = time.monotonic()
        run = self.airflow.api.trigger(f"chaos_{row.dag}", {"topic": self.topic})
        ending = self._ending(row, run)
        return self._judge(row, run, ending, time.monotonic() - started)

    def _ending(self, row: Row, run: DagRun) -> str:
        """Break what is to be broken, and wait for the end; what did not come to pass is told in its place."""
        try:
            row.act(self, run)
            return run.wait(patience=600 if row.setup.at_size else 150)
        except (AssertionError, RuntimeError, TimeoutError) as error:
            return str(error)
        finally:
            self.release()
            self.proxy.outage = False

    def _judge(self, row: Row, run: DagRun, ending: str, seconds: float) -> bool:
        expected = row.expected_on(self.version)
        logs = self._wait_for_what_comes_late(expected, run, row.patience)
        right = expected.is_met_by(self.seen, ending, logs)
        if expected.rounds is not None:
            self.figures |= {"feedbacks": len(self.seen.feedbacks), "rounds": len(self.seen.questions)}
        if not right:
            LOGS.mkdir(exist_ok=True)
            (LOGS / f"{row.name.replace(' ', '-')}.log").write_text(logs)
        print(line(row.name, self.seen, ending, seconds, self.figures, None if right else expected), flush=True)
        return right

    def _wait_for_what_comes_late(self, expected: Expected, run: DagRun, patience: float) -> str:
        """Wait for the stops and for what the logs must say, and answer with the logs.

        Both come from the triggerer, some seconds after the task has moved on.
        """
        give_up = time.monotonic() + patience
        while self._lacks_stops(expected) and time.monotonic() < give_up:
            time.sleep(0.2)
        while expected.says not in (logs := self.all_logs(run)) and time.monotonic() < give_up:
            time.sleep(1)
        return logs

    def _lacks_stops(self, expected: Expected) -> bool:
        left = expected.left is not None and self.seen.left > expected.left
        return left or len(self.seen.stopped) < (expected.stops or 0)

    def all_logs(self, run: DagRun) -> str:
        """Answer with the logs of all tries of all tasks."""
        tries = [(task, number) for task in run.tasks() for number in range(1, int(task["try_number"]) + 1)]
        return "\n".join(run.log(TASK, number, int(task["map_index"])) for task, number in tries)

    def wait_for_kickoff(self, count: int = 1, patience: float = 60) -> None:
        """Wait until the server has seen so many kickoffs."""
        eventually(lambda: self.seen.started >= count or None, f"kickoff {count} of {self.topic}", patience)

    def wait_until_reached(self) -> None:
        """Wait until the fault holds an answer."""
        eventually(lambda: self.reached or None, f"the fault of {self.topic} to be reached", 90)

    def kill_worker(self, run: DagRun, *, supervisor: bool = False) -> None:
        """Kill the process that runs the task, and its supervisor too, as when a machine goes away."""
        task = run.wait_for_task(TASK, "running")
        process = self.airflow.task_process(int(task["pid"]))
        victims = [*([process.parent()] if supervisor else []), *process.children(recursive=True), process]
        for victim in filter(None, victims):
            victim.kill()
        psutil.wait_procs(filter(None, victims), timeout=5)
        self.release()

    def drain_worker(self, run: DagRun) -> None:
        """Tell the task's process to end, and kill it five seconds later if it has not, as when a pod is evicted."""
        task = run.wait_for_task(TASK, "running")
        process = self.airflow.task_process(int(task["pid"]))
        process.terminate()
        time.sleep(5)
        with suppress(psutil.NoSuchProcess):
            process.kill()

    def resume_directly(self, kickoff_id: str, question: str) -> int:
        """Approve at the crew's server itself; answer with the HTTP status."""
        body = {"executionId": kickoff_id, "taskId": question, "humanFeedback": "Approved.", "isApprove": True}
        return self.proxy.ask_server("/resume", body)

    def release(self) -> None:
        """Let a held answer go, or a held run end."""
        self.proxy.soon(self.go_on.set)


HEADER = f"{'row':<58} {'kickoffs':>8} {'stops':>5}  {'ending':<8} {'s':>6}"


def line(
    name: str, seen: Seen, ending: str, seconds: float, figures: Mapping[str, Any], missed: Expected | None
) -> str:
    """Lay a row of the table out; `missed` is what was promised, where something else came."""
    verdict = f"NOT as promised: {missed}" if missed else "as promised"
    extra = "".join(f"; {what} {figure}" for what, figure in figures.items())
    return f"{name:<58} {seen.started:>8} {len(seen.stopped):>5}  {ending:<8} {seconds:>6.1f}  {verdict}{extra}"
