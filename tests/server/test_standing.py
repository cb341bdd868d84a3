"""The server stands, whatever its project does: it hangs, dies, forks, eats memory, prints without end, or is slow."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
from aop_server import INPUTS, PLAIN, REPOSITORY, TOKEN, Answer, Server, Start
from page_server import CREW, Backend

from airflow_provider_crewai.server import app, keeping
from airflow_provider_crewai.server.chores import Chore
from airflow_provider_crewai.server.connections import new_server
from airflow_provider_crewai.server.crew_process import report
from airflow_provider_crewai.server.launch import Launcher
from airflow_provider_crewai.server.project import Description, ProjectError
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.status import status_of

HOSTILE = str(REPOSITORY / "tests" / "server" / "projects" / "hostile")
SLOW = "import time\ntime.sleep({seconds})\n"


def project(folder: Path, before: str = "") -> Path:
    """A project of its own, which does something when it is loaded."""
    crew = folder / "own" / "crew.py"
    crew.parent.mkdir(exist_ok=True)
    crew.write_text(before + (PLAIN / "crew.py").read_text())
    return crew


def test_a_project_that_hangs_costs_its_own_requests_a_503_in_time_and_nobody_else_anything(
    start_plain: Start, tmp_path: Path
) -> None:
    crew = project(tmp_path)
    server = start_plain(str(crew.parent), "--load-timeout", "6")
    kickoff_id = server.kickoff()
    server.wait(kickoff_id, "SUCCESS")
    project(tmp_path, SLOW.format(seconds=3600))
    with ThreadPoolExecutor(60) as many:
        asked = [many.submit(timed, server, "GET", "/inputs") for _ in range(45)]
        asked += [many.submit(timed, server, "POST", "/kickoff", {"inputs": INPUTS}) for _ in range(5)]
        time.sleep(1)
        seen = [timed(server, "GET", f"/status/{kickoff_id}") for _ in range(10)]
        refused = [each.result() for each in asked]
    assert {answer.status for answer, _ in seen} == {200}
    assert max(seconds for _, seconds in seen) < 3
    assert {answer.status for answer, _ in refused} == {503}
    assert max(seconds for _, seconds in refused) < 25
    said = {answer.json()["detail"] for answer, _ in refused}
    assert all("was not loaded within 6 seconds" in each or "still being loaded" in each for each in said), said
    assert all(answer.headers["Retry-After"] for answer, _ in refused)
    assert re.search(r"crew\.py\", line 2", (server.state / "runs" / "warm" / "log").read_text()), "where it hung"
    assert runs_in(server) == 1, "no run was kept"
    project(tmp_path)
    server.wait(kickoff_when_loaded(server), "SUCCESS")


def timed(server: Server, method: str, path: str, body: object = None) -> tuple[Answer, float]:
    began = time.monotonic()
    return server.ask_once(method, path, body), time.monotonic() - began


def kickoff_when_loaded(server: Server, seconds: float = 60) -> str:
    deadline = time.monotonic() + seconds
    while (answer := server.ask("POST", "/kickoff", {"inputs": INPUTS})).status != 200:
        assert time.monotonic() < deadline, answer
        time.sleep(0.2)
    return str(answer.json()["kickoff_id"])


def runs_in(server: Server) -> int:
    with closing(sqlite3.connect(server.state / "runs" / "runs.sqlite")) as db:
        return int(db.execute("SELECT count(*) FROM runs").fetchone()[0])


def test_a_kickoff_whose_client_has_gone_starts_nothing(start_plain: Start, tmp_path: Path) -> None:
    server = start_plain(str(project(tmp_path, SLOW.format(seconds=5)).parent))
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        body = b'{"inputs": {"topic": "a", "audience": "b"}}'
        head = f"POST /kickoff HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: {len(body)}"
        client.sendall(head.encode() + b"\r\n\r\n" + body)
        time.sleep(0.5)
    kickoff_when_loaded(server)
    assert runs_in(server) == 1


class NeverLoaded(Backend):
    """A project that is being loaded for ever."""

    def describe(self) -> Future[Description]:
        return Future()


@contextmanager
def serving(application: app.Starlette) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = new_server(application)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def test_a_request_for_a_project_that_never_loads_is_answered_before_its_client_gives_up(
    tmp_path: Path,
) -> None:
    assert app.PATIENCE < 30 - 5, "clients wait thirty seconds"
    runs = Runs(tmp_path / "runs.sqlite")
    with serving(app.create_app(runs, NeverLoaded(runs), TOKEN, "", patience=0.2)) as host:  # type: ignore[arg-type]  # acts as one
        for method, path in (("GET", "/inputs"), ("POST", "/kickoff")):
            with closing(http.client.HTTPConnection(host, timeout=30)) as connection:
                connection.request(method, path, b"{}", {"Authorization": f"Bearer {TOKEN}"})
                answer = connection.getresponse()
                assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
                assert b"nothing was started" in answer.read()
    assert runs.waiting() == 0


def test_whoever_waits_on_a_thread_for_a_project_waits_a_short_time_and_not_all_at_once(
    tmp_path: Path,
) -> None:
    runs, loading = Runs(tmp_path / "runs.sqlite"), NeverLoading()
    launcher = Launcher(runs, loading, tmp_path, slots=1, on_lost="fail", patience=2.0)  # type: ignore[arg-type]  # acts as a warm process that never finishes
    began = time.monotonic()
    with ThreadPoolExecutor(30) as many:
        spent = sorted(many.map(lambda _: refused_after(launcher), range(30)))
    assert time.monotonic() - began < 10
    assert spent[len(spent) // 2] < 1.9, "most do not wait: threads are for other requests, too"
    assert refused_after(launcher) < 1.9, "the project has kept others waiting in vain"


class NeverLoading:
    def description(self) -> Future[Description]:
        return Future()


def refused_after(launcher: Launcher) -> float:
    began = time.monotonic()
    with pytest.raises(ProjectError, match="still being loaded, so nothing was started"):
        launcher.description()
    return time.monotonic() - began


def test_webhooks_that_nobody_takes_do_not_pile_up(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    telling = report.Report(str(runs.path), runs.add({"inputs": {}}), most_undelivered=3)
    for number in range(5):
        telling.send("http://127.0.0.1:9/", {}, {"number": number})
    with closing(sqlite3.connect(runs.path)) as db:
        assert [json.loads(body)["number"] for (body,) in db.execute("SELECT body FROM outbox")] == [0, 1, 2]
        db.execute("UPDATE outbox SET delivered_at = 1")
        db.commit()
        telling.send("http://127.0.0.1:9/", {}, {"number": 5})
        assert db.execute("SELECT count(*) FROM outbox").fetchone()[0] == 4


def test_what_runs_do_to_their_processes_is_told_and_harms_no_other_run(start_plain: Start) -> None:
    server = start_plain(HOSTILE, "--slots", "8")
    runs = {topic: server.kickoff({"topic": topic}) for topic in ("hang", "die", "fork", "eat", "tides", "shout")}
    assert server.wait(runs["tides"], "SUCCESS")["result"] == "Said."
    for topic, why in {"die": "exited with code 7", "fork": "exited with code 8", "eat": "MemoryError"}.items():
        assert why in server.wait(runs[topic], "FAILED")["status"]
    mine, its = (Path(f"/proc/{pid}/oom_score_adj") for pid in (server.process.pid, server.pid(runs["hang"])))
    if mine.exists():
        assert int(its.read_text()) > int(mine.read_text()), "the kernel ends the run first"
    for topic in ("hang", "shout"):
        assert server.ask("POST", f"/stop/{runs[topic]}").status == 200
        assert server.has_let_go(runs[topic])
    server.wait(server.kickoff({"topic": "tides"}), "SUCCESS")


def test_a_run_that_cannot_be_looked_after_keeps_no_other_waiting(
    start_plain: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    server = start_plain()
    with closing(sqlite3.connect(server.state / "runs" / "runs.sqlite", timeout=30)) as db, db:
        values = ("odd", "PAUSED", "{}", time.time())
        db.execute("INSERT INTO runs (kickoff_id, state, request, created_at) VALUES (?, ?, ?, ?)", values)
    server.wait(server.kickoff(), "SUCCESS")
    server.end()
    said = capfd.readouterr().err
    assert said.count("could not look after its runs (Launcher._handle_paused), and goes on") == 1
    assert "IndexError" in said


def test_a_chore_goes_on_whatever_it_raises_and_says_what_is_new(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    def act() -> None:
        done.append(len(done))
        if done[-1] < 4:
            raise KeyError(done[-1] // 2)

    chore = Chore(act)
    for _ in range(5):
        chore.do_if_due()
    assert done == [0, 1, 2, 3, 4]
    assert [str(record.exc_text).splitlines()[-1] for record in caplog.records] == ["KeyError: 0", "KeyError: 1"]


@pytest.mark.parametrize("pause", [0.0, 0.02, 0.3])
def test_a_sigterm_is_never_lost(tmp_path: Path, pause: float) -> None:
    crew = project(tmp_path, SLOW.format(seconds=3600))
    command = [sys.executable, "-m", "airflow_provider_crewai.server", str(crew.parent), "--state", str(tmp_path / "s")]
    environment = os.environ | {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/tests/server/stand_in"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr
        for line in server.stderr:
            if "to open its page" in line:
                break
        time.sleep(pause)
        server.terminate()
        try:
            assert server.wait(30) in (0, -signal.SIGTERM)
        finally:
            with suppress(ProcessLookupError):
                server.kill()


def test_a_log_that_grows_without_end_is_cut_in_the_middle(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_id = runs.add({"inputs": {}})
    runs.claim(1)
    log = tmp_path / kickoff_id / "log"
    log.parent.mkdir()
    log.touch(0o600)
    with log.open("ab", buffering=0) as writing:  # as a run's process does
        writing.write(b"beginning " + b"x" * 2000)
        for chore in keeping.Keeper(runs, keep=1e9, most=10, longest_log=1000, beginning=10).chores():
            chore.do()
        writing.write(b"the end")
    assert re.fullmatch(r"beginning \n\[The server cut the log here.*\]\nthe end", log.read_text())


def test_only_the_last_of_ended_runs_are_kept_and_no_other_goes(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    ended, waiting = [runs.add({"inputs": {}}) for _ in range(5)], runs.add({"inputs": {}})
    for kickoff_id in ended:
        runs.end(kickoff_id, "FAILED", "so it is")
    for chore in keeping.Keeper(runs, keep=1e9, most=2).chores():
        chore.do()
    assert [kickoff_id for kickoff_id in ended if runs.get(kickoff_id)] == ended[3:]
    assert runs.get(waiting)


def test_a_queue_has_an_end(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    launcher = Launcher(runs, None, tmp_path, slots=1, on_lost="fail", most_waiting=2)  # type: ignore[arg-type]  # nothing is started
    for _ in range(2):
        launcher.keep_run({"inputs": INPUTS}, CREW)
    with pytest.raises(ProjectError, match="2 runs wait already, so nothing was started"):
        launcher.keep_run({"inputs": INPUTS}, CREW)
    assert runs.waiting() == 2


def test_a_run_says_who_kicked_it_off(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    launcher = Launcher(runs, Loaded(), tmp_path, slots=1, on_lost="fail")  # type: ignore[arg-type]  # nothing is started
    at_the_page, by_the_api = launcher.kickoff({"inputs": INPUTS}), launcher.keep_run({"inputs": INPUTS}, CREW)
    found = [runs.get(each) for each in (at_the_page, by_the_api)]
    assert [status_of(run, [], None)["execution_origin"] for run in found if run] == ["ui", "api"]


class Loaded:
    def description(self) -> Future[Description]:
        described: Future[Description] = Future()
        described.set_result(CREW)
        return described


def test_an_id_that_a_resume_makes_up_for_no_run_is_not_kept(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    known = runs.add({"inputs": {}})
    other = runs.alias(known)
    assert (runs.get(runs.alias(other)), runs.get(runs.alias("made-up"))) == (runs.get(known), None)
    with closing(sqlite3.connect(runs.path)) as db:
        assert db.execute("SELECT count(*) FROM aliases").fetchone()[0] == 2
