"""Several projects in one server: each below its own path, with its own runs, page and base URL."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from aop_server import INPUTS, PLAIN, Server, Start
from browser import LOOKS, Window, browsing
from receiver import receiving

from airflow_provider_crewai.client.settings import read_settings
from airflow_provider_crewai.client.sync import CrewClient
from airflow_provider_crewai.server.project import Project
from airflow_provider_crewai.server.serving import names_of
from airflow_provider_crewai.wire.model import Kickoff


@pytest.fixture
def two(start_plain: Start, tmp_path: Path) -> Server:
    return two_of(start_plain, tmp_path)


def two_of(start_plain: Start, tmp_path: Path) -> Server:
    """Start a server of two projects, the second of which never finishes loading."""
    hangs = tmp_path / "hangs"
    hangs.mkdir()
    (hangs / "crew.py").write_text("import time\ntime.sleep(3600)\n")
    return several(start_plain(str(PLAIN), str(hangs), "--load-timeout", "4"))


def several(server: Server) -> Server:
    """Read the lines of the other projects, and take the URL of the server itself."""
    assert server.process.stdout
    assert server.url.endswith("/plain")
    server.url = server.url.removesuffix("/plain")
    assert server.process.stdout.readline() == f"Serving hangs at {server.url}/hangs\n"
    return server


def status(server: Server, kickoff_id: str, project: str = "plain") -> dict[str, Any]:
    answer: dict[str, Any] = server.ask("GET", f"/{project}/status/{kickoff_id}").json()
    return answer


def test_each_project_has_its_own_path_runs_and_page_and_none_waits_for_another(two: Server, tmp_path: Path) -> None:
    settings = read_settings("crew", host=f"{two.url}/plain", password=two.token)
    client = CrewClient(lambda: settings)
    kickoff_id = client.kickoff(Kickoff(inputs=INPUTS))
    deadline = time.monotonic() + 60
    while status(two, kickoff_id)["state"] != "SUCCESS":
        assert time.monotonic() < deadline, status(two, kickoff_id)
        time.sleep(0.1)
    assert client.page_of(client.get_status(kickoff_id)) == f"{two.url}/plain/runs/{kickoff_id}"
    client.close()
    assert two.ask("GET", "/hangs/inputs").status == 503
    assert status(two, kickoff_id, "hangs")["state"] == "NOT FOUND"
    assert two.ask("GET", "/plain/openapi.json").json()["servers"] == [{"url": f"{two.url}/plain"}]
    assert two.ask("GET", "/health", headers={}).json() == {"status": "healthy"}
    assert [two.ask("GET", path).status for path in ("/inputs", "/elsewhere/inputs")] == [404, 404]
    assert two.ask("GET", "/plain/inputs", headers={}).status == 401
    assert {each.name for each in two.state.iterdir() if each.is_dir()} == {"plain", "hangs"}


def test_a_browser_logs_in_to_one_project_and_stays_below_its_path(
    capfd: pytest.CaptureFixture[str], start_plain: Start, tmp_path: Path
) -> None:
    two = two_of(start_plain, tmp_path)
    said = capfd.readouterr().err
    (ticket,) = (line.split()[-1] for line in said.splitlines() if "/plain/login?ticket=" in line)
    seen = two.ask("GET", ticket.removeprefix(two.url), headers={})
    door = seen.headers["Location"]
    assert (seen.status, door.startswith("/plain/at/")) == (303, True)
    cookie = seen.headers["Set-Cookie"]
    assert f"Path={door.rstrip('/')}" in cookie
    session = {"Cookie": cookie.partition(";")[0]}
    home = two.ask("GET", door, headers=session)
    assert (home.status, f'action="{door}runs"'.encode() in home.body) == (200, True)
    login = two.ask("GET", "/plain/", headers={})
    assert (login.status, b'action="/plain/login"' in login.body) == (401, True)
    assert two.ask("GET", door.replace("/plain/", "/hangs/"), headers=session).status == 401
    for asset in ("/page/door.js", "/page/page.css", "/favicon.ico"):
        assert two.ask("GET", asset, headers={}).status == 200


def test_the_root_leads_to_each_page_and_needs_no_token(two: Server) -> None:
    seen = two.ask("GET", "/", headers={})
    assert seen.status == 200
    assert "default-src 'none'" in seen.headers["Content-Security-Policy"]
    pages = re.findall(r'<a href="(/[^"]*)">(.*?)</a>', seen.body.decode())
    assert pages == [("/plain/", "plain"), ("/hangs/", "hangs")]
    assert [two.ask("GET", path, headers={}).status for path, _ in pages] == [401, 401], "there one logs in"


def test_the_root_suits_everybody_in_a_browser(two: Server) -> None:
    with browsing() as browser:
        for options in LOOKS:
            with Window(browser, two.url, options) as window:
                window.go("/")
                assert window.suits_everybody()
                window.page.get_by_role("link", name="plain").click()
                window.page.get_by_label("Token").wait_for()


def test_a_server_that_ends_blames_no_project_that_it_was_loading(
    capfd: pytest.CaptureFixture[str], start_plain: Start, tmp_path: Path
) -> None:
    two = two_of(start_plain, tmp_path)
    assert two.end() == 0
    assert "cannot be loaded" not in capfd.readouterr().err


def test_a_flow_of_one_of_several_is_answered_at_its_callback(start: Start, tmp_path: Path) -> None:
    approval = Path(__file__).parent / "projects" / "approval"
    copy = shutil.copytree(approval, tmp_path / "approval")
    with receiving() as human:
        server = start(str(approval), str(copy), "--flow-webhook", human.url)
        assert server.process.stdout
        assert server.process.stdout.readline().endswith("/approval-2\n")
        url = server.url.removesuffix("/approval")
        server.url = url
        kickoff_id = server.ask("POST", "/approval-2/kickoff", {"inputs": {"title": "Tides"}}).json()["kickoff_id"]
        callback = human.wait_for(1, seconds=60)[0].json()["callback_url"]
        assert callback.startswith(f"{url}/approval-2/feedback/")
        assert server.ask("POST", callback.removeprefix(url), {"feedback": "good"}, headers={}).status == 200
        deadline = time.monotonic() + 60
        while status(server, kickoff_id, "approval-2")["state"] != "SUCCESS":
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_each_project_has_a_name_of_its_own_that_can_stand_in_a_path() -> None:
    named = ["brief", "brief", "health", "my crew", "..", "made:build", "Ümlaut"]
    names = names_of([Project("", Path(), name) for name in named])
    assert names == ["brief", "brief-2", "health-2", "my-crew", "project-2", "made-build", "-mlaut"]
