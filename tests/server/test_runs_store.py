"""The store of runs under the threads of a server and the processes of its runs."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from airflow_provider_crewai.server.crew_process.report import Report
from airflow_provider_crewai.server.page.listing import FILTERS, Listing
from airflow_provider_crewai.server.runs import Runs

SECONDS = 1.5


def test_threads_of_one_server_and_the_processes_of_runs_never_lock_each_other_out(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_ids = [runs.add({"inputs": {"number": number}}) for number in range(50)]
    listing, stop = Listing(runs.path), threading.Event()

    def run_writes() -> int:
        with closing(sqlite3.connect(runs.path, timeout=30, isolation_level=None)) as db:
            written = 0
            while not stop.is_set():
                db.execute("UPDATE runs SET answer = '{}' WHERE kickoff_id = ?", (kickoff_ids[written % 50],))
                written += 1
            return written

    def server_reads() -> int:
        read = 0
        while not stop.is_set():
            read += len(listing.listed([*FILTERS], 50))
        return read

    def server_writes() -> int:
        written = 0
        while not stop.is_set():
            written += runs.requeue(kickoff_ids[written % 50], "PENDING")
        return written

    with ThreadPoolExecutor() as pool:
        at_work = [pool.submit(each) for each in (run_writes, server_reads, server_reads, server_writes, server_writes)]
        time.sleep(SECONDS)
        stop.set()
        assert all(each.result() > 0 for each in at_work)


def test_a_look_at_a_run_does_not_read_its_inputs(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_id = runs.add({"inputs": {"topic": "x"}})
    assert runs.inputs(runs.alias(kickoff_id)) == {"topic": "x"}
    with closing(sqlite3.connect(runs.path)) as db, db:
        db.execute("UPDATE runs SET request = 'megabytes that nobody reads', state = 'RUNNING'")
    assert runs.get(kickoff_id) == runs.under_way()[0]
    assert [each.kickoff_id for each in Listing(runs.path).listed([*FILTERS], 1)] == [kickoff_id]


def test_an_id_that_a_resume_made_up_for_such_an_id_is_the_run_too(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_id = runs.add({})
    run = runs.get(runs.alias(runs.alias(kickoff_id)))
    assert run is not None
    assert run.kickoff_id == kickoff_id


def test_only_processes_since_the_last_answer_count_as_lives(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_id = runs.add({})

    def lives_of_the_next_process() -> int:
        assert runs.claim(1) == kickoff_id
        run = runs.get(kickoff_id)
        assert run
        return run.lives

    assert lives_of_the_next_process() == 1
    runs.requeue(kickoff_id, "STARTED")
    assert lives_of_the_next_process() == 2
    runs.put_back(kickoff_id)
    assert lives_of_the_next_process() == 2, "no process was had"
    with closing(sqlite3.connect(runs.path, isolation_level=None)) as db:
        db.execute("UPDATE runs SET state = 'PAUSED'")
    runs.requeue(kickoff_id, "PAUSED")
    assert lives_of_the_next_process() == 1


WISH = {"url": "http://127.0.0.1:1/x", "authentication": {"strategy": "bearer", "token": "s3cret-of-a-webhook"}}


@pytest.mark.parametrize("state", ["SUCCESS", "FAILED", "REVOKED"])
def test_the_webhooks_of_a_run_and_their_passwords_end_with_it_whoever_ends_it(tmp_path: Path, state: str) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_ids = [runs.add({"inputs": {"topic": "x"}, "webhooks": WISH, "meta": {"a": 1}}) for _ in range(2)]
    for kickoff_id in kickoff_ids:
        assert "s3cret" not in str(runs.get(kickoff_id))
        assert Report(str(runs.path), kickoff_id).request == {
            "inputs": {"topic": "x"},
            "webhooks": WISH,
            "meta": {"a": 1},
        }
    runs.end(kickoff_ids[0], state, "")
    with closing(sqlite3.connect(runs.path)) as process_of_the_run, process_of_the_run:
        process_of_the_run.execute("PRAGMA secure_delete=ON")
        process_of_the_run.execute("UPDATE runs SET state = ? WHERE kickoff_id = ?", (state, kickoff_ids[1]))
    runs.tidy_up()
    for file in tmp_path.iterdir():
        assert b"s3cret-of-a-webhook" not in file.read_bytes()


def test_the_passwords_that_an_earlier_version_kept_go_as_well(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    waiting, ended = runs.add({}), runs.add({})
    old = json.dumps({"inputs": {"topic": "x"}, "webhooks": WISH})
    runs.end(ended, "SUCCESS", "")
    with closing(sqlite3.connect(runs.path)) as db, db:
        db.execute("UPDATE runs SET request = ?, title = NULL", (old,))
    again = Runs(runs.path)
    assert "s3cret" not in str([again.get(waiting), again.get(ended), Listing(runs.path).listed([*FILTERS], 2)])
    for kickoff_id, webhooks in ((waiting, {"webhooks": WISH}), (ended, {})):
        assert Report(str(runs.path), kickoff_id).request == {"inputs": {"topic": "x"}, **webhooks}
