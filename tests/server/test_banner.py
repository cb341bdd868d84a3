"""What the server says when it starts: the page's link, where the token is, and a connection to paste."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from aop_server import Start

from airflow_provider_crewai.client.settings import read_settings
from airflow_provider_crewai.client.sync import CrewClient
from airflow_provider_crewai.server.access import Token
from airflow_provider_crewai.server.banner import banner, connection


def said(capfd: pytest.CaptureFixture[str]) -> list[str]:
    lines = [line.strip() for line in capfd.readouterr().err.splitlines()]
    begin = next(number for number, line in enumerate(lines) if " is served at " in line)
    return lines[begin : begin + 5]


def pasted(command: str, variable: str, **environment: str) -> Any:
    """What the variable holds in a shell that was given the command."""
    shell = ["sh", "-c", f"{command}\nprintenv {variable}"]
    done = subprocess.run(
        shell, env={"PATH": "/usr/bin:/bin", **environment}, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_the_server_begins_with_a_banner_whose_connection_can_be_pasted(
    start_plain: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    server = start_plain(token="")
    name, page, token, _, command = said(capfd)
    kept = (server.state / "token").read_text().strip()
    assert name == f"plain is served at {server.url}"
    assert f"{server.url}/login?ticket=" in page
    assert str(server.state / "token") in token
    assert kept not in command, "whoever may read the terminal's log must not find it"
    found = pasted(command, "AIRFLOW_CONN_CREWAI_DEFAULT")
    assert found.pop("conn_type") == "crewai"
    client = CrewClient(lambda: read_settings("crewai_default", **found))
    assert client.get_inputs().names
    client.close()


def test_a_token_from_the_environment_is_taken_from_there() -> None:
    token = Token("s3cret", "It is the $CREWAI_SERVER_TOKEN.", '"$CREWAI_SERVER_TOKEN"')
    command = connection("http://127.0.0.1:1", token, "crewai_default")
    found = pasted(command, "AIRFLOW_CONN_CREWAI_DEFAULT", CREWAI_SERVER_TOKEN="s3cret")
    assert found == {"conn_type": "crewai", "host": "http://127.0.0.1:1", "password": "s3cret"}


@pytest.mark.parametrize("name", ["token", "my token", "it's", '$(touch x)"'])
def test_a_file_of_any_name_can_be_pasted(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("s3cret\n")
    token = Token.found(tmp_path / name, tmp_path / "kept")
    assert "s3cret" not in repr(token) + banner("a", "http://127.0.0.1:1", "http://127.0.0.1:1/login", token)
    found = pasted(connection("http://127.0.0.1:1", token, "crewai_a.b-c"), "AIRFLOW_CONN_CREWAI_A_B_C")
    assert found["password"] == "s3cret"
    assert not (Path.cwd() / "x").exists()
