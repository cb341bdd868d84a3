"""`scripts/chaos`: real faults against a real Airflow and real crews, and what came of them.

Each scenario breaks something, lets Airflow go on, and then counts how many kickoffs the server saw. The table says
fault, kickoffs, stops, ending and seconds; a line that is not as the README promises fails the run.
"""

import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from aiohttp import web
from airflow_api import FINAL, DagRun, Json, eventually
from airflow_home import PrivateAirflow
from crew_server import CrewServer
from environments import CHECKOUT
from fault_proxy import LOST, Exchange, Fault, FaultProxy, Seen

TASK = "crew"
DAGS = CHECKOUT / "tests" / "chaos" / "dags"
LOGS = CHECKOUT / ".chaos"
MAPPED = 50
CONNECTION = "crewai_default"
# Airflow's own patience, shortened: a lost worker is noticed after ten seconds instead of five minutes. Much less
# would not do: a triggerer that looks up its first connection is busy for seconds, and must not pass for lost.
SETTINGS = {
    "scheduler": {
        "scheduler_idle_sleep_time": "0.1",
        "task_instance_heartbeat_timeout": "10",
        "task_instance_heartbeat_timeout_detection_interval": "2",
    },
    "workers": {"missing_dag_retry_delay": "5"},
    "triggerer": {"triggerer_health_check_threshold": "20", "job_heartbeat_sec": "1"},
}


@dataclass(frozen=True)
class Expected:
    """What the README promises: how many kickoffs, how the task ends, and words that its logs must hold."""

    kickoffs: int
    ending: str = "success"
    says: str = ""
    stops: int = 0

    def is_met_by(self, seen: Seen, ending: str, logs: str) -> bool:
        """Whether this is what came of it. A run that two stop is stopped once."""
        figures = (len(seen.kickoffs), len(set(seen.kickoffs)), len(set(seen.stopped)), ending)
        return figures == (self.kickoffs, self.kickoffs, self.stops, self.ending) and self.says in logs


@dataclass(frozen=True)
class Scenario:
    """One fault."""

    name: str
    dag: str
    expected: Expected
    act: Callable[["Stage", DagRun], None]
    fault: Callable[["Stage"], Fault] | None = None


class Stage:
    """Airflow, the proxy and the crew behind it, and one scenario on them."""

    def __init__(self, airflow: PrivateAirflow, proxy: FaultProxy) -> None:
        self.airflow = airflow
        self.proxy = proxy
        self.topic = ""
        self.reached = False
        self.go_on = asyncio.Event()

    @property
    def seen(self) -> Seen:
        """What reached the server for the fault on stage."""
        return self.proxy.seen(self.topic)

    def play(self, scenario: Scenario) -> tuple[bool, str]:
        """Run one scenario; answer with whether it ended as promised, and with its line of the table."""
        self.topic, self.reached, self.go_on = scenario.name, False, asyncio.Event()
        if scenario.fault:
            self.proxy.set_fault(self.topic, scenario.fault(self))
        started = time.monotonic()
        run = self.airflow.api.trigger(f"chaos_{scenario.dag}", {"topic": self.topic})
        ending = self._ending(scenario, run)
        return self._judge(scenario, run, ending, time.monotonic() - started)

    def _ending(self, scenario: Scenario, run: DagRun) -> str:
        """Break what is to be broken, and wait for the end; what did not come to pass is told in its place."""
        try:
            scenario.act(self, run)
            return run.wait(patience=300)
        except (AssertionError, RuntimeError, TimeoutError) as error:
            return str(error)
        finally:
            self.release()
            self.proxy.outage = False

    def _judge(self, scenario: Scenario, run: DagRun, ending: str, seconds: float) -> tuple[bool, str]:
        seen, expected = self.seen, scenario.expected
        # A stop comes from the triggerer, some seconds after the task has moved on.
        with_stops = time.monotonic() + 15
        while len(seen.stopped) < expected.stops and time.monotonic() < with_stops:
            time.sleep(0.2)
        logs = self.all_logs(run)
        right = expected.is_met_by(seen, ending, logs)
        if not right:
            LOGS.mkdir(exist_ok=True)
            (LOGS / f"{scenario.name.replace(' ', '-')}.log").write_text(logs)
        verdict = "as promised" if right else f"NOT as promised: {expected}"
        figures = f"{len(seen.kickoffs):>8} {len(set(seen.stopped)):>5}"
        return right, f"{scenario.name:<46} {figures}  {ending:<8} {seconds:>6.1f}  {verdict}"

    def all_logs(self, run: DagRun) -> str:
        """Answer with the logs of all tries of all tasks."""
        tries = [(task, number) for task in run.tasks() for number in range(1, int(task["try_number"]) + 1)]
        return "\n".join(run.log(TASK, number, int(task["map_index"])) for task, number in tries)

    def wait_for_kickoff(self, count: int = 1) -> None:
        """Wait until the server has seen so many kickoffs."""
        eventually(lambda: len(self.seen.kickoffs) >= count or None, f"kickoff {count} of {self.topic}")

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
        """Tell the task's process to end, and kill it five seconds later, as when a pod is evicted."""
        task = run.wait_for_task(TASK, "running")
        process = self.airflow.task_process(int(task["pid"]))
        process.terminate()
        time.sleep(5)
        process.kill()

    def release(self) -> None:
        """Let a held answer go, or a held run end."""
        self.proxy.soon(self.go_on.set)


# ---- faults of the wire ----------------------------------------------------------------------------


def hold(when: Callable[[Exchange], bool]) -> Callable[[Stage], Fault]:
    """Hold the first answer that fits until the scenario lets it go."""

    def of(stage: Stage) -> Fault:
        async def fault(exchange: Exchange) -> web.StreamResponse | None:
            if not stage.reached and when(exchange):
                stage.reached = True
                await stage.go_on.wait()
            return None

        return fault

    return of


def hold_run(stage: Stage) -> Fault:
    """Let the run go on until the scenario lets it end: until then a success reads as running."""

    async def fault(exchange: Exchange) -> web.StreamResponse | None:
        over = is_look(exchange) and exchange.answer.get("state") == "SUCCESS"
        return web.json_response({"state": "RUNNING"}) if over and not stage.go_on.is_set() else None

    return fault


def is_kickoff(exchange: Exchange) -> bool:
    return exchange.path == "/kickoff"


def is_look(exchange: Exchange) -> bool:
    return exchange.path.startswith("/status/")


class SecondSuccess:
    """True for the second answer that says SUCCESS: the trigger has seen the first."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, exchange: Exchange) -> bool:
        self.count += is_look(exchange) and exchange.answer.get("state") == "SUCCESS"
        return self.count == 2


def lose_kickoff(stage: Stage) -> Fault:
    """Lose the first answer to a kickoff."""

    async def fault(exchange: Exchange) -> web.StreamResponse | None:
        if is_kickoff(exchange) and not stage.reached:
            stage.reached = True
            return LOST
        return None

    return fault


def answer_looks(*answers: Callable[[], web.StreamResponse]) -> Callable[[Stage], Fault]:
    """Replace the answers to the first looks by these, one for each."""

    def of(_: Stage) -> Fault:
        left = list(answers)

        async def fault(exchange: Exchange) -> web.StreamResponse | None:
            return left.pop(0)() if left and is_look(exchange) else None

        return fault

    return of


def bad_gateway() -> web.Response:
    return web.Response(status=502, text="<html><body><h1>502 Bad Gateway</h1></body></html>", content_type="text/html")


def too_many() -> web.Response:
    return web.json_response({"detail": "slow down"}, status=429, headers={"Retry-After": "3"})


def truncated() -> web.Response:
    return web.Response(body=b'{"state": "SUCC', content_type="application/json")


def elsewhere() -> web.Response:
    return web.Response(status=302, headers={"Location": "https://elsewhere.example/"})


def strange() -> web.Response:
    return web.json_response({"state": "CONTEMPLATING", "status": "Hmm"})


def not_found() -> web.Response:
    return web.json_response({"state": "NOT FOUND", "status": "Task not found or Invalid kickoff id"})


# ---- what is done to Airflow -----------------------------------------------------------------------


def nothing(_stage: Stage, _run: DagRun) -> None:
    """Let it go its way."""


def kill_worker_while_waiting(stage: Stage, run: DagRun) -> None:
    stage.wait_for_kickoff()
    eventually(lambda: stage.seen.looks or None, "a look")
    stage.kill_worker(run)


def lose_machine_while_waiting(stage: Stage, run: DagRun) -> None:
    stage.wait_for_kickoff()
    eventually(lambda: stage.seen.looks or None, "a look")
    stage.kill_worker(run, supervisor=True)


def drain_worker_while_waiting(stage: Stage, run: DagRun) -> None:
    stage.wait_for_kickoff()
    eventually(lambda: stage.seen.looks or None, "a look")
    stage.drain_worker(run)


def kill_worker_when_held(stage: Stage, run: DagRun) -> None:
    stage.wait_until_reached()
    stage.kill_worker(run)


def restart(component: str) -> Callable[[Stage, DagRun], None]:
    def act(stage: Stage, run: DagRun) -> None:
        run.wait_for_task(TASK, "deferred")
        stage.airflow.kill(component)
        time.sleep(1)
        stage.airflow.start(component)
        stage.airflow.wait_healthy()
        stage.release()

    return act


def mark(state: str, while_: str = "deferred") -> Callable[[Stage, DagRun], None]:
    def act(stage: Stage, run: DagRun) -> None:
        wait_until_it_waits(stage, run, while_)
        run.mark_task(TASK, state)

    return act


def clear(while_: str = "deferred") -> Callable[[Stage, DagRun], None]:
    def act(stage: Stage, run: DagRun) -> None:
        wait_until_it_waits(stage, run, while_)
        run.clear(TASK)

    return act


def wait_until_it_waits(stage: Stage, run: DagRun, state: str) -> None:
    stage.wait_for_kickoff()
    run.wait_for_task(TASK, state)
    time.sleep(2)  # a trigger that was never started cannot be killed


def clear_after_success(stage: Stage, run: DagRun) -> None:
    run.wait()
    run.clear(TASK)
    run.wait_for_task(TASK, "running", "queued", "scheduled", "deferred")


def move_trigger(stage: Stage, run: DagRun) -> None:
    """Stop the triggerer's heart for a while: another takes its trigger over, then the first wakes up."""
    run.wait_for_task(TASK, "deferred")
    first, looks = eventually(lambda: triggerer_of(run), "a triggerer to take the trigger"), stage.seen.looks
    eventually(lambda: stage.seen.looks > looks or None, "the trigger to look")
    with frozen(stage.airflow.component("triggerer")):
        stage.airflow.start_second("triggerer")
        eventually(lambda: triggerer_of(run, but=first), "another triggerer to take the trigger")
    time.sleep(5)  # the first finds that the trigger is no longer its own, and cancels it
    stage.release()
    run.wait()
    stage.airflow.kill("second triggerer")


def triggerer_of(run: DagRun, but: int = 0) -> int | None:
    trigger: Json = run.task(TASK)["trigger"] or {}
    number = trigger.get("triggerer_id")
    return None if number in (None, but) else int(number)


def delete_dag_file(stage: Stage, run: DagRun) -> None:
    """Take the Dag's file away until Airflow has noticed, and tried to go on without it; then put it back."""
    run.wait_for_task(TASK, "deferred")
    file = stage.airflow.dags / "crewai_deleted.py"
    text = file.read_text()
    file.unlink()
    eventually(lambda: stage.airflow.api.dags()[run.dag_id]["is_stale"] or None, "the Dag to be gone")
    stage.release()
    run.wait_for_task(TASK, "up_for_reschedule")
    file.write_text(text)


def start_many(stage: Stage, run: DagRun) -> None:
    """Let all of them wait at once, then end at once; each must come back with an answer of its own."""

    def all_deferred() -> bool | None:
        states = [task["state"] for task in run.tasks()]
        return True if states == ["deferred"] * MAPPED else None

    def all_ended() -> str | None:
        stage.airflow.revive()
        return state if (state := run.state()) in FINAL else None

    eventually(all_deferred, f"{MAPPED} tasks to be deferred at once", patience=600)
    stage.release()
    if eventually(all_ended, f"{MAPPED} tasks to end", patience=600, interval=2) == "success":
        answers = [str(run.xcom(TASK, map_index=index)) for index in range(MAPPED)]
        strangers = [index for index, answer in enumerate(answers) if f"Addressed to reader {index}," not in answer]
        assert not strangers, f"the answers of {strangers} are somebody else's"  # noqa: S101 - told in the table


@contextmanager
def frozen(root: psutil.Process) -> Iterator[None]:
    """Suspend a process and its children for a while."""
    processes = [root, *root.children(recursive=True)]
    for process in processes:
        process.suspend()
    try:
        yield
    finally:
        for process in reversed(processes):
            process.resume()


def outage(seconds: float) -> Callable[[Stage, DagRun], None]:
    def act(stage: Stage, run: DagRun) -> None:
        run.wait_for_task(TASK, "deferred")
        stage.proxy.outage = True
        time.sleep(seconds)
        stage.proxy.outage = False

    return act


def rotate_token(stage: Stage, run: DagRun) -> None:
    run.wait_for_task(TASK, "deferred")
    time.sleep(1)
    stage.proxy.token = f"rotated-{time.time()}"
    stage.airflow.api.call("PATCH", f"/api/v2/connections/{CONNECTION}?update_mask=password", connection(stage.proxy))


def connection(proxy: FaultProxy) -> dict[str, object]:
    """Answer with the connection that leads through the proxy."""
    return {"connection_id": CONNECTION, "conn_type": "crewai", "host": proxy.url, "password": proxy.token}


ADOPTED = "No new run is started"
SCENARIOS = (
    Scenario("worker killed while waiting", "sync", Expected(1, says=ADOPTED), kill_worker_while_waiting),
    Scenario("its machine lost while waiting", "sync", Expected(1, says=ADOPTED), lose_machine_while_waiting),
    Scenario("its pod evicted while waiting", "sync", Expected(1, says=ADOPTED), drain_worker_while_waiting),
    Scenario(
        "killed between POST and record",
        "sync",
        Expected(1, "failed", "A paid run may be going on"),
        kill_worker_when_held,
        hold(is_kickoff),
    ),
    Scenario(
        "the same, on_orphaned_kickoff=rerun", "orphan_rerun", Expected(2), kill_worker_when_held, hold(is_kickoff)
    ),
    Scenario(
        "killed between record and defer", "deferred", Expected(1, says=ADOPTED), kill_worker_when_held, hold(is_look)
    ),
    Scenario(
        "killed in execute_complete",
        "deferred",
        Expected(1, says=ADOPTED),
        kill_worker_when_held,
        hold(SecondSuccess()),
    ),
    Scenario("triggerer killed while deferred", "deferred", Expected(1), restart("triggerer"), hold_run),
    Scenario("api-server restarted while deferred", "deferred", Expected(1), restart("api-server"), hold_run),
    Scenario("scheduler killed while deferred", "deferred", Expected(1), restart("scheduler"), hold_run),
    Scenario(
        "trigger reassigned, first triggerer wakes",
        "deferred",
        Expected(1, says="is not stopped"),
        move_trigger,
        hold_run,
    ),
    Scenario("Dag file deleted while deferred", "deleted", Expected(1, says=ADOPTED), delete_dag_file, hold_run),
    Scenario("marked failed while deferred", "deferred", Expected(1, "failed", stops=1), mark("failed")),
    Scenario("marked success while deferred", "deferred", Expected(1, stops=1), mark("success")),
    Scenario("marked failed, on_kill=leave", "leave", Expected(1, "failed"), mark("failed")),
    Scenario(
        "marked failed while waiting in a worker", "sync", Expected(1, "failed", stops=1), mark("failed", "running")
    ),
    Scenario("cleared while deferred", "deferred", Expected(2, stops=1), clear()),
    Scenario("cleared while deferred, on_clear=reattach", "reattach", Expected(1, says=ADOPTED), clear()),
    Scenario("cleared while waiting in a worker", "sync", Expected(2, stops=1), clear("running")),
    Scenario("cleared after success", "deferred", Expected(2), clear_after_success),
    Scenario("cleared after success, reattach", "reattach", Expected(1, says=ADOPTED), clear_after_success),
    Scenario("answer to the POST lost", "deferred", Expected(1, "failed", "may have started"), nothing, lose_kickoff),
    Scenario("API out for 12 s while deferred", "deferred", Expected(1), outage(12)),
    Scenario(
        "API out for longer than unreachable_timeout",
        "unreachable",
        Expected(1, "failed", "the API has not answered"),
        outage(20),
    ),
    Scenario("token rotated while deferred", "deferred", Expected(1), rotate_token),
    Scenario("inputs edited between tries", "edited", Expected(2), kill_worker_while_waiting),
    Scenario(
        "the same, on_changed_inputs=fail",
        "edited_fail",
        Expected(1, "failed", "on_changed_inputs is 'fail'"),
        kill_worker_while_waiting,
    ),
    Scenario("429 with Retry-After", "deferred", Expected(1), nothing, answer_looks(too_many, too_many)),
    Scenario("HTML 502 storm", "deferred", Expected(1), nothing, answer_looks(*[bad_gateway] * 4)),
    Scenario("truncated JSON", "deferred", Expected(1), nothing, answer_looks(truncated, truncated)),
    Scenario("redirect to another host", "deferred", Expected(1), nothing, answer_looks(elsewhere)),
    Scenario("unknown state", "deferred", Expected(1), nothing, answer_looks(strange, strange)),
    Scenario("NOT FOUND for a while", "deferred", Expected(1), nothing, answer_looks(not_found, not_found)),
    Scenario("50 mapped tasks at once", "mapped", Expected(MAPPED), start_many, hold_run),
)


def main(wanted: list[str]) -> int:
    """Play all scenarios, or those whose name holds one of the given words; answer with the exit code."""
    chosen = [each for each in SCENARIOS if not wanted or any(word in each.name for word in wanted)]
    if not chosen:
        print(f"scripts/chaos: no fault's name holds {' or '.join(map(repr, wanted))}", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="crewai-chaos-"))
    dags = Path(shutil.copytree(DAGS, folder / "dags"))  # one of the files is deleted
    with (
        CrewServer(folder, {"BRIEF_SECONDS_PER_TASK": "4"}, slots=8) as crew,
        FaultProxy(crew.url, crew.token) as proxy,
        PrivateAirflow(folder / "airflow", dags, settings=SETTINGS) as airflow,
    ):
        airflow.api.call("POST", "/api/v2/connections", connection(proxy))
        for each in chosen:
            airflow.api.wait_for_dag(f"chaos_{each.dag}")
        return play_all(Stage(airflow, proxy), chosen)


def play_all(stage: Stage, scenarios: list[Scenario]) -> int:
    """Play them in turn and print the table."""
    print(f"{'fault':<46} {'kickoffs':>8} {'stops':>5}  {'ending':<8} {'s':>6}", flush=True)
    results = []
    for scenario in scenarios:
        right, line = stage.play(scenario)
        print(line, flush=True)
        results.append(right)
    print(f"{sum(results)} of {len(results)} as promised", flush=True)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
