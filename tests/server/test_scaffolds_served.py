"""Each kind of project that crewai's own command makes, served unchanged with the stub: every endpoint, every kill."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest
import scaffolds
from aop_server import EXAMPLE, INPUTS, TOKEN, Server, Start

PYTHONS = ("CREW_PYTHON", "CREW_PYTHON_OLDEST")
GIVEN = {"classic": {"topic": "Tides", "current_year": "2026"}}
NAMES = {
    "classic": ["current_year", "topic"],
    "json_crew": [],
    "flow": ["topic", "outline", "draft", "final_post"],
    "declared_flow": ["topic"],
}
VENDORS = """
import sys
from crewai_tools import InvokeCrewAIAutomationTool
from pydantic import Field
tool = InvokeCrewAIAutomationTool(
    crew_api_url=sys.argv[1], crew_bearer_token=sys.argv[2], crew_name="brief", crew_description="writes a brief",
    crew_inputs={name: Field(..., description=name) for name in ("topic", "audience")},
)
print(tool.run(topic="AI agents", audience="engineers"))
"""

Serve = Callable[[str], Server]


@pytest.fixture(scope="module", params=PYTHONS)
def python(request: pytest.FixtureRequest) -> str:
    found = os.environ.get(request.param)
    if not found:
        pytest.skip(f"{request.param} is not set: the oldest crewai is taken with scripts/test --long")
    return found


@pytest.fixture(scope="module")
def serve(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Serve a project of a kind, made by this very crewai; one server for each."""
    home, servers = tmp_path_factory.mktemp("scaffolds"), dict[str, Server]()

    def served(kind: str) -> Server:
        if kind not in servers:
            project = str(scaffolds.made(python, kind, home))
            arguments = [project, "--python", python, "--llm", "stub"]
            servers[kind] = Server(arguments, tmp_path_factory.mktemp("state")).start()
        return servers[kind]

    yield served
    for server in servers.values():
        server.end()


@pytest.fixture(params=scaffolds.KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_its_inputs_are_told_and_none_is_demanded_that_it_brings_itself(serve: Serve, kind: str) -> None:
    server = serve(kind)
    assert server.ask("GET", "/inputs").json()["inputs"] == NAMES[kind]
    server.wait(server.kickoff({}), "SUCCESS")


def test_it_runs_to_an_answer_of_the_stub(serve: Serve, kind: str) -> None:
    server = serve(kind)
    status = server.wait(server.kickoff(GIVEN.get(kind, {})), "SUCCESS")
    if kind == "declared_flow":  # an expression, which asks no model
        assert status["result"] == "AI agents"
    elif kind != "flow":  # its last method returns nothing
        assert "[stub:" in status["result"]
        assert status["usage_metrics"]["total_tokens"] > 0
    assert status["progress"]["completed"] > 0
    assert status["progress"]["unit"] == ("method" if "flow" in kind else "task")


def test_it_is_stopped_and_cannot_be_stopped_again(serve: Serve, kind: str) -> None:
    server = serve(kind)
    kickoff_id = server.kickoff(GIVEN.get(kind, {}))
    stopped = server.ask("POST", f"/stop/{kickoff_id}")
    if stopped.status == 200:  # else it was faster
        assert server.status(kickoff_id)["state"] == "REVOKED"
        assert server.has_let_go(kickoff_id)
    state = server.status(kickoff_id)["state"]
    again = server.ask("POST", f"/stop/{kickoff_id}")
    assert (again.status, again.json()) == (400, {"detail": f"Cannot stop execution. Current state: {state}"})


def test_its_process_is_killed_at_once(serve: Serve, kind: str) -> None:
    server = serve(kind)
    kickoff_id = server.kickoff(GIVEN.get(kind, {}))
    os.kill(server.pid(kickoff_id), signal.SIGSTOP)
    os.kill(server.pid(kickoff_id), signal.SIGKILL)
    status = server.wait(kickoff_id, "FAILED", "SUCCESS")
    if status["state"] == "FAILED":  # else it was faster
        assert status["status"].startswith("The run's process was killed by SIGKILL ")


def test_its_server_is_killed_at_once(serve: Serve, kind: str) -> None:
    server = serve(kind)
    kickoff_id = server.kickoff(GIVEN.get(kind, {}))
    server.restart(signal.SIGKILL)
    assert server.wait(kickoff_id, "SUCCESS", seconds=120)["progress"]["completed"] > 0


def test_the_vendors_own_client_gets_its_answer(start: Start, crew_python: str) -> None:
    server = start(str(EXAMPLE), "--strict-aop")
    done = subprocess.run(
        [crew_python, "-c", VENDORS, server.url, TOKEN],
        env=os.environ | scaffolds.QUIET,
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    assert server.wait(server.kickoff(INPUTS), "SUCCESS")["result"] in done.stdout
