"""The outbox: rows become requests, at least once, in order, for as long as it takes, and their secrets go."""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import AbstractContextManager, closing
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aop_server import REPOSITORY
from receiver import Answer, delivering, receiving

SECRET = "a-secret-for-tests"
KEY = b"4fc591b07ae44779c25cff6ebb755ae9eb3f2644d89f6406b90f20d7b3ca3588"
TOKEN = "a-token-that-must-not-stay"
TABLE = """
CREATE TABLE outbox (position INTEGER PRIMARY KEY, kickoff_id TEXT, url TEXT, headers TEXT, body TEXT,
                     attempts INTEGER DEFAULT 0, due REAL DEFAULT 0, delivered_at REAL, error TEXT)
"""


class Database:
    """The server's database, as another process sees it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.execute("PRAGMA journal_mode=WAL")
        self.execute(TABLE)

    def execute(self, query: str, *values: object) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute(query, values)]

    def send(self, url: str, body: object, headers: dict[str, str] | None = None, run: str = "run") -> None:
        query = "INSERT INTO outbox (kickoff_id, url, headers, body) VALUES (?, ?, ?, ?)"
        self.execute(query, run, url, json.dumps(headers or {}), json.dumps(body))

    def rows(self) -> list[dict[str, Any]]:
        return self.execute("SELECT * FROM outbox ORDER BY position")

    def deliver(self) -> int:
        """Let the outbox look once, and try what is due and what waits behind it; returns how many rows it delivered."""
        query = "SELECT count(*) AS delivered FROM outbox WHERE delivered_at IS NOT NULL"
        (before,) = self.execute(query)
        self.send("of no scheme", "is given up in the first look", run="marker")
        with at_work(self):
            self.wait("kickoff_id = 'marker' AND error IS NOT NULL")
        self.execute("DELETE FROM outbox WHERE kickoff_id = 'marker'")
        (after,) = self.execute(query)
        return int(after["delivered"] - before["delivered"])

    def time_passes(self, seconds: float = 24 * 3600) -> None:
        self.execute("UPDATE outbox SET due = due - ?", seconds)

    def wait(self, condition: str, seconds: float = 10) -> None:
        deadline = time.monotonic() + seconds
        while not self.execute(f"SELECT 1 FROM outbox WHERE {condition}"):  # noqa: S608 - the test's own words
            assert time.monotonic() < deadline, self.rows()
            time.sleep(0.01)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "runs.sqlite")


def at_work(database: Database) -> AbstractContextManager[None]:
    return delivering(database.path, SECRET, timeout=0.5)


def unused_url() -> str:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def test_a_row_becomes_a_request_with_its_headers_and_its_very_body(database: Database) -> None:
    with receiving() as receiver:
        database.send(f"{receiver.url}/hook?kind=task%2F1", {"über": 1.5}, {"Authorization": f"Bearer {TOKEN}"})
        assert database.deliver() == 1
    (request,) = receiver.received
    assert request.path == "/hook?kind=task%2F1"
    assert request.raw == json.dumps({"über": 1.5}).encode()
    assert database.rows()[0]["body"] == "", "nobody needs it any more, and it may be large"
    assert request.headers["Authorization"] == f"Bearer {TOKEN}"
    assert request.headers["Content-Type"] == "application/json"


def test_a_url_cannot_smuggle_in_a_header(database: Database) -> None:
    with receiving() as receiver:
        database.send(f"{receiver.url}/a b?é HTTP/1.1\r\nX-Other: 1\r\n", 1)
        assert database.deliver() == 1
    (request,) = receiver.received
    assert "X-Other" not in request.headers
    assert request.path.startswith("/a%20b?%C3%A9")


def test_what_was_delivered_is_not_sent_again(database: Database) -> None:
    with receiving() as receiver:
        database.send(receiver.url, 1)
        assert [database.deliver(), database.deliver()] == [1, 0]
    assert receiver.bodies() == [1]
    (row,) = database.rows()
    assert (row["attempts"], row["error"]) == (1, None)
    assert row["delivered_at"] == pytest.approx(time.time(), abs=5)


@pytest.mark.parametrize("status", [404, 408, 425, 429, 500, 502, 503, 504])
def test_a_row_waits_for_the_one_ahead_of_it(database: Database, status: int) -> None:
    with receiving(Answer(status), Answer(status)) as receiver:
        for number in range(4):
            database.send(receiver.url, number)
        assert database.deliver() == 0
        database.time_passes(seconds=-60)
        assert database.deliver() == 0
        database.time_passes()
        assert database.deliver() == 0
        database.time_passes()
        assert database.deliver() == 4
    assert receiver.bodies() == [0, 0, 0, 1, 2, 3]


def test_runs_and_urls_do_not_wait_for_each_other(database: Database) -> None:
    with receiving(Answer(500)) as failing, receiving() as other:
        database.send(failing.url, "fails")
        database.send(other.url, "another URL")
        assert database.deliver() == 1
        database.send(failing.url, "another run", run="other")
        assert database.deliver() == 1
    assert failing.bodies() == ["fails", "another run"]
    assert other.bodies() == ["another URL"]


@pytest.mark.parametrize("status", [400, 401, 403, 405, 410, 413, 422])
def test_a_refusal_is_final_and_lets_the_next_row_pass(database: Database, status: int) -> None:
    with receiving(Answer(status)) as receiver:
        database.send(receiver.url, "refused", {"Authorization": TOKEN})
        database.send(receiver.url, "next")
        assert database.deliver() == 1
    assert receiver.bodies() == ["refused", "next"]
    refused, _ = database.rows()
    assert (refused["attempts"], refused["delivered_at"], refused["error"]) == (1, None, f"answered {status}")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(database: Database, status: int) -> None:
    with receiving() as elsewhere, receiving(Answer(status, {"Location": elsewhere.url})) as receiver:
        database.send(receiver.url, 1, {"Authorization": TOKEN})
        assert database.deliver() == 0
    assert not elsewhere.received
    assert database.rows()[0]["error"] == f"answered {status}, and redirects are not followed"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("7", 7), ("100000", 3600), ("nonsense", 1), ("-5", 1), ("9" * 500, 3600), ("", 1)],
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_receiver_is_left_alone_for_as_long_as_it_asks(
    database: Database, status: int, said: str, seconds: float
) -> None:
    with receiving(Answer(status, {"Retry-After": said})) as receiver:
        database.send(receiver.url, 1)
        began = time.time()
        assert database.deliver() == 0
    due = database.rows()[0]["due"]
    assert due - began >= 0.8 * seconds
    assert due - time.time() <= 1.2 * seconds


def test_a_receiver_may_name_a_date(database: Database) -> None:
    with receiving(Answer(429, {"Retry-After": formatdate(time.time() + 60, usegmt=True)})) as receiver:
        database.send(receiver.url, 1)
        database.deliver()
    assert database.rows()[0]["due"] - time.time() == pytest.approx(60, abs=2)


@pytest.mark.parametrize(("tries", "seconds"), [(0, 1), (1, 2), (2, 4), (7, 128), (8, 256), (9, 300), (295, 300)])
def test_the_waits_double_up_to_five_minutes(database: Database, tries: int, seconds: float) -> None:
    database.send(unused_url(), 1)
    database.execute("UPDATE outbox SET attempts = ?", tries)
    began = time.time()
    assert database.deliver() == 0
    (row,) = database.rows()
    assert (row["attempts"], row["error"]) == (tries + 1, None)
    assert row["due"] - began >= 0.8 * seconds
    assert row["due"] - time.time() <= 1.2 * seconds


def test_the_waits_add_up_to_a_day(database: Database) -> None:
    database.send(unused_url(), 1)
    before_the_last = sum(min(300, 2**tries) for tries in range(296))
    assert before_the_last == pytest.approx(24 * 3600, abs=300)
    database.execute("UPDATE outbox SET attempts = 296")
    database.deliver()
    assert database.rows()[0]["error"] == "did not answer: ClientConnectorError, given up after 297 tries"


def test_a_receiver_that_was_away_for_a_day_is_given_up_for_the_run(database: Database) -> None:
    url = unused_url()
    for run in ("run", "run", "other"):
        database.send(url, 1, {"Authorization": TOKEN}, run=run)
    database.execute("UPDATE outbox SET attempts = 296 WHERE position = 1")
    database.deliver()
    first, second, other = database.rows()
    assert first["error"] == second["error"]
    assert first["headers"] == second["headers"] == "{}"
    assert other["error"] is None


def test_a_receiver_that_takes_too_long_is_tried_again(database: Database) -> None:
    with receiving(Answer(204, seconds=30)) as receiver:
        database.send(receiver.url, 1)
        began = time.monotonic()
        assert database.deliver() == 0
        assert 0.5 <= time.monotonic() - began < 5
        database.time_passes()
        assert database.deliver() == 1


def test_a_dead_receiver_does_not_hold_up_others(database: Database) -> None:
    never = [Answer(204, seconds=30)] * 20
    with (
        receiving(*never) as dead,
        receiving() as alive,
        delivering(database.path, SECRET, finish=0),
    ):
        for number in range(20):
            database.send(dead.url, number, run=f"run {number}")
        dead.wait_for(8)
        began = time.monotonic()
        for number in range(20):
            database.send(alive.url, number, run=f"run {number}")
        alive.wait_for(20)
        assert time.monotonic() - began < 5, "the dead one takes ten seconds"
        assert len(dead.received) == 8, "a host is called a few times at once, no more"


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "ftp://127.0.0.1/", "file:///etc/passwd", "ws://127.0.0.1/", "http://", "http://[", "//host"],
)
def test_only_http_is_spoken(database: Database, url: str) -> None:
    database.send(url, 1)
    assert database.deliver() == 0
    assert database.rows()[0]["error"] == "is no http or https URL"


@pytest.mark.parametrize("answer", [204, 410])
def test_headers_do_not_stay_once_they_are_of_no_use(database: Database, answer: int) -> None:
    with receiving(Answer(500), Answer(answer)) as receiver:
        database.send(f"{receiver.url}/{TOKEN}", 1, {"Authorization": f"Bearer {TOKEN}"})
        database.deliver()
        assert TOKEN in database.rows()[0]["headers"]
        database.time_passes()
        database.deliver()
    assert len(receiver.received) == 2
    assert database.rows()[0]["headers"] == "{}"
    assert receiver.url == "http://" + database.rows()[0]["url"], "and of the URL the host alone stays"
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert TOKEN.encode() not in database.path.read_bytes()


@pytest.mark.parametrize("token", [f"{TOKEN}\r\nX-Other: 1", f"{TOKEN}\0"])
def test_neither_a_log_nor_a_row_tells_a_secret(
    database: Database, caplog: pytest.LogCaptureFixture, token: str
) -> None:
    caplog.set_level(logging.DEBUG)
    with receiving(Answer(500), Answer(410)) as receiver:
        database.send(f"{receiver.url}/{TOKEN}", 1, {"Authorization": TOKEN})
        database.send(f"{receiver.url}/{TOKEN}", 2, {"Authorization": token})
        database.deliver()
        database.time_passes()
        database.deliver()
    assert TOKEN not in caplog.text
    assert "run run: a webhook is not delivered: 127.0.0.1" in caplog.text
    assert [row["error"] for row in database.rows()] == [
        "answered 410, given up after 2 tries",
        "cannot be called: ValueError",
    ]


def test_a_signature_is_made_when_it_is_sent(database: Database) -> None:
    with receiving(Answer(500)) as receiver:
        database.send(receiver.url, {"event": "new_request"}, {"X-Signature": "sha256", "Authorization": TOKEN})
        database.deliver()
        database.time_passes()
        time.sleep(1.1)
        database.deliver()
    stamps = [request.headers["X-Timestamp"] for request in receiver.received]
    assert int(stamps[0]) < int(stamps[1]) <= time.time()
    for request, stamp in zip(receiver.received, stamps, strict=True):
        digest = hmac.new(KEY, stamp.encode() + b"." + request.raw, hashlib.sha256).hexdigest()
        assert request.headers["X-Signature"] == f"sha256={digest}"
        assert request.headers["Authorization"] == TOKEN


def test_a_row_that_is_no_sense_does_not_end_the_delivery_of_others(database: Database) -> None:
    with receiving() as receiver, at_work(database):
        database.execute(
            "INSERT INTO outbox (kickoff_id, url, headers, body) VALUES (1, ?, 'no JSON', 1)", receiver.url
        )
        database.send(receiver.url, 2)
        receiver.wait_for(1)
        database.wait("error = 'cannot be called: JSONDecodeError'")
    assert receiver.bodies() == [2]


def test_what_is_due_is_delivered_at_once_and_what_failed_when_its_time_has_come(database: Database) -> None:
    with receiving(Answer(500)) as receiver, at_work(database):
        began = time.time()
        database.send(receiver.url, 1)
        first, second = receiver.wait_for(2)
    assert first.at - began < 5
    assert 0.8 <= second.at - first.at < 10


def test_it_takes_notice_of_a_stop_at_once(database: Database) -> None:
    began = time.monotonic()
    with at_work(database):
        pass
    assert time.monotonic() - began < 3


def test_a_killed_server_leaves_nothing_undelivered(database: Database) -> None:
    program = (
        "import sys, threading; from airflow_provider_crewai.server.outbox import Outbox; from pathlib import Path;"
    )
    program += "Outbox(Path(sys.argv[1]), 'x').run(threading.Event())"
    with receiving(Answer(204), Answer(204, seconds=30)) as receiver:
        for number in range(4):
            database.send(receiver.url, number)
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
        server = subprocess.Popen([sys.executable, "-c", program, str(database.path)], env=environment)
        receiver.wait_for(2)
        server.send_signal(signal.SIGKILL)
        server.wait()
        with at_work(database):
            database.wait("position = 4 AND delivered_at > 0")
    assert receiver.bodies() == [0, 1, 1, 2, 3]
