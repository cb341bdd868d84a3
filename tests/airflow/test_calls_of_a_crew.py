"""The real local server, as strict as the live service, calls the real api-server."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.utils.session import create_session
from airflow_api import eventually
from aop_server import EXAMPLE, INPUTS, Server
from api_server import Api

from airflow_provider_crewai.in_airflow import mailbox
from airflow_provider_crewai.in_airflow.compat import TaskStateInDatabase, xcom_in_database
from airflow_provider_crewai.in_airflow.config import configured
from airflow_provider_crewai.in_airflow.own_webhooks import sealed
from airflow_provider_crewai.in_airflow.xcom import CALLS_HOME, CREW_QUESTION
from airflow_provider_crewai.wire.codec import kickoff_request
from airflow_provider_crewai.wire.model import Kickoff

SENT = 1_767_614_401.25
ELSEWHERE = {"events": ["task_completed"], "url": "http://127.0.0.1:9/"}


@pytest.fixture(scope="module")
def asking_crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The example crew, which asks a human, and tells nobody but a webhook."""
    options = [str(EXAMPLE), "--python", os.environ["CREW_PYTHON"], "--strict-aop"]
    server = Server(options, tmp_path_factory.mktemp("asking"), {"BRIEF_ASKS": "1"}).start()
    yield server
    server.end()


@pytest.fixture
def reachable(api: Api, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__CREWAI__WEBHOOK_BASE_URL", api.url)
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "shared by all processes of this Airflow")
    configured.cache_clear()
    yield
    configured.cache_clear()


@pytest.mark.usefixtures("reachable")
@pytest.mark.parametrize("authors", [Kickoff(inputs=dict(INPUTS)), Kickoff(inputs=dict(INPUTS), webhooks=ELSEWHERE)])
def test_what_a_crew_asks_and_which_run_it_is_find_their_task(api: Api, asking_crew: Server, authors: Kickoff) -> None:
    api.task("deferred", record={"kickoff_id": None, "at": SENT, "try_number": 1})
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id=api.made[-1], map_index=-1, try_number=1)
    body = kickoff_request(sealed(authors, ti, SENT, time.time() + 600, asks=True)).body
    kickoff_id = asking_crew.ask("POST", "/kickoff", body).json()["kickoff_id"]

    def told() -> Any:
        with create_session() as session:
            return xcom_in_database(ti, CREW_QUESTION, session)

    (question,) = eventually(told, "the question", 60)

    def called() -> Any:
        with create_session() as session:
            return TaskStateInDatabase(ti, session).get(CALLS_HOME)

    calls = eventually(called, "the call home", 60)  # the two webhooks come in any order
    assert mailbox._caller(SENT, [lambda: calls]) == kickoff_id  # noqa: SLF001 - what a worker makes of it
    assert question["kickoff_id"] == kickoff_id
    assert question["output"]
    assert asking_crew.status(kickoff_id)["state"] == "NOT FOUND"
    feedback = {"executionId": kickoff_id, "taskId": question["task_id"], "humanFeedback": "Approved."}
    assert asking_crew.ask("POST", "/resume", feedback).status == 200
    asking_crew.wait(kickoff_id, "SUCCESS")
