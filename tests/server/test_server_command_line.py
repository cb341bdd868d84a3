"""What is served, from where, to whom: the command line, the token and the project."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from aop_server import EXAMPLE, INPUTS, PLAIN, REPOSITORY, TOKEN, Start
from starlette.applications import Starlette

from airflow_provider_crewai.client.settings import read_settings
from airflow_provider_crewai.client.sync import CrewClient
from airflow_provider_crewai.server.access import Bearer
from airflow_provider_crewai.server.page.sessions import Sessions
from airflow_provider_crewai.wire.model import Kickoff

BROKEN = "import nowhere_to_be_found\n"
FACTORY = "from brief.crew import BriefCrew\n\ndef build():\n    return BriefCrew()\n\none = BriefCrew().crew()\n"


def refusal(*arguments: str) -> str:
    command = [sys.executable, "-m", "airflow_provider_crewai.server", *arguments]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    return done.stderr


def logged(capfd: pytest.CaptureFixture[str], pattern: str, seconds: float = 30) -> str:
    """Wait until a server has logged something; returns what the pattern's group matched, or all of it."""
    said, deadline = "", time.monotonic() + seconds
    while not (found := re.search(pattern, said := said + capfd.readouterr().err)):
        assert time.monotonic() < deadline, said
        time.sleep(0.05)
    return found[found.re.groups]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "example.com"])  # noqa: S104 - refused
def test_a_host_that_is_not_loopback_is_refused(host: str) -> None:
    assert f"{host} is not a loopback address" in refusal(str(EXAMPLE), "--host", host)


@pytest.mark.parametrize("project", ["no/such/directory", "module", "module:", "a b:c"])
def test_what_is_no_project_is_refused(project: str, tmp_path: Path) -> None:
    assert "neither a directory nor module:attribute" in refusal(project, "--state", str(tmp_path))


def test_a_state_directory_has_one_server(start_plain: Start) -> None:
    state = start_plain().state
    assert f"another server uses the state directory {state}" in refusal(str(EXAMPLE), "--state", str(state))


def test_a_port_that_is_taken_is_refused(start_plain: Start, tmp_path: Path) -> None:
    port = start_plain().url.rpartition(":")[2]
    assert "Address already in use" in refusal(str(EXAMPLE), "--state", str(tmp_path / "other"), "--port", port)


def test_a_server_comes_back_at_its_address_and_at_another_where_that_is_taken(start_plain: Start) -> None:
    server = start_plain()
    first = server.url
    server.restart(signal.SIGKILL)
    assert server.url == first
    server.end()
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        server.start()
    second = server.url
    assert second != first
    server.restart()
    assert server.url == second


@pytest.mark.parametrize("kept", ["", "99999", "\u00e9", "9" * 5000, "-1"])
def test_a_port_that_was_kept_badly_is_forgotten(start_plain: Start, tmp_path: Path, kept: str) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    (tmp_path / "state" / "port").write_text(kept)
    assert start_plain().ask("GET", "/status/x").status == 200


def test_without_a_token_a_private_one_is_kept(start_plain: Start) -> None:
    server = start_plain(token="")
    file = server.state / "token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(server.state.stat().st_mode) == 0o700
    kept = file.read_text().strip()
    assert server.ask("GET", "/status/x", headers={"Authorization": f"Bearer {kept}"}).status == 200
    server.restart()
    assert server.ask("GET", "/status/x", headers={"Authorization": f"Bearer {kept}"}).status == 200


def test_an_empty_token_lets_nobody_in(start_plain: Start, tmp_path: Path) -> None:
    file = tmp_path / "state" / "token"
    file.parent.mkdir(mode=0o700)
    file.touch()
    server = start_plain(token=" ")
    kept = file.read_text().strip()
    assert len(kept) > 30
    for empty in ("Bearer", "Bearer ", "Bearer  ", "Bearer \t"):
        assert server.ask("GET", "/status/x", headers={"Authorization": empty}).status == 401
    assert server.ask("GET", "/status/x", headers={"Authorization": f"Bearer {kept}"}).status == 200
    for guard in (Sessions, partial(Bearer, Starlette())):
        with pytest.raises(ValueError, match="empty"):
            guard("")


def test_a_crew_that_cannot_be_loaded_is_told_and_may_be_mended(start_plain: Start, tmp_path: Path) -> None:
    crew = tmp_path / "project" / "crew.py"
    crew.parent.mkdir()
    crew.write_text(BROKEN)
    server = start_plain(str(crew.parent))
    for answer in (server.ask("GET", "/inputs"), server.ask("POST", "/kickoff", {"inputs": {}})):
        assert answer.status == 503
        assert "ModuleNotFoundError: No module named 'nowhere_to_be_found'" in answer.json()["detail"]
    crew.unlink()
    assert "LookupError" in server.ask("GET", "/inputs").json()["detail"]


def test_a_kickoff_rides_out_a_project_that_is_half_saved(start_plain: Start, tmp_path: Path) -> None:
    project = tmp_path / "plain"
    shutil.copytree(PLAIN, project, ignore=shutil.ignore_patterns("__pycache__"))
    crew = project / "crew.py"
    whole = crew.read_text()
    crew.write_text(whole[: len(whole) // 2])
    server = start_plain(str(project))
    assert server.ask("GET", "/inputs").status == 503
    client = CrewClient(lambda: read_settings("crew", host=server.url, password=TOKEN))
    threading.Timer(1, crew.write_text, (whole,)).start()
    server.wait(client.kickoff(Kickoff(inputs=INPUTS)), "SUCCESS")
    client.close()


def test_a_token_comes_from_a_file_and_never_from_the_command_line(start_plain: Start, tmp_path: Path) -> None:
    file = tmp_path / "my token"
    file.write_text("from-a-file\n")
    server = start_plain(str(PLAIN), "--token-file", str(file))
    for token, status in (("from-a-file", 200), (TOKEN, 401)):
        assert server.ask("GET", "/status/x", headers={"Authorization": f"Bearer {token}"}).status == status
    for given in (("--token", "s3cret"), ("--token=s3cret",), ("--token",)):
        said = refusal(str(EXAMPLE), *given)
        assert "--token-file" in said
        assert "CREWAI_SERVER_TOKEN" in said
        assert "s3cret" not in said
    assert "unrecognized arguments" in refusal(str(EXAMPLE), "--tok", "s3cret")


@pytest.mark.parametrize("file", ["", "/nowhere/token"])
def test_a_token_file_without_a_token_is_refused(tmp_path: Path, file: str) -> None:
    (tmp_path / "empty").touch()
    assert "token" in refusal(
        str(EXAMPLE), "--state", str(tmp_path / "s"), "--token-file", file or str(tmp_path / "empty")
    )


@pytest.mark.parametrize("token", ["Bearer a-token", "a\nb", "tök", "'a-token'", "a\u2028b", "\udcff"])
def test_a_token_that_no_request_can_carry_is_refused(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    file.write_text(token, errors="surrogateescape")
    state = ["--state", str(tmp_path / "s")]
    assert f"the token in {file} holds" in refusal(str(EXAMPLE), *state, "--token-file", str(file))
    monkeypatch.setenv("CREWAI_SERVER_TOKEN", token)
    assert "the token in $CREWAI_SERVER_TOKEN holds" in refusal(str(EXAMPLE), *state)


def test_a_token_file_may_begin_with_a_byte_order_mark(start_plain: Start, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("from-a-file\r\n", encoding="utf-8-sig")
    server = start_plain(str(PLAIN), "--token-file", str(file))
    assert server.ask("GET", "/status/x", headers={"Authorization": "Bearer from-a-file"}).status == 200


@pytest.mark.parametrize("option", ["--state", "--token-file"])
@pytest.mark.parametrize("unset", ["", " "])
def test_a_path_from_a_variable_that_is_not_set_is_wrong_use(option: str, unset: str) -> None:
    assert f"argument {option}: is empty" in refusal(str(EXAMPLE), option, unset)


@pytest.mark.parametrize(("held", "why"), [(None, "cannot be read"), (" \n", "is empty"), (b"\xff", "cannot be read")])
def test_a_file_without_a_secret_is_wrong_use(tmp_path: Path, held: str | bytes | None, why: str) -> None:
    file = tmp_path / "secret"
    if held is not None:
        file.write_bytes(held if isinstance(held, bytes) else held.encode())
    said = refusal(str(EXAMPLE), "--flow-webhook", "http://127.0.0.1/", "--flow-webhook-secret", str(file))
    assert f"argument --flow-webhook-secret: {file} {why}" in said


@pytest.mark.parametrize("days", ["-1", "nan", "soon"])
def test_days_that_are_none_are_wrong_use(days: str) -> None:
    assert "argument --keep-days" in refusal(str(EXAMPLE), "--keep-days", days)


@pytest.mark.parametrize("kept", [b"no database at all", b"SQLite format 3\0and no more"])
def test_a_database_that_is_none_is_told_with_what_to_do(tmp_path: Path, kept: bytes) -> None:
    file = tmp_path / "state" / "runs" / "runs.sqlite"
    file.parent.mkdir(mode=0o700, parents=True)
    file.parent.parent.chmod(0o700)
    file.write_bytes(kept)
    file.chmod(0o600)
    said = refusal(str(EXAMPLE), "--state", str(tmp_path / "state"))
    assert f"{file} cannot be used as the database of runs" in said
    assert "Traceback" not in said
    assert file.read_bytes() == kept


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_a_port_that_is_none_is_wrong_use(port: str) -> None:
    assert "argument --port" in refusal(str(EXAMPLE), "--port", port)


def test_an_interpreter_without_crewai_is_told_at_once_with_what_to_do(
    start: Start, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    (tmp_path / "crew.py").write_text(BROKEN)
    (tmp_path / ".env").write_text("A=1\n")  # what would read it comes with crewai
    server = start(str(tmp_path), "--python", str(python))
    why = f"cannot be loaded by {python}: ModuleNotFoundError: {python} has no crewai."
    detail = server.ask("GET", "/inputs").json()["detail"]
    assert why in detail
    assert "start the server with --python" in detail
    logged(capfd, f"WARNING .*{re.escape(why)}.*need not be restarted")


def test_an_interpreter_that_is_none_is_named(start_plain: Start) -> None:
    server = start_plain(str(PLAIN), "--python", "nowhere/python")
    words = f"cannot be loaded by {REPOSITORY}/nowhere/python: FileNotFoundError"
    assert words in server.ask("GET", "/inputs").json()["detail"]


@pytest.mark.parametrize("target", ["brief.crew:BriefCrew", "made:build", "made:one"])
def test_an_attribute_of_a_module_is_found_from_where_the_server_stands(
    start: Start, tmp_path: Path, target: str
) -> None:
    (tmp_path / "made.py").write_text(FACTORY)
    (tmp_path / "brief").symlink_to(EXAMPLE / "src" / "brief")
    server = start(target, cwd=tmp_path)
    assert server.ask("GET", "/inputs").json()["inputs"] == ["audience", "topic"]
    if target == "made:build":
        assert server.wait(server.kickoff(INPUTS), "SUCCESS")["result_json"]["headings"] == ["Agents", "Ai"]
