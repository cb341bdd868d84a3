"""What stands between crewai and us: an author's hooks, memories, keys, arguments, and errors of their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aop_server import PROJECTS, REPOSITORY, Server, Start
from loader import write

BUILD = """
from crewai import Agent, Crew, Task

def build(subject: str, pages: int = 1):
    clerk = Agent(role="Clerk", goal="Write", backstory="Writes", llm="groq/llama-3.3-70b-versatile")
    note = Task(description=f"Write {pages + 1} pages on {subject}", expected_output="It", agent=clerk)
    return Crew(agents=[clerk], tasks=[note])
"""


def ended(server: Server, **inputs: Any) -> dict[str, Any]:
    return server.wait(server.kickoff(inputs), "SUCCESS", "FAILED")


@pytest.mark.parametrize(
    ("kind", "result", "result_json"),
    [
        ("text", "# text", None),
        ("dict", '{"title": "dict", "page": {"title": "dict"}}', {"title": "dict", "page": {"title": "dict"}}),
        ("list", '["list"]', None),
        ("model", '{"title": "model"}', {"title": "model"}),
        ("card", '{"title": "card"}', {"title": "card"}),
        ("number", "42", None),
        ("odd", "<Odd: RuntimeError>", None),
        ("class", "<class 'crew.Page'>", None),
    ],
)
def test_a_hook_may_return_anything(shared: Start, kind: str, result: str, result_json: Any) -> None:
    status = ended(shared(str(PROJECTS / "hooked"), "--llm", "stub"), kind=kind)
    assert (status["state"], status["result"], status["result_json"]) == ("SUCCESS", result, result_json)
    assert status["usage_metrics"]["successful_requests"] == 1


@pytest.mark.parametrize("kind", ["nothing", "something"])
def test_a_hook_that_only_looks_at_the_result_leaves_it_as_it_is(shared: Start, kind: str) -> None:
    status = ended(shared(str(PROJECTS / "hooked"), "--llm", "stub"), kind=kind)
    assert status["state"] == "SUCCESS"
    assert status["result"].startswith("[stub:")


def known(status: dict[str, Any]) -> int:
    found = re.search(r"Known: (\d+)", status["result"])
    assert found, status
    return int(found[1])


def test_what_a_project_remembers_outlives_its_runs_also_side_by_side(start: Start) -> None:
    server = start(str(PROJECTS / "remembering"), "--llm", "stub", "--slots", "3")
    assert known(ended(server, subject="ink")) == 0
    together = [server.kickoff({"subject": str(number)}) for number in range(3)]
    seen = [known(server.wait(each, "SUCCESS")) for each in together]
    assert min(seen) >= 1
    server.restart()
    assert known(ended(server, subject="paper")) == 1 + len(together)


def test_runs_that_are_kept_apart_remember_nothing_of_each_other(start: Start) -> None:
    server = start(str(PROJECTS / "remembering"), "--llm", "stub", "--keep-apart")
    assert [known(ended(server, subject="ink")) for _ in range(2)] == [0, 0]


def test_with_the_stub_a_key_that_the_project_only_looks_for_has_a_placeholder(start: Start, tmp_path: Path) -> None:
    looks = "import os\nGROQ = os.environ['GROQ_API_KEY']\nos.environ['BOARD'] = os.getenv('BOARD_TOKEN')\n"
    looks += "assert os.environ.pop('OPENAI_API_KEY').startswith('sk-')\n"
    server = start(str(write(tmp_path / "desk", crew__py=looks + BUILD)), "--llm", "stub")
    assert server.ask("POST", "/kickoff", {"inputs": {}}).json() == {"detail": "Missing inputs: subject"}
    assert "3 pages on ink" in ended(server, subject="ink", pages=2)["result"]


def test_a_server_with_the_stub_never_advises_the_stub(start: Start, tmp_path: Path) -> None:
    asks = "from openai import OpenAI\nOpenAI(base_url='http://127.0.0.1:9/v1', max_retries=0).models.list()\n"
    said = start(str(write(tmp_path / "desk", crew__py=asks + BUILD)), "--llm", "stub").ask("GET", "/inputs").json()
    assert "The model's endpoint does not answer" in said["detail"]
    assert "past crewai's own classes" in said["detail"]
    assert "--llm stub" not in said["detail"]


def test_an_error_while_a_project_loads_is_told_with_its_place_and_logged_with_its_traceback(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "desk", crew__py="import board\n", board__py="\ntotal = 1 / 0\n")
    server = start(str(tmp_path / "desk"))
    assert server.ask("GET", "/inputs").json()["detail"].endswith("division by zero (board.py:2)")
    server.end()
    logged = capfd.readouterr().err
    assert "total = 1 / 0" in logged
    assert f'File "{tmp_path}/desk/crew.py", line 1' in logged


def test_a_crewai_that_is_too_old_is_said_as_such_before_it_is_imported(start_plain: Start, tmp_path: Path) -> None:
    write(
        tmp_path,
        **{"old/crewai/__init__.py": "1 / 0", "old/crewai-1.9.3.dist-info/METADATA": "Name: crewai\nVersion: 1.9.3\n"},
        desk__crew__py=BUILD,
    )
    path = f"{tmp_path / 'old'}:{REPOSITORY}"
    detail = (
        start_plain(str(tmp_path / "desk"), environment={"PYTHONPATH": path}).ask("GET", "/inputs").json()["detail"]
    )
    for words in ("has crewai 1.9.3; 1.15.2 or later is needed", "a project pins rarely matters", "--with-crewai"):
        assert words in detail
