"""What a server says of itself: its health, what it serves, and a description of its API that is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aop_server import PLAIN, Server, Start
from page_server import PageServer

from airflow_provider_crewai.server.app import create_app
from airflow_provider_crewai.server.openapi import ENDPOINTS
from airflow_provider_crewai.server.runs import Runs

OURS = {"/health": 404, "/openapi.json": 404, "/runs/x/events": 401}
"""What is not known of the live service. The last one is the page's, for a browser with a session."""

ORIGIN = "http://localhost:3000"


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> set[tuple[str, str]]:
    """The method and path of each route of the API."""
    runs = Runs(tmp_path_factory.mktemp("state") / "runs.sqlite")
    app = create_app(runs, None, "token", "")  # type: ignore[arg-type]  # nobody is asked
    routes = [(route.path.replace(":path", ""), route.methods or set()) for route in app.routes]  # type: ignore[attr-defined]
    return {(method.lower(), path) for path, methods in routes for method in methods - {"HEAD"}}


def test_each_endpoint_is_described_and_each_description_is_an_endpoint(described: set[tuple[str, str]]) -> None:
    hidden = {("get", "/openapi.json"), ("post", "/feedback/{question_id}")}
    assert {(each.method, each.path) for each in ENDPOINTS} == described - hidden


def test_programs_read_the_description_with_the_token_alone(server: Server) -> None:
    assert server.ask("GET", "/openapi.json", headers={}).status == 401
    said = server.ask("GET", "/openapi.json").json()
    assert (said["openapi"], said["servers"]) == ("3.1.0", [{"url": server.url}])
    assert said["paths"]["/kickoff"]["post"]["responses"].keys() == {"200", "422", "503"}
    for path, operations in said["paths"].items():
        for method, operation in operations.items():
            status = server.ask(method.upper(), path.format(kickoff_id="x", session_id="x"), headers={}).status
            assert status == (200 if operation.get("security") == [] else 401), path
            needs = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            if needs.get("required"):
                assert server.ask(method.upper(), path.format(session_id="x"), {}).status == 422


def test_a_server_says_that_it_is_well_and_what_it_serves(server: Server) -> None:
    assert server.ask("GET", "/health", headers={}).json() == {"status": "healthy"}
    assert server.ask("GET", "/inspect").json() == {
        "conversational": False, "transports": [], "kind": "crew", "name": "BriefCrew", "human_input": False
    }  # fmt: skip


def test_strictly_as_live_there_is_nothing_of_our_own(start_plain: Start) -> None:
    server = start_plain(str(PLAIN), "--strict-aop")
    assert {path: server.ask("GET", path).status for path in OURS} == OURS
    assert server.ask("GET", "/inspect").json() == {"conversational": False, "transports": []}


def test_a_person_reads_the_description_on_the_page_and_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    with PageServer(tmp_path) as page:
        html = page.see("/docs")
        assert page.ask("GET", "/docs", cookie="").status == 401
    for endpoint in ENDPOINTS:
        assert f"{endpoint.method.upper()} {endpoint.path}" in html
    assert not re.search(r"(src|href)=.(https?:)?//", html)


def test_scripts_of_other_pages_use_the_api_only_where_that_was_asked_for(start_plain: Start, server: Server) -> None:
    asks = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    closed = server.ask("OPTIONS", "/kickoff", headers=asks)
    assert (closed.status, closed.headers["Access-Control-Allow-Origin"]) == (405, None)
    opened = start_plain(str(PLAIN), "--allow-origin", ORIGIN)
    assert opened.ask("OPTIONS", "/kickoff", headers=asks).headers["Access-Control-Allow-Origin"] == ORIGIN
    assert opened.ask("OPTIONS", "/kickoff", headers=asks | {"Origin": "http://evil.example"}).status == 400
    bearer = {"Authorization": f"Bearer {opened.token}", "Origin": ORIGIN}
    assert opened.ask("GET", "/status/x", headers=bearer).headers["Access-Control-Allow-Origin"] == ORIGIN
