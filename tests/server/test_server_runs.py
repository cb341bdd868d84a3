"""Runs are processes of their own: watched, stopped, queued, and kept over a restart of the server."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest
from aop_server import PLAIN, Start

SLOW = {"BRIEF_SECONDS_PER_TASK": "1.5"}


def test_progress_is_told_while_the_run_goes_on(start_plain: Start) -> None:
    server = start_plain(environment=SLOW)
    kickoff_id = server.kickoff()
    seen = []
    while (status := server.status(kickoff_id))["state"] != "SUCCESS":
        done = status["progress"] and (status["progress"]["completed"], status["progress"]["current"])
        seen.append((status["state"], status["status"], done))
        time.sleep(0.1)
    steps = [(state, done) for state, _, done in dict.fromkeys(seen)]
    told = server.ask("GET", f"/runs/{kickoff_id}/events").body.decode()
    assert re.findall(r'"state": "(\w+)"', told) == ["PENDING", "STARTED", "RUNNING", "SUCCESS"]
    for step in enumerate(("survey_task", "outline_task", "brief_task")):
        assert ("RUNNING", step) in steps
    assert {sentence for _, sentence, _ in seen} <= {"Task is pending", "Task is Running"}


def test_a_stopped_run_is_revoked_and_its_process_is_gone(start_plain: Start) -> None:
    server = start_plain(environment=SLOW)
    kickoff_id = server.kickoff()
    server.wait(kickoff_id, "RUNNING")
    answer = server.ask("POST", f"/stop/{kickoff_id}")
    assert (answer.status, answer.json()) == (200, {"status": "stopped", "kickoffId": kickoff_id})
    assert server.status(kickoff_id)["state"] == "REVOKED"
    assert server.has_let_go(kickoff_id)
    again = server.ask("POST", f"/stop/{kickoff_id}").json()
    assert again == {"detail": "Cannot stop execution. Current state: REVOKED"}


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_outlives_its_server_and_the_next_one_reports_it(start_plain: Start, how: signal.Signals) -> None:
    server = start_plain(environment=SLOW)
    kickoff_id = server.kickoff()
    server.wait(kickoff_id, "RUNNING")
    with server.held(kickoff_id):
        server.restart(how)
        assert server.status(kickoff_id)["state"] == "RUNNING"
    assert server.wait(kickoff_id, "SUCCESS")["progress"]["completed"] == 3


def test_a_run_that_ended_without_a_server_is_reported_by_the_next_one(start_plain: Start) -> None:
    server = start_plain()
    kickoff_id = server.kickoff()
    server.end()
    assert server.has_let_go(kickoff_id)
    server.start()
    assert server.status(kickoff_id)["state"] == "SUCCESS"


def test_a_clean_stop_of_the_server_exits_with_zero(start_plain: Start) -> None:
    assert start_plain().end(signal.SIGINT) == 0


def test_a_run_whose_process_dies_after_a_restart_has_failed(start_plain: Start) -> None:
    server = start_plain(environment=SLOW)
    kickoff_id = server.kickoff()
    server.wait(kickoff_id, "RUNNING")
    with server.held(kickoff_id):
        server.restart()
        os.kill(server.pid(kickoff_id), signal.SIGKILL)
    status = server.wait(kickoff_id, "FAILED")
    # The warm process that the last server left behind has seen it.
    assert re.match(r"The run's process was killed by SIGKILL (after [012] of 3|before it began)", status["status"])


def test_a_run_kept_from_an_earlier_server_can_be_stopped(start_plain: Start) -> None:
    server = start_plain(environment=SLOW)
    kickoff_id = server.kickoff()
    server.wait(kickoff_id, "RUNNING")
    with server.held(kickoff_id):
        server.restart()
        assert server.ask("POST", f"/stop/{kickoff_id}").status == 200
        assert server.has_let_go(kickoff_id)
    assert server.status(kickoff_id)["state"] == "REVOKED"


def test_runs_beyond_the_slots_wait_in_order_even_over_a_restart(start_plain: Start) -> None:
    server = start_plain(str(PLAIN), "--slots", "1", environment=SLOW)
    first, second, third = (server.kickoff() for _ in range(3))
    server.wait(first, "RUNNING")
    with server.held(first):
        assert [server.status(run)["status"] for run in (second, third)] == ["Task is pending"] * 2
        assert server.ask("POST", f"/stop/{second}").status == 200
        server.restart()
        assert server.status(third)["state"] == "PENDING"
    server.wait(first, "SUCCESS")
    server.wait(third, "SUCCESS")
    assert server.status(second)["state"] == "REVOKED"
