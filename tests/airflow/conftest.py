"""An Airflow home of our own for these tests, and what most of them start from."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).parents[2]
# Importing Airflow reads the environment and writes to its home, so both are settled before any test module is.
HOME = Path(tempfile.mkdtemp(prefix="crewai-airflow-tests-"))
(HOME / "dags").mkdir()
for _name in [name for name in os.environ if name.startswith(("AIRFLOW__", "AIRFLOW_CONN_", "AIRFLOW_VAR_"))]:
    del os.environ[_name]
os.environ |= {
    "AIRFLOW_HOME": str(HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(HOME / "dags"),
    # A key, a log level and ports of our own: nothing of the machine's Airflow, if it has one, is read or written.
    "AIRFLOW__CORE__FERNET_KEY": "",
    # Airflow makes one up where there is none, and another one for a thread that asks at the same moment.
    "AIRFLOW__API_AUTH__JWT_SECRET": "a secret of at least sixty-four bytes, which is what SHA-512 asks for",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(HOME / "logs"),
}

# The real local server is a harness of the tests of the server.
sys.path.append(str(Path(__file__).parents[1] / "server"))

from aop_server import EXAMPLE, Server  # noqa: E402 - see above
from in_memory import Airflow  # noqa: E402
from scripted_crew import ScriptedCrew  # noqa: E402

COSTLY = {"untidy", "wheel", "database", "example_crew", "served"}
"""Fixtures that take seconds: one worker makes each, and has all the tests that use it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in COSTLY.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.xdist_group(fixture))


def pytest_sessionfinish() -> None:
    shutil.rmtree(HOME, ignore_errors=True)


@pytest.fixture
def crew() -> Iterator[ScriptedCrew]:
    """A deployed crew whose answers the test writes."""
    with ScriptedCrew() as scripted:
        yield scripted


@pytest.fixture
def airflow(crew: ScriptedCrew) -> Airflow:
    """An Airflow whose connection `crewai_default` leads to that crew."""
    return Airflow({"crewai_default": crew.connection})


class Clock:
    """A clock that jumps over each sleep, and remembers how long they were."""

    def __init__(self) -> None:
        self.slept = 0.0
        self._time = time.time

    def sleep(self, seconds: float) -> None:
        self.slept += seconds

    def time(self) -> float:
        return self._time() + self.slept


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A worker's clock that jumps."""
    jumping = Clock()
    monkeypatch.setattr(time, "sleep", jumping.sleep)
    monkeypatch.setattr(time, "time", jumping.time)
    return jumping


@pytest.fixture(scope="session")
def example_crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The real local server with the real example crew."""
    python = os.environ.get("CREW_PYTHON")
    if not python:
        pytest.fail("CREW_PYTHON must name a Python interpreter that has crewai: these tests run a real crew")
    server = Server([str(EXAMPLE), "--python", python], tmp_path_factory.mktemp("crew")).start()
    yield server
    server.end()


@pytest.fixture(scope="session")
def database() -> Path:
    """Airflow's own database in our home, for the few tests that need one; returns the home."""
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    finished = subprocess.run(migrate, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return HOME


@pytest.fixture(scope="session")
def api(database: Path) -> Iterator[Any]:
    """Airflow's own api-server; see `api_server.Api`."""
    from api_server import served

    del database
    with served() as server:
        yield server


@pytest.fixture
def deploy(database: Path) -> Callable[[str, str], Any]:
    """Put a file into the Dags folder and return the one Dag in it, ready for `dag.test()`."""
    from airflow.dag_processing.dagbag import DagBag

    def deployed(name: str, text: str) -> Any:
        file = database / "dags" / name
        file.write_text(text)
        bag = DagBag(dag_folder=file, safe_mode=False)
        assert not bag.import_errors, bag.import_errors
        (dag,) = bag.dags.values()
        return dag

    return deployed


@pytest.fixture
def default_connection(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], None]:
    """Set `AIRFLOW_CONN_CREWAI_DEFAULT`, `…_FLOW` and `…_REVIEW`, for what runs with Airflow's own supervisor."""

    def set_to(connection: dict[str, Any]) -> None:
        for name in ("DEFAULT", "FLOW", "REVIEW"):
            monkeypatch.setenv(f"AIRFLOW_CONN_CREWAI_{name}", json.dumps(connection))

    return set_to


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout to build from, without git."""
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("airflow_provider_crewai", "example_dags"):
        shutil.copytree(CHECKOUT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.cfg", "setup.py", "MANIFEST.in", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, copy)
    return copy
