"""The store of runs under the threads of a server and the processes of its runs."""

from __future__ import annotations

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from airflow_provider_crewai.server.runs import Runs

SECONDS = 1.5


def test_threads_of_one_server_and_the_processes_of_runs_never_lock_each_other_out(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_ids = [runs.add({"inputs": {"number": number}}) for number in range(50)]
    stop = threading.Event()

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
            read += len(runs.newest(50))
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
