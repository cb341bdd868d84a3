"""The quick start, live: serve the example crew, start a private Airflow, run one Dag, show what came of it."""

import argparse
import fcntl
import json
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

from airflow_api import DagRun
from airflow_home import PrivateAirflow
from answering import Answering
from checkout import CHECKOUT, EXAMPLE_DAGS
from crew_server import CrewServer
from stopping import stop_in_order

FOLDER = CHECKOUT / ".demo"
QUICKSTART, ASKING_DAG, TASK_ID = "crewai_quickstart", "crewai_human_answers", "brief"
SLOWLY = {"BRIEF_SECONDS_PER_TASK": "2"}  # else the crew has ended before there is anything to see
ASKING = {"BRIEF_ASKS": "yes"}
CONNECTIONS = ("crewai_default", "crewai_review")
STARTED = time.time()


def main() -> int:
    """Run the demo; answer with its exit code."""
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--exit", action="store_true", help="stop when the run has ended; fail unless it succeeded")
    parser.add_argument("--ask", action="store_true", help="let the crew ask a human before it ends: you, in Airflow")
    options = parser.parse_args()
    serve_on = not options.exit
    stop_in_order()
    FOLDER.mkdir(exist_ok=True)
    with alone(), told(), CrewServer(FOLDER, SLOWLY | (ASKING if options.ask else {})) as crew:
        say(f"the example crew is served at {crew.url}")
        airflow = PrivateAirflow(FOLDER / "airflow", EXAMPLE_DAGS, dict.fromkeys(CONNECTIONS, crew.connection))
        say(f"Airflow starts in {airflow.home}")
        with airflow:
            run = start_run(airflow, ASKING_DAG if options.ask else QUICKSTART)
            if options.ask:
                Answering(airflow.url, crew, run, TASK_ID, say, alone=options.exit).start()
            succeeded = show(run, airflow.url)
            show_page(crew, run)
            if serve_on:
                print("\nCtrl-C stops everything.", flush=True)
                signal.pause()
    return 0 if succeeded else 1


def start_run(airflow: PrivateAirflow, dag_id: str) -> DagRun:
    """Run the Dag once Airflow knows it."""
    say(f"Airflow is healthy at {airflow.url}")
    airflow.api.wait_for_dag(dag_id, parsed_since=STARTED)
    return airflow.api.trigger(dag_id)


def show(run: DagRun, url: str) -> bool:
    """Print what happens in a Dag run; tell whether it succeeded."""
    state = ""
    for moment in run.watch(patience=24 * 3600):
        state = moment.run
        tasks = ", ".join(f"{task} {state_}" for task, state_ in moment.tasks.items() if state_)
        say(f"{run.dag_id} {state}: {tasks}" if tasks else f"{run.dag_id} {state}")
    show_answer(run) if state == "success" else show_failure(run)
    print(f"\nLook at it: {url}/dags/{run.dag_id}/runs/{quote(run.run_id)}/tasks/{TASK_ID}", flush=True)
    return state == "success"


def show_answer(run: DagRun) -> None:
    """Print what the crew has answered, and the handle of its run."""
    answer = run.xcom(TASK_ID)
    text = answer if isinstance(answer, str) else json.dumps(answer, indent=2, ensure_ascii=False)
    print(f"\nThe crew's answer:\n\n{text}\n\nkickoff_id: {run.xcom(TASK_ID, 'kickoff_id')}", flush=True)


def show_page(crew: CrewServer, run: DagRun) -> None:
    """Print the link to the page of the crew's run, and how one gets in later."""
    if kickoff_id := run.xcoms(TASK_ID).get("kickoff_id"):
        print(f"The crew's run: {crew.page_of(kickoff_id)}", flush=True)
        print(f"That link logs a browser in once, within ten minutes. The token is in {crew.token_file}", flush=True)


def show_failure(run: DagRun, lines: int = 40) -> None:
    """Print the end of the log of every task that failed."""
    for task in run.tasks():
        if task["state"] == "failed":
            log = run.log(task["task_id"], task["try_number"]).splitlines()
            print(f"\n{task['task_id']} failed; the end of its log:", *log[-lines:], sep="\n", flush=True)


def say(what: str) -> None:
    """Print a line of progress, with the seconds since the start."""
    print(f"{time.time() - STARTED:6.1f} s  {what}", flush=True)


@contextmanager
def told() -> Iterator[None]:
    """Say when everything has stopped, whatever made it stop."""
    try:
        yield
    finally:
        say("all stopped")


@contextmanager
def alone() -> Iterator[None]:
    """Keep a second demo out: the two would share a database."""
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            sys.exit("a demo of this checkout is running already")
        yield


if __name__ == "__main__":
    sys.exit(main())
