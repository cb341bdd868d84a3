"""The rows of `scripts/chaos --large`: what shows only where hundreds of tasks wait or start at once.

They are played on PostgreSQL with eight slots and one triggerer, against a crew on paper.
"""

import time
from datetime import datetime
from statistics import median

from aiohttp import web
from airflow_acts import Act, keep_secrets
from airflow_api import DagRun, Json, eventually
from chaos_stage import TASK, Expected, Row, Setup, Stage
from fault_proxy import Exchange, Fault
from wire_faults import hold_run, is_look

MANY, STARTING, READERS = 500, 200, 100
SLOW = 3.0
AWAY = 60.0
DEADLINE = 150.0
"""Seconds after which the Dag `chaos_100_deadlines` gives up the runs that never end."""
AT_SIZE = Setup("at size", at_size=True)
SECRETS = Setup(
    "a secrets backend",
    {
        "secrets": {"backend": "slow_secrets.SlowSecrets", "backend_kwargs": '{"file": "{folder}/secrets.json"}'},
        "triggerer": {"triggerer_health_check_threshold": "20"},  # that is how long the triggers of a killed one wait
    },
    secrets=True,
    at_size=True,
)


def wait_until_deferred(run: DagRun, count: int) -> None:
    def reached() -> bool | None:
        return True if run.count("deferred") >= count else None

    eventually(reached, f"{count} tasks to be deferred", patience=1200, interval=2)
    time.sleep(5)  # a trigger that was never started cannot be killed


def mark_when_deferred(stage: Stage, run: DagRun) -> None:
    wait_until_deferred(run, MANY)
    before, marked = set(stage.seen.kickoffs), time.time()
    run.mark("failed")
    note_stops(stage, before, marked)


def clear_when_deferred(stage: Stage, run: DagRun) -> None:
    """Clear all at once; end the new tries too once the old runs are stopped, or it is too late for them."""
    wait_until_deferred(run, MANY)
    before, cleared = set(stage.seen.kickoffs), time.time()
    run.clear(TASK)
    note_stops(stage, before, cleared)
    wait_until_deferred(run, MANY)
    run.mark("failed")
    wait_for_stops(stage, set(stage.seen.kickoffs), time.time() + 180)  # the row's end lets all runs succeed


def note_stops(stage: Stage, runs: set[str], since: float, patience: float = 180) -> None:
    """Wait until these runs are stopped, and note how many were, and when the last was."""
    wait_for_stops(stage, runs, time.time() + patience)
    stops = sorted(stage.seen.stopped[each] - since for each in runs if each in stage.seen.stopped)
    stage.figures["stopped"] = f"{len(stops)} of {len(runs)}"
    if stops:
        stage.figures["half after"] = f"{median(stops):.0f} s"
        stage.figures["the last after"] = f"{stops[-1]:.0f} s"


def wait_for_stops(stage: Stage, runs: set[str], give_up: float) -> None:
    """Wait until all these runs are stopped, or until this epoch second."""
    while runs - set(stage.seen.stopped) and time.time() < give_up:
        time.sleep(0.5)


def mark_while_they_start(state: str) -> Act:
    def act(stage: Stage, run: DagRun) -> None:
        stage.wait_for_kickoff(STARTING // 5, patience=300)
        run.mark(state)
        time.sleep(45)  # what was about to start has started by then, or never will
        stage.figures["left behind"] = stage.seen.left

    return act


def hold_odd_readers(stage: Stage) -> Fault:
    """Let the runs of readers with odd numbers never end, and the others when the row lets them."""
    readers: dict[str, int] = {}

    async def fault(exchange: Exchange) -> web.StreamResponse | None:
        if exchange.path == "/kickoff":
            readers[exchange.kickoff_id] = int(exchange.body["inputs"]["audience"].rpartition(" ")[2])
        if is_look(exchange) and (readers.get(exchange.kickoff_id, 0) % 2 or not stage.go_on.is_set()):
            return web.json_response({"state": "RUNNING"})
        return None

    return fault


def restart_triggerer_with_slow_secrets(stage: Stage, run: DagRun) -> None:
    """All triggers begin anew at once, each with a look-up; half of the runs end then, the others meet their deadlines."""
    wait_until_deferred(run, READERS)
    keep_secrets(stage, SLOW)
    stage.airflow.kill("triggerer")
    stage.release()
    stage.airflow.start("triggerer")
    looks = stage.seen.looks
    eventually(lambda: stage.seen.looks > looks or None, "a look after the first look-up", patience=120)
    note_lateness(stage, time.time(), READERS // 2)
    run.wait(900)
    note_missed_deadlines(stage, run)


def note_lateness(stage: Stage, since: float, count: int, patience: float = 300) -> None:
    """Note how long it took until the triggerer saw that these runs had ended."""
    give_up = time.time() + patience
    while len(stage.seen.ended) < count and time.time() < give_up:
        time.sleep(0.5)
    late = sorted(at - since for at in stage.seen.ended.values()) or [float("inf")]
    stage.figures["ends seen"] = f"{len(stage.seen.ended)} of {count}"
    stage.figures["late by"] = f"{max(median(late), 0):.0f} s, at most {max(late[-1], 0):.0f} s"
    assert late[-1] < 30, f"an end was seen {late[-1]:.0f} s late"  # noqa: S101 - told in the table


def note_missed_deadlines(stage: Stage, run: DagRun) -> None:
    """Note how long after its deadline each run that does not end was looked at for the last time by its trigger."""
    tasks = [task for task in run.tasks() if task["map_index"] % 2]
    late = sorted(seconds_late(stage, run, task) for task in tasks)
    stage.figures["deadlines kept late by"] = f"{median(late):.0f} s, at most {late[-1]:.0f} s"
    assert late[-1] < 15, f"a deadline was missed by {late[-1]:.0f} s"  # noqa: S101 - told in the table


def seconds_late(stage: Stage, run: DagRun, task: Json) -> float:
    """Answer with the time from a task's deadline to the next look at its run."""
    deadline = datetime.fromisoformat(task["start_date"]).timestamp() + DEADLINE
    looks = stage.seen.looked[run.xcom(TASK, "kickoff_id", task["map_index"])]
    return next((at - deadline for at in looks if at >= deadline - 1), float("inf"))


def secrets_away_while_they_start(stage: Stage, run: DagRun) -> None:
    """Take the backend away when half of them wait; the others start meanwhile, and the triggerer begins anew."""
    wait_until_deferred(run, READERS // 2)
    keep_secrets(stage, away=True)
    stage.airflow.kill("triggerer")
    stage.airflow.start("triggerer")
    time.sleep(AWAY)
    keep_secrets(stage)
    wait_until_deferred(run, READERS)
    stage.release()
    run.wait(900)


ROWS_AT_SIZE = (
    Row(
        "500 deferred, Dag run marked failed",
        "500",
        Expected(MANY, "failed", stops=MANY),
        mark_when_deferred,
        hold_run,
        setup=AT_SIZE,
    ),
    Row(
        "500 deferred, cleared",
        "500",
        Expected(2 * MANY, "failed", stops=2 * MANY),
        clear_when_deferred,
        hold_run,
        setup=AT_SIZE,
        patience=90,
    ),
    *(
        Row(
            f"200 starting in 8 slots, Dag run marked {state}",
            "200",
            Expected(None, state, stops=None, left=0),
            mark_while_they_start(state),
            hold_run,
            setup=AT_SIZE,
            patience=60,
        )
        for state in ("failed", "success")
    ),
    Row(
        "100 deferred, slow secrets backend",
        "100_deadlines",
        Expected(READERS, "failed"),
        restart_triggerer_with_slow_secrets,
        hold_odd_readers,
        setup=SECRETS,
    ),
    Row(
        "100 deferred or starting, secrets backend away",
        "100",
        Expected(READERS),
        secrets_away_while_they_start,
        hold_run,
        setup=SECRETS,
    ),
)
