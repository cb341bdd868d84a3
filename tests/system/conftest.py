"""A real Airflow and a real crew, once for all tests of this folder, and one run of every example Dag in it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "lib"))

from airflow_api import DagRun
from airflow_home import PrivateAirflow
from answering import Answering
from checkout import EXAMPLE_DAGS
from crew_server import CrewServer

COUNTING = Path(__file__).parents[1] / "server" / "projects" / "counting"
"""The flow of the example Dag that goes on with yesterday's."""

CONF = {"crewai_batch": {"rows": 3}}
"""With fewer runs than in real life, where an example Dag starts many."""

DAG_IDS = sorted(path.stem for path in EXAMPLE_DAGS.glob("[!_]*.py"))


@pytest.fixture(scope="session")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrewServer]:
    # A run that has ended before the first look is not waited for: slow enough, every task here is deferred, on a busy
    # machine too.
    with CrewServer(tmp_path_factory.mktemp("crew"), {"BRIEF_SECONDS_PER_TASK": "4"}) as server:
        yield server


@pytest.fixture(scope="session")
def flow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrewServer]:
    slowly = {"COUNTING_SECONDS": "4"}  # for the same reason
    with CrewServer(tmp_path_factory.mktemp("flow"), slowly, project=COUNTING) as server:
        yield server


@pytest.fixture(scope="session")
def asking_crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CrewServer]:
    """The example crew, but it asks a human before it ends."""
    with CrewServer(tmp_path_factory.mktemp("asking"), {"BRIEF_ASKS": "yes"}) as server:
        yield server


@pytest.fixture(scope="session")
def airflow(
    crew: CrewServer, flow: CrewServer, asking_crew: CrewServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateAirflow]:
    home = tmp_path_factory.mktemp("airflow")
    connections = {
        "crewai_default": crew.connection,
        "crewai_flow": flow.connection,
        "crewai_review": asking_crew.connection,
    }
    with PrivateAirflow(home, EXAMPLE_DAGS, connections) as running:
        running.api.call("POST", "/api/v2/variables", {"key": "crewai_answers", "value": f"file://{home}/answers"})
        yield running


@pytest.fixture(scope="session")
def runs(airflow: PrivateAirflow, asking_crew: CrewServer) -> dict[str, DagRun]:
    """Run every example Dag, named like its file; all at once, because most of their time is waiting."""
    for dag_id in DAG_IDS:
        airflow.api.wait_for_dag(dag_id)
    started = {dag_id: airflow.api.trigger(dag_id, CONF.get(dag_id)) for dag_id in DAG_IDS}
    Answering(airflow.url, asking_crew, started["crewai_human_answers"], "brief", print, alone=True).start()
    return started


@pytest.fixture(scope="session")
def ended(runs: dict[str, DagRun]) -> list[DagRun]:
    """Wait for all of them."""
    for run in runs.values():
        run.wait()
    return list(runs.values())


@pytest.fixture(scope="module", params=DAG_IDS)
def run(request: pytest.FixtureRequest, runs: dict[str, DagRun]) -> DagRun:
    """Wait for each of them in turn."""
    each = runs[request.param]
    each.wait()
    return each
