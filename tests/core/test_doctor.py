"""`doctor`: a line for each part of the way to a crew, the cure for what is wrong, and an exit code that says it."""

from __future__ import annotations

import datetime
import json
import re
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.command_line import FAST, TOKEN, Done, call, crew
from support.server import answer, says
from test_command_line import nobody, without

QUICK = FAST[2:]
PARTS = ["program", "airflow", "connection", "proxy", "dns", "tls", "token", "inputs"]
HAS_AIRFLOW = find_spec("airflow.configuration")  # the folder tests/airflow is a package of that name, too
NOBODY_NEEDS_AIRFLOW = "Nothing of it is needed"


def lines(done: Done) -> dict[str, str]:
    """What was found about each part, after its verdict."""
    return {line.split()[1]: line.split()[0] + " " + line.split(maxsplit=2)[2] for line in done.out.splitlines()}


def examined(url: str, *arguments: str) -> Done:
    """Examine a crew where there is no Airflow: to import that takes seconds."""
    return call("doctor", *QUICK, *arguments, url=url, launch=without("airflow") if HAS_AIRFLOW else None)


def test_all_is_well_where_a_crew_answers_and_nothing_is_started() -> None:
    with crew(inputs=says({"inputs": ["topic", "audience"]})) as server:
        done = examined(server.url)
        assert {seen.target for seen in server.seen} == {"/inputs"}
    assert (done.code, done.err) == (0, "All is well.\n")
    assert [*lines(done)][: len(PARTS)] == PARTS
    assert all(line.startswith("ok ") for line in done.out.splitlines())
    assert lines(done)["inputs"] == "ok topic, audience."


def test_it_needs_no_airflow_for_a_url_and_says_what_an_airflow_can_do() -> None:
    with crew() as server:
        alone, within = examined(server.url), call("doctor", *QUICK, url=server.url)
    assert alone.code == within.code == 0
    assert NOBODY_NEEDS_AIRFLOW in lines(alone)["airflow"]
    if HAS_AIRFLOW:
        assert re.match(r"ok \d+\.\d+\.\d+.*; (has|lacks) ", lines(within)["airflow"])


def test_a_connection_without_airflow_is_wrong_with_the_cure() -> None:
    done = call("doctor", launch=without("airflow"))
    assert done.code == 2
    assert lines(done)["airflow"].startswith("WRONG")
    assert "--url" in lines(done)["airflow"]


def test_a_refused_token_is_wrong_and_is_not_shown() -> None:
    with crew(inputs=answer(401, json.dumps({"detail": f"not with {TOKEN}"}))) as server:
        done = examined(server.url)
    assert done.code == 4
    assert lines(done)["token"].startswith("WRONG the crew refuses it")
    assert "CREWAI_TOKEN" in lines(done)["token"]
    assert done.err == "Something is wrong with: token.\n"


@pytest.mark.parametrize(
    ("inputs", "code"), [(answer(404, '{"detail":"Not Found"}'), 6), (says({"hello": "world"}), 6), (answer(500), 4)]
)
def test_what_is_no_crew_is_told(inputs: object, code: int) -> None:
    with crew(inputs=inputs) as server:  # type: ignore[arg-type]  # a behaviour
        done = examined(server.url)
    assert (done.code, lines(done)["crew"].split()[0]) == (code, "WRONG")


def test_where_nobody_listens_the_address_is_doubted() -> None:
    done = examined(nobody())
    assert done.code == 4
    assert "Nobody is at that address" in lines(done)["crew"]


def test_a_name_without_an_address_is_told_and_nobody_is_asked() -> None:
    done = examined("https://no-such-crew.invalid")
    assert done.code == 4
    assert [*lines(done)][-1] == "dns"
    assert "DNS" in lines(done)["dns"]


@pytest.mark.parametrize("arguments", [("--extra", '{"timeout": -1}'), ("--token-file", "/nowhere")])
def test_a_connection_that_cannot_be_used_ends_it(arguments: tuple[str, ...]) -> None:
    done = examined("http://127.0.0.1:1", *arguments)
    assert done.code == 2
    assert [*lines(done)][-1] == "connection"
    assert lines(done)["connection"].startswith("WRONG")


def test_a_proxys_password_is_not_shown() -> None:
    done = examined("https://crew.example", "--extra", '{"proxy": "http://me:s3same@127.0.0.1:1"}')
    assert lines(done)["proxy"] == "ok http://127.0.0.1:1."
    assert lines(done)["dns"].startswith("ok 127.0.0.1 ")
    assert "s3same" not in done.out + done.err
    assert done.code == 4


@pytest.mark.parametrize(("ahead", "word"), [(3600, "behind"), (-3600, "ahead of")])
def test_a_clock_that_is_wrong_is_told(ahead: int, word: str) -> None:
    there = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=ahead)
    said = answer(200, '{"inputs": ["topic"]}', date=format_datetime(there, usegmt=True))
    with crew(inputs=said) as server:
        done = examined(server.url)
    assert done.code == 4
    assert f"{word} the crew's" in lines(done)["clock"]


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 99 Nov 2026 00:00:00 GMT"])
def test_a_date_that_is_none_is_no_clock(date: str) -> None:
    with crew(inputs=answer(200, '{"inputs": ["topic"]}', date=date)) as server:
        assert "clock" not in lines(examined(server.url))


def test_json_tells_each_part() -> None:
    with crew() as server:
        done = examined(server.url, "--json")
    assert done.json["outcome"] == "done"
    assert [each["part"] for each in done.json["checks"]][: len(PARTS)] == PARTS
    assert all(each["ok"] for each in done.json["checks"])


# ---- TLS ------------------------------------------------------------------------------------------


@contextmanager
def tls_server(certificate: Path) -> Iterator[str]:
    """A server of TLS that shakes hands and hangs up; its URL."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def shake(listener: socket.socket) -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            try:
                context.wrap_socket(plain, server_side=True).close()
            except OSError:
                plain.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=shake, args=(listener,), daemon=True).start()
        yield f"https://localhost:{listener.getsockname()[1]}"


def test_a_certificate_is_told_with_its_end_or_with_the_cure(tmp_path: Path) -> None:
    bundle = tmp_path / "own.pem"
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run([*made.split(), "-keyout", bundle, "-out", tmp_path / "cert"], check=True, capture_output=True)
    with bundle.open("a") as file:
        file.write((tmp_path / "cert").read_text())
    with tls_server(bundle) as url:
        trusted = examined(url, "--extra", json.dumps({"ca_bundle": str(bundle)}))
        unchecked = examined(url, "--extra", '{"verify": false}')
        refused = examined(url)
    assert "trusted and ends at 2" in lines(trusted)["tls"]
    assert "not checked" in lines(unchecked)["tls"]
    assert refused.code == 4
    assert "CA bundle" in lines(refused)["tls"]


def test_a_server_that_speaks_no_tls_is_told() -> None:
    with crew() as server:
        done = examined(server.url.replace("http://", "https://"))
    assert done.code == 4
    assert "Crew URL" in lines(done)["tls"]
