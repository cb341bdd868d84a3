"""What is done to Airflow, and by its users, while a row of `scripts/chaos` is played."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
from airflow_api import FINAL, DagRun, Json, eventually
from chaos_stage import TASK, Stage
from fault_proxy import FaultProxy

CONNECTION = "crewai_default"
MAPPED = 50
FEW = 2

Act = Callable[[Stage, DagRun], None]


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


def restart(component: str) -> Act:
    def act(stage: Stage, run: DagRun) -> None:
        run.wait_for_task(TASK, "deferred")
        stage.airflow.kill(component)
        time.sleep(1)
        stage.airflow.start(component)
        stage.airflow.wait_healthy()
        stage.release()

    return act


def mark(state: str, while_: str = "deferred") -> Act:
    def act(stage: Stage, run: DagRun) -> None:
        wait_until_it_waits(stage, run, while_)
        run.mark_task(TASK, state)

    return act


def clear(while_: str = "deferred", **boxes: bool) -> Act:
    def act(stage: Stage, run: DagRun) -> None:
        wait_until_it_waits(stage, run, while_)
        run.clear(TASK, **boxes)

    return act


def clear_the_dag_run(stage: Stage, run: DagRun) -> None:
    wait_until_it_waits(stage, run, "deferred")
    run.clear_all()


def clear_under_a_new_triggerer(stage: Stage, run: DagRun) -> None:
    """Clear the task when its trigger has been picked up by a triggerer that has just started."""
    wait_until_it_waits(stage, run, "deferred")
    stage.airflow.kill("triggerer")
    stage.airflow.start("triggerer")
    looks = stage.seen.looks
    eventually(lambda: stage.seen.looks > looks or None, "the trigger to look again", patience=90)
    run.clear(TASK)
    eventually(lambda: stage.seen.stopped or None, "the old run to be stopped")
    stage.release()


def wait_until_it_waits(stage: Stage, run: DagRun, state: str) -> None:
    stage.wait_for_kickoff()
    run.wait_for_task(TASK, state)
    time.sleep(2)  # a trigger that was never started cannot be killed


def clear_after_success(**boxes: bool) -> Act:
    def act(stage: Stage, run: DagRun) -> None:
        run.wait()
        run.clear(TASK, **boxes)
        run.wait_for_task(TASK, "running", "queued", "scheduled", "deferred")

    return act


def end_before_deferral(stage: Stage, run: DagRun) -> None:
    """Mark each task failed while it has started its run, and is about to be deferred."""
    stage.wait_for_kickoff(FEW)
    for index in range(FEW):
        run.mark_task(TASK, "failed", index)
    stage.release()


def mark_when_held(state: str) -> Act:
    def act(stage: Stage, run: DagRun) -> None:
        stage.wait_until_reached()
        run.mark_task(TASK, state)

    return act


def mark_while_a_line_is_written(stage: Stage, run: DagRun) -> None:
    """Mark the task failed once its first log line about the run takes its time (see the Dag)."""
    stage.wait_for_kickoff()
    eventually(lambda: stage.seen.looks or None, "a look")
    time.sleep(1)
    run.mark_task(TASK, "failed")


def mend_login_for_the_retry(stage: Stage, run: DagRun) -> None:
    """Mend the login once the try that could not fetch the answer has failed."""
    stage.wait_until_reached()
    eventually(lambda: run.task(TASK)["try_number"] > 1 or None, "a retry", patience=200)
    stage.release()


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


def outage(seconds: float) -> Act:
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


def give_connection(stage: Stage, *, secrets: bool) -> None:
    """Put the connection into Airflow's database, or into the secrets backend."""
    if secrets:
        keep_secrets(stage)
    else:
        stage.airflow.api.call("POST", "/api/v2/connections", connection(stage.proxy))


def keep_secrets(stage: Stage, seconds: float = 0, *, away: bool = False) -> None:
    """Tell the secrets backend how long it takes for a look-up, and whether it is away."""
    known = {key: text for key, text in connection(stage.proxy).items() if key != "connection_id"}
    told = {"seconds": seconds, "away": away, "connections": {CONNECTION: known}}
    new = stage.secrets.with_suffix(".new")
    new.write_text(json.dumps(told))
    new.replace(stage.secrets)  # at once: it is read all the time
