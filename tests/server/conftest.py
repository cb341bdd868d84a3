"""Servers with the example crew, for the tests of this directory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aop_server import EXAMPLE, Server, Start


@pytest.fixture(scope="session")
def crew_python() -> str:
    python = os.environ.get("CREW_PYTHON")
    if not python:
        pytest.fail("CREW_PYTHON must name a Python interpreter that has crewai: the server's tests run a real crew")
    return python


@pytest.fixture
def start(crew_python: str, tmp_path: Path) -> Iterator[Start]:
    """Start a server with the example crew, or another project, and end it after the test."""
    servers: list[Server] = []

    def started(project: str = str(EXAMPLE), *options: str, **fields: Any) -> Server:
        arguments = [project, "--python", crew_python, *options]
        servers.append(Server(arguments, tmp_path / "state", **fields))
        return servers[-1].start()

    yield started
    for server in servers:
        if server.process.poll() is None:
            server.end()


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
