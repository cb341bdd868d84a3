"""A run's process dies: the run fails with how and how far it got, or goes on from its finished tasks."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest
from aop_server import Server, Start

PROJECTS = Path(__file__).parent / "projects"
REVIEW = str(PROJECTS / "review")
TASKS = ("gather", "draft", "publish")


def environment(calls: Path, seconds: float) -> dict[str, str]:
    return {"SCRIBE_CALLS": str(calls), "REVIEW_ASKS": "no", "SCRIBE_SECONDS": str(seconds)}


def at_work_on(server: Server, kickoff_id: str, task: str) -> None:
    deadline = time.monotonic() + 60
    while (server.status(kickoff_id)["progress"] or {}).get("current") != task:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(server: Server, kickoff_id: str) -> None:
    os.kill(server.pid(kickoff_id), signal.SIGKILL)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scribe") / "calls"


@pytest.fixture
def resuming(shared: Start, calls: Path) -> Server:
    calls.unlink(missing_ok=True)
    return shared(REVIEW, "--on-lost", "resume", environment=environment(calls, 1.5))


@pytest.mark.parametrize(("done", "task"), list(enumerate(TASKS)))
def test_a_killed_run_fails_with_how_and_how_far(shared: Start, calls: Path, done: int, task: str) -> None:
    server = shared(REVIEW, environment=environment(calls, 1.5))
    kickoff_id = server.kickoff({"topic": "tides"})
    at_work_on(server, kickoff_id, task)
    kill(server, kickoff_id)
    status = server.wait(kickoff_id, "FAILED")
    assert status["status"] == f"The run's process was killed by SIGKILL after {done} of 3 crew tasks"


@pytest.mark.parametrize(("done", "task"), list(enumerate(TASKS)))
def test_a_killed_run_goes_on_from_its_finished_tasks(resuming: Server, calls: Path, done: int, task: str) -> None:
    kickoff_id = resuming.kickoff({"topic": "tides"})
    at_work_on(resuming, kickoff_id, task)
    while not calls.exists() or task.capitalize() not in calls.read_text():
        time.sleep(0.02)
    kill(resuming, kickoff_id)
    status = resuming.wait(kickoff_id, "SUCCESS")
    assert (status["result"], status["progress"]["completed"]) == ("Wrote <Publish it>", 3)
    made = [
        next(word for word in ("Gather", "Draft", "Publish") if word in line) for line in calls.read_text().splitlines()
    ]
    again = ["Gather", "Draft", "Publish"]
    assert made == again[: done + 1] + again[done:], "only the task at work is done again"


def test_a_run_that_kills_every_process_is_given_up(resuming: Server) -> None:
    kickoff_id = resuming.kickoff({"topic": "tides"})
    killed: set[int] = set()
    while (status := resuming.status(kickoff_id))["state"] != "FAILED":
        pid = resuming.pid_now(kickoff_id)
        if status["state"] == "RUNNING" and pid is not None and pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    assert len(killed) == 5
    assert "was killed by SIGKILL" in status["status"]


def test_a_run_whose_server_and_process_both_die_goes_on_with_the_next_server(start: Start, tmp_path: Path) -> None:
    server = start(REVIEW, "--on-lost", "resume", environment=environment(tmp_path / "calls", 1.5))
    kickoff_id = server.kickoff({"topic": "tides"})
    at_work_on(server, kickoff_id, "draft")
    pid = server.pid(kickoff_id)
    server.end(signal.SIGKILL)
    os.kill(pid, signal.SIGKILL)
    server.start()
    assert server.wait(kickoff_id, "SUCCESS")["result"] == "Wrote <Publish it>"


def test_runs_outlive_the_warm_process_and_others_start_without_it(resuming: Server) -> None:
    first = resuming.kickoff({"topic": "tides"})
    at_work_on(resuming, first, "gather")
    os.kill(resuming.parent_of(resuming.pid(first)), signal.SIGKILL)
    second = resuming.kickoff({"topic": "ebb"})
    for kickoff_id in (first, second):
        assert resuming.wait(kickoff_id, "SUCCESS")["result"] == "Wrote <Publish it>"


def test_a_warm_process_that_dies_while_a_run_is_asked_of_it_keeps_nobody_waiting(resuming: Server) -> None:
    first = resuming.kickoff({"topic": "tides"})
    at_work_on(resuming, first, "gather")
    warm = resuming.parent_of(resuming.pid(first))
    os.kill(warm, signal.SIGSTOP)
    with ThreadPoolExecutor() as pool, resuming.held(first):
        asked = pool.submit(resuming.kickoff, {"topic": "ebb"})
        time.sleep(1)
        os.kill(warm, signal.SIGKILL)
        second = asked.result(20)
    for kickoff_id in (first, second):
        assert resuming.wait(kickoff_id, "SUCCESS")["result"] == "Wrote <Publish it>"


def test_a_warm_process_that_cannot_note_how_a_run_ended_goes_on(start: Start, tmp_path: Path) -> None:
    server = start(REVIEW, environment=environment(tmp_path / "calls", 1.5))
    first = server.kickoff({"topic": "tides"})
    at_work_on(server, first, "gather")
    warm = server.parent_of(server.pid(first))
    with closing(sqlite3.connect(server.state / "runs" / "runs.sqlite")) as db:
        db.execute(
            "CREATE TRIGGER full BEFORE UPDATE OF exit ON runs WHEN new.exit > '' BEGIN SELECT RAISE(ABORT, 'full'); END"
        )
    kill(server, first)
    assert server.wait(first, "FAILED")["status"] == "The run's process died after 0 of 3 crew tasks"
    assert server.parent_of(server.pid(server.kickoff({"topic": "ebb"}))) == warm


@pytest.mark.parametrize("threads", ["no", "yes"])
def test_a_killed_run_is_seen_whatever_it_has_forked_and_takes_that_along(
    start_plain: Start, tmp_path: Path, threads: str
) -> None:
    forked = tmp_path / "forked"
    server = start_plain(
        "crew:build", cwd=PROJECTS / "forking", environment={"FORKED": str(forked), "THREADS": threads}
    )
    kickoff_id = server.kickoff({})
    while not forked.exists() or not forked.read_text():
        time.sleep(0.1)
    kill(server, kickoff_id)
    assert (
        server.wait(kickoff_id, "FAILED")["status"] == "The run's process was killed by SIGKILL after 0 of 1 crew tasks"
    )
    deadline = time.monotonic() + 20
    while is_at_work(int(forked.read_text())):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_at_work(pid: int) -> bool:
    """Whether a process lives: where nobody reaps orphans, a dead one stays as a zombie."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def test_a_stopped_run_is_not_resumed(resuming: Server) -> None:
    kickoff_id = resuming.kickoff({"topic": "tides"})
    at_work_on(resuming, kickoff_id, "gather")
    resuming.ask("POST", f"/stop/{kickoff_id}")
    assert resuming.has_let_go(kickoff_id)
    time.sleep(1)
    assert resuming.status(kickoff_id)["state"] == "REVOKED"


def test_a_process_that_comes_after_its_run_was_stopped_begins_nothing(shared: Start, calls: Path) -> None:
    server = shared(REVIEW, environment=environment(calls, 1.5))
    kickoff_id = server.kickoff({"topic": "tides"})
    warm = Path(f"/proc/{server.parent_of(server.pid(kickoff_id))}")
    command, settings = ((warm / name).read_text().split("\0")[:-1] for name in ("cmdline", "environ"))
    assert server.ask("POST", f"/stop/{kickoff_id}").status == 200
    assert server.has_let_go(kickoff_id)
    calls.unlink(missing_ok=True)
    with (server.state / "runs" / kickoff_id / "lock").open() as lock:
        arguments = [*command[:2], "run", kickoff_id, str(lock.fileno())]
        variables = dict(each.split("=", 1) for each in settings)
        late = subprocess.run(arguments, cwd=REVIEW, check=False, timeout=120, pass_fds=[lock.fileno()], env=variables)
    assert (late.returncode, calls.exists(), server.status(kickoff_id)["state"]) == (0, False, "REVOKED")
