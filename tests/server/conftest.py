"""Servers with the example crew, for the tests of this directory."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aop_server import EXAMPLE, PLAIN, REPOSITORY, Server, Start
from loader import Load, Loader
from support.effort import leave_out, share

STAND_IN = Path(__file__).parent / "stand_in"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take a share of the tests that load crewai, which takes seconds."""
    costly = [item for item in items if loads_crewai(item)]
    left = {*costly} - {*share(costly)}
    leave_out(config, items, left.__contains__)


def loads_crewai(item: pytest.Item) -> bool:
    """Whether a test loads crewai for itself. The example crew's one server is shared."""
    fixtures = getattr(item, "fixturenames", ())
    its_own = "serve" in fixtures or ("crew_python" in fixtures and "server" not in fixtures)
    return its_own and item.path.parent == Path(__file__).parent


@pytest.fixture(scope="session")
def crew_python() -> str:
    python = os.environ.get("CREW_PYTHON")
    if not python:
        pytest.fail("CREW_PYTHON must name a Python interpreter that has crewai: the server's tests run a real crew")
    return python


@contextmanager
def starting(usual: Path, python: str, state: Path, **variables: str) -> Iterator[Start]:
    """Start servers with the usual project, or another one, and end them all."""
    servers: list[Server] = []

    def started(project: str = str(usual), *options: str, **fields: Any) -> Server:
        environment = variables | fields.pop("environment", {})
        servers.append(Server([project, "--python", python, *options], state, environment, **fields))
        return servers[-1].start()

    yield started
    for server in servers:
        if server.process.poll() is None:
            server.end()


@pytest.fixture
def start(crew_python: str, tmp_path: Path) -> Iterator[Start]:
    """Start a server with the example crew, or another project, and end it after the test."""
    with starting(EXAMPLE, crew_python, tmp_path / "state") as started:
        yield started


@pytest.fixture
def start_plain(tmp_path: Path) -> Iterator[Start]:
    """Do the same with a plain crew and what stands in for crewai: for tests of what the server does with any project."""
    python_path = f"{REPOSITORY}{os.pathsep}{STAND_IN}"
    with starting(PLAIN, sys.executable, tmp_path / "state", PYTHONPATH=python_path) as started:
        yield started


@pytest.fixture(scope="session")
def shared(crew_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start a server once for each project and options, for tests that leave it as it is: loading crewai takes seconds."""
    servers: dict[tuple[object, ...], Server] = {}

    def started(project: str = str(EXAMPLE), *options: str, **fields: Any) -> Server:
        key = (project, *options, *sorted(fields.get("environment", {}).items()))
        if key not in servers:
            state = tmp_path_factory.mktemp("state")
            servers[key] = Server([project, "--python", crew_python, *options], state, **fields).start()
        return servers[key]

    yield started
    for server in servers.values():
        if server.process.poll() is None:
            server.end()


@pytest.fixture(scope="session")
def server(crew_python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the example crew, for tests that leave it as it is."""
    one = Server([str(EXAMPLE), "--python", crew_python], tmp_path_factory.mktemp("state")).start()
    yield one
    assert one.end() == 0


@pytest.fixture(scope="module", params=["CREW_PYTHON", "CREW_PYTHON_OLDEST"])
def python(request: pytest.FixtureRequest) -> str:
    found = os.environ.get(request.param)
    if found:
        return found
    if request.param == "CREW_PYTHON":
        pytest.fail("CREW_PYTHON must name a Python interpreter that has crewai: these tests load real crews")
    pytest.skip("the oldest crewai is taken with scripts/test --long")


@pytest.fixture(scope="module")
def load(python: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    loader = Loader(python, tmp_path_factory.mktemp("loader"))
    yield loader
    loader.end()
