"""What a project may be and do: change while it is served, start threads, keep state, lack a key."""

from __future__ import annotations

import shutil
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.client import HTTPException
from pathlib import Path

from aop_server import EXAMPLE, Server, Start

BLOCKS = """
import time
from pathlib import Path

def build():
    Path("began").touch()
    time.sleep(3600)
"""
LATE = """
import time
from crewai import Agent, BaseLLM, Crew, Task

class Parrot(BaseLLM):
    llm_type: str = "parrot"

    def call(self, *_, **__):
        time.sleep(2)
        return "polly"

def build():
    from helper import INPUT
    parrot = Agent(role="Parrot", goal="speak", backstory="speaks", llm=Parrot(model="parrot"))
    return Crew(agents=[parrot], tasks=[Task(description=f"Say {{{INPUT}}}", expected_output="it", agent=parrot)])
"""
PROJECTS = Path(__file__).parent / "projects"
NO_KEY = """
from crewai import Agent, Crew, Task

def build() -> Crew:
    one = Agent(role="One", goal="go", backstory="goes", llm="openai/gpt-4o")
    return Crew(agents=[one], tasks=[Task(description="Go to {place}", expected_output="gone", agent=one)])
"""


def test_changed_files_are_loaded_anew_and_runs_under_way_go_on(start: Start, tmp_path: Path) -> None:
    project = tmp_path / "brief"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    server = start(str(project), environment={"BRIEF_SECONDS_PER_TASK": "1.5"})
    kickoff_id = server.kickoff()
    server.wait(kickoff_id, "RUNNING")
    (project / ".#crew.py").symlink_to("ann@laptop.4711")  # an editor's lock
    for file in (project / "src" / "brief" / "config").glob("*.yaml"):
        file.write_text(file.read_text().replace("{audience}", "{readers}"))
    assert server.ask("GET", "/inputs").json()["inputs"] == ["readers", "topic"]
    assert server.wait(kickoff_id, "SUCCESS")["result_json"]["audience"] == "engineers"
    assert (
        server.wait(server.kickoff({"topic": "Tides", "readers": "all"}), "SUCCESS")["result_json"]["audience"] == "all"
    )


def test_only_what_a_project_is_loaded_from_has_it_loaded_anew(start_plain: Start, tmp_path: Path) -> None:
    (tmp_path / "crew.py").write_text(LATE)
    (tmp_path / "helper.py").write_text("INPUT = 'place'")
    server = start_plain("crew:build", cwd=tmp_path)
    assert server.ask("GET", "/inputs").json()["inputs"] == ["place"]
    warm = warm_process(server, place="Rome")
    for name in ("report.json", "notes.yaml", "generated.py"):
        (tmp_path / name).write_text("{}")
    assert warm_process(server, place="Rome") == warm
    (tmp_path / "helper.py").write_text("INPUT = 'town'")  # which is imported as late as a crew is built
    assert server.ask("GET", "/inputs").json()["inputs"] == ["town"]
    warm = warm_process(server, town="Rome")
    (tmp_path / ".env").write_text("NEW=1")
    assert warm_process(server, town="Rome") != warm


def warm_process(server: Server, **inputs: str) -> int:
    return server.parent_of(server.pid(server.kickoff(inputs)))


def test_a_project_that_starts_threads_runs_in_fresh_processes(start_plain: Start) -> None:
    server = start_plain("crew:build", cwd=PROJECTS / "threaded")
    status = server.wait(server.kickoff({}), "SUCCESS")
    assert status["result"].startswith("polly")
    assert "No such" not in server.status("made-up")["status"]


def test_a_missing_key_fails_at_once_with_what_to_do(start: Start, tmp_path: Path) -> None:
    (tmp_path / "crew.py").write_text(NO_KEY)
    server = start(str(tmp_path), environment={"OPENAI_API_KEY": ""})
    answer = server.ask("POST", "/kickoff", {"inputs": {"place": "Rome"}})
    said = answer.json().get("detail") or server.wait(answer.json()["kickoff_id"], "FAILED")["status"]
    for words in ("OPENAI_API_KEY", "--llm URL[=MODEL]", "--llm stub"):
        assert words in said


def test_one_endpoint_serves_all_models(start: Start, tmp_path: Path) -> None:
    (tmp_path / "crew.py").write_text(NO_KEY)
    server = start(str(tmp_path), "--llm", "stub")
    assert "[stub:gpt-4o]" in server.wait(server.kickoff({"place": "Rome"}), "SUCCESS")["result"]


def test_a_flow_begins_with_the_state_of_an_earlier_run(shared: Start) -> None:
    server = shared(str(PROJECTS / "counting"))
    first = server.kickoff({})
    assert server.wait(first, "SUCCESS")["result"] == "1"
    second = server.kickoff({}, restoreFromStateId=first)
    assert server.wait(second, "SUCCESS")["result"] == "2"
    assert server.wait(server.kickoff({}, restoreFromStateId=first), "SUCCESS")["result"] == "2", "forked, not shared"
    assert server.wait(server.kickoff({}), "SUCCESS")["result"] == "1"


def test_ended_runs_are_forgotten_in_time_and_others_are_not(start: Start) -> None:
    server = start(str(PROJECTS / "asking"))
    ended, waiting = server.kickoff({}), server.kickoff({})
    for kickoff_id in (ended, waiting):
        server.asked(kickoff_id)
    server.ask("POST", f"/stop/{ended}")
    server.end()
    server.arguments += ["--keep-days", "0"]
    server.start()
    deadline = time.monotonic() + 30
    while server.status(ended)["state"] != "NOT FOUND":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert not folder(server, ended).exists()
    assert server.status(waiting)["state"] == "PAUSED"
    server.ask("POST", f"/stop/{waiting}")


def folder(server: Server, kickoff_id: str) -> Path:
    return server.state / "runs" / kickoff_id


def test_a_project_that_never_finishes_loading_does_not_keep_the_server_from_ending(
    start_plain: Start, tmp_path: Path
) -> None:
    (tmp_path / "crew.py").write_text(BLOCKS)
    server = start_plain("crew:build", cwd=tmp_path)
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(server.ask, "GET", "/inputs")
        while not (tmp_path / "began").exists():
            time.sleep(0.1)
        assert server.end(signal.SIGINT) == 0
        # 500 is uvicorn's answer to a request that it cuts off.
        assert isinstance(asked.exception(20), (OSError, HTTPException)) or asked.result().status in (500, 503)


def test_runs_wait_while_a_file_is_half_saved_and_a_human_is_not_asked_in_vain(start: Start, tmp_path: Path) -> None:
    shutil.copytree(PROJECTS / "approval", tmp_path / "approval", ignore=shutil.ignore_patterns("__pycache__"))
    server, module = start(str(tmp_path / "approval")), tmp_path / "approval" / "main.py"
    answered, text = server.kickoff({"title": "Tides"}), module.read_text()
    question = server.asked(answered)
    assert server.has_let_go(answered)
    module.write_text(text + "\ndef half(")
    assert server.ask("GET", "/inputs").status == server.ask("POST", "/kickoff", {"inputs": {}}).status == 503
    server.resume(answered, question["task_id"], "Approved.")
    said = server.wait(answered, "PENDING")
    while said["status"] == "Task is pending":
        said = server.wait(answered, "PENDING")
    assert "Task is pending: approval cannot be loaded by" in said["status"]
    assert "SyntaxError" in said["status"]
    module.write_text(text)
    assert server.wait(answered, "SUCCESS")["result_json"] == {"title": "Tides", "drafts": 1}


def test_a_run_whose_process_loads_the_project_itself_waits_too(start_plain: Start, tmp_path: Path) -> None:
    module, text = (
        tmp_path / "crew.py",
        LATE + "\nimport threading; threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()",
    )
    module.write_text(text)
    (tmp_path / "helper.py").write_text("INPUT = 'place'")
    server = start_plain("crew:build", "--slots", "1", cwd=tmp_path)
    first, second = server.kickoff({"place": "Rome"}), server.kickoff({"place": "Oslo"})
    server.wait(first, "RUNNING")
    with server.held(first):
        module.write_text(text + "\ndef half(")
    server.wait(first, "SUCCESS")
    while "SyntaxError" not in str((status := server.wait(second, "PENDING"))["status"]):
        time.sleep(0.1)
    assert status["status"].startswith("Task is pending: crew:build cannot be loaded")
    module.write_text(text)
    assert server.wait(second, "SUCCESS")["result"] == "polly"


def test_nothing_stays_of_a_run_that_is_forgotten_even_at_the_second_try(start: Start) -> None:
    server = start(str(PROJECTS / "counting"))
    kickoff_id = server.kickoff({})
    server.wait(kickoff_id, "SUCCESS")
    assert server.has_let_go(kickoff_id)
    server.end()
    home = server.state / "runs"
    assert rows(home / "flows.sqlite", kickoff_id) > 0, "else there would be nothing to forget"
    with closing(sqlite3.connect(home / "runs.sqlite")) as db:
        db.execute("CREATE TRIGGER full BEFORE DELETE ON steps BEGIN SELECT RAISE(ABORT, 'full'); END")
        server.arguments += ["--keep-days", "0"]
        server.start()
        time.sleep(3)
        assert server.status(kickoff_id)["state"] == "SUCCESS"
        db.execute("DROP TRIGGER full")
    server.restart()
    while rows(home / "runs.sqlite", kickoff_id):
        time.sleep(0.1)
    assert rows(home / "flows.sqlite", kickoff_id) == 0
    assert not (home / kickoff_id).exists()


def rows(file: Path, run: str) -> int:
    """How many rows of a run there are in all tables of a file."""
    with closing(sqlite3.connect(file)) as db:
        columns = db.execute(
            "SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns "
            "WHERE tables.type = 'table' AND columns.name IN ('kickoff_id', 'flow_uuid')"
        ).fetchall()
        return sum(
            db.execute(f"SELECT count(*) FROM {table} WHERE {name} = ?", (run,)).fetchone()[0]  # noqa: S608 - our own tables
            for table, name in columns
        )
