"""Whatever is sent to the server, it is no error of the server's, and what the server logs of it is one line."""

from __future__ import annotations

import http.client
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from page_server import HINT, TOKEN, Backend
from support.effort import examples

from airflow_provider_crewai.server.app import create_app
from airflow_provider_crewai.server.connections import MAX_HEAD, BoundedConnection, new_server
from airflow_provider_crewai.server.log_lines import one_line_handler
from airflow_provider_crewai.server.page import Page
from airflow_provider_crewai.server.page.listing import FILTERS, Listing
from airflow_provider_crewai.server.runs import Runs

LIVE = {"/kickoff", "/resume"}
"""What is no JSON is answered by 500 there, as the live service does."""


@dataclass
class Odd:
    """The whole application on a real socket, with runs that no process works on."""

    host: str
    runs: Runs
    cookie: str
    key: str
    run: str

    def send(
        self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> tuple[int, bytes]:
        with closing(http.client.HTTPConnection(self.host, timeout=30)) as connection:
            connection.putrequest(method, path, skip_accept_encoding=True)
            for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
                connection.putheader(name, value.encode("latin-1"))
            connection.endheaders(body)
            response = connection.getresponse()
            return response.status, response.read()

    def api(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        return self.send(method, path, body, {"Authorization": f"Bearer {TOKEN}"})

    def page(self, method: str, path: str, fields: Sequence[tuple[str, str]] = ()) -> tuple[int, bytes]:
        body = urlencode([("key", self.key), *fields], errors="surrogatepass").encode()
        return self.send(method, path, body, {"Cookie": self.cookie, "Origin": f"http://{self.host}"})


def listening() -> socket.socket:
    return socket.create_server(("127.0.0.1", 0))


def host_of(listener: socket.socket) -> str:
    return f"127.0.0.1:{listener.getsockname()[1]}"


@contextmanager
def serving(
    state: Path, connection: type[BoundedConnection] = BoundedConnection, listener: socket.socket | None = None
) -> Iterator[Odd]:
    runs = Runs(state / "runs.sqlite")
    backend = Backend(runs)
    page = Page(runs, backend, TOKEN, HINT)
    app = create_app(runs, backend, TOKEN, "", pages=page.routes())  # type: ignore[arg-type]  # acts as a launcher does
    listener = listener or listening()
    server = new_server(app, connection)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    odd = Odd(host_of(listener), runs, "", "", runs.add({"inputs": {"topic": "x"}}))
    try:
        with closing(http.client.HTTPConnection(odd.host, timeout=30)) as login:
            login.request("GET", page.ticket())
            odd.cookie = (login.getresponse().headers["Set-Cookie"] or "").partition(";")[0]
        found = re.search(rb'name="key" value="([0-9a-f]{64})"', odd.page("GET", "/")[1])
        assert found
        odd.key = found[1].decode()
        yield odd
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Odd]:
    with serving(tmp_path_factory.mktemp("state")) as one:
        yield one


ODD = [
    "",
    "\0",
    "\ud800",
    "9" * 5000,
    "-1",
    "http://[",
    "//[",
    "\x85\u2028",
    "../..",
    "%",
    "%2f",
    "٣",
    "²",
    "a" * 9000,
    "{{x}}",
    "nan",
    "1e999",
]
TEXTS = st.sampled_from(ODD) | st.text(max_size=30)
SCALARS = st.none() | st.booleans() | st.integers() | st.just(10**4000) | st.floats(allow_nan=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=8
)
KICKOFFS = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("inputs", "meta", "webhooks", "taskWebhookUrl", "humanInputWebhook", "restoreFromStateId", "�"), VALUES
    ),
)
RESUMES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("executionId", "taskId", "humanFeedback", "execution_id", "task_id", "human_feedback", "isApprove"), VALUES
    ),
)
BODIES = st.binary(max_size=50) | VALUES.map(lambda value: json.dumps(value).encode())
FIELDS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "token",
                "next",
                "inputs",
                "input.topic",
                "input.audience",
                "json",
                "feedback",
                "approved",
                "outcome",
                "key",
                "\0",
            ]
        ),
        TEXTS,
    ),
    max_size=6,
)
some = settings(
    max_examples=examples(150), suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


def path_of(*parts: str) -> str:
    return "/" + "/".join(quote(part, safe="", errors="surrogatepass") for part in parts)


@some
@given(
    st.sampled_from(["/kickoff", "/resume", "/feedback/x"]),
    BODIES | (KICKOFFS | RESUMES).map(lambda each: json.dumps(each).encode()),
)
@example("/resume", b'{"executionId": "\\ud800", "taskId": "\\ud800", "humanFeedback": "x"}')
@example("/resume", b'{"executionId": "x", "taskId": "\\u0000", "humanFeedback": "\\ud800"}')
@example("/kickoff", b'{"inputs": {"topic": %s, "audience": 1}}' % (b"9" * 5000))
@example("/kickoff", b'{"inputs": {"topic": %s, "audience": 1}}' % (b"[" * 5000 + b"]" * 5000))
def test_no_body_is_an_error_of_the_apis(odd: Odd, path: str, body: bytes) -> None:
    status, said = odd.api("POST", path, body)
    assert status < 500 or (path in LIVE and (status, said) == (500, b"Internal Server Error") and not is_object(body))


def is_object(body: bytes) -> bool:
    try:
        return isinstance(json.loads(body, parse_constant=int, parse_int=float), dict)
    except ValueError:
        return False


@some
@given(
    st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]),
    st.lists(
        st.sampled_from(
            ["status", "stop", "feedback", "runs", "questions", "at", "text", "page", "login", "step-", "inputs"]
        )
        | TEXTS,
        max_size=4,
    ),
    TEXTS,
)
@example("GET", ["status", "\ud800"], "")
@example("GET", ["status", "9" * 5000], "")
@example("GET", ["at", "\0", "runs", "x"], "")
@example("POST", ["questions", "\ud800"], "x")
def test_no_address_is_an_error_of_the_servers(odd: Odd, method: str, parts: list[str], query: str) -> None:
    path = (
        path_of(*parts)
        + "?"
        + urlencode([("runs", query), ("again", query), ("ticket", query)], errors="surrogatepass")
    )
    if len(path) < MAX_HEAD // 2:
        assert odd.api(method, path)[0] < 500
        assert odd.page(method, path)[0] < 500


@some
@given(st.sampled_from(["/login", "/runs", "/runs/x/stop", "/questions/x"]), FIELDS)
@example("/login", [("next", "http://["), ("token", TOKEN)])
@example("/login", [("next", "9" * 5000), ("token", TOKEN)])
@example("/login", [("token", "\ud800")])
@example("/runs", [("inputs", '{"topic": %s, "audience": 1}' % ("9" * 5000))])
@example("/runs", [("inputs", "[" * 3000 + "]" * 3000)])
@example("/runs", [("json", "topic"), ("input.topic", "9" * 5000), ("input.audience", "\ud800")])
def test_no_form_is_an_error_of_the_pages(odd: Odd, path: str, fields: list[tuple[str, str]]) -> None:
    assert odd.page("POST", path, fields)[0] < 500
    assert odd.page("GET", "/")[0] == 200, "whatever was kicked off, the list of runs can be read"


@pytest.mark.parametrize("number", ["9" * 5000, "-1", "x", "1" * 4000, "²"])
def test_no_number_in_an_address_is_an_error(odd: Odd, number: str) -> None:
    assert odd.page("GET", f"/?runs={quote(number)}")[0] == 200
    assert odd.page("GET", f"/runs/{odd.run}/text/step-{quote(number)}")[0] == 404


@some
@given(
    st.sampled_from(
        ["Cookie", "Authorization", "Origin", "Sec-Fetch-Site", "Host", "X-Forwarded-For", "Content-Type", "Accept"]
    ),
    st.text(st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40),
)
def test_no_header_is_an_error(odd: Odd, name: str, value: str) -> None:
    for path in ("/", "/inputs", f"/runs/{odd.run}"):
        assert odd.send("GET", path, headers={name: value})[0] < 500


def test_one_field_twice_is_no_error_and_the_first_one_counts(odd: Odd) -> None:
    fields = [("input.topic", "first"), ("input.topic", "second"), ("input.audience", "x")]
    assert odd.page("POST", "/runs", fields)[0] == 303
    assert odd.runs.inputs(Listing(odd.runs.path).listed([*FILTERS], 1)[0].kickoff_id) == {
        "topic": "first",
        "audience": "x",
    }


# ---- what is logged of it -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "two\nlines",
        "\r2026-11-27 INFO forged",
        "\x1b[2Jred",
        "\x9b31m",
        "\u2028",
        "\u202e",
        "::error::x",
        "\x85",
        "\ud800",
        "x" * 10_000,
        "\x1b]8;;http://x\x07y\x1b]8;;\x07",
    ],
)
def test_whatever_is_logged_is_one_printable_line(text: str) -> None:
    written = logged(f"the project {text} says this", text)
    assert written.count("\n") == 2
    for line in written.splitlines():
        assert line.isprintable()
        assert len(line) < 700
        assert "::error" not in line


def logged(*texts: str, error: Exception | None = None) -> str:
    handler = one_line_handler()
    about = (type(error), error, None) if error else None
    records = [logging.LogRecord("any", logging.WARNING, "", 1, "%s", (text,), about) for text in texts]  # type: ignore[arg-type]
    return "".join(handler.format(record) + "\n" for record in records)


def test_a_traceback_forges_no_line() -> None:
    error = ValueError("\n2026-11-27 INFO forged\x1b[2J")
    first, *rest = logged("broken", error=error).splitlines()
    assert first.endswith("broken")
    assert rest
    assert all(line.startswith("    ") and line.isprintable() for line in rest)


def test_nobody_chooses_his_address_in_the_log(odd: Odd, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    odd.send("GET", "/inputs", headers={"X-Forwarded-For": "10.9.8.7", "X-Forwarded-Proto": "https"})
    deadline = time.monotonic() + 5
    while "GET /inputs" not in caplog.text:
        assert time.monotonic() < deadline, caplog.text
        time.sleep(0.01)
    assert "127.0.0.1" in caplog.text
    assert "10.9.8.7" not in caplog.text


# ---- who keeps the server waiting -----------------------------------------------------------------

HALF = {
    "nothing": b"",
    "half a head": b"GET /inputs HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ",
    "half a body": b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx",
    "a body that nobody asked for": b"POST /kickoff HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\nx",
    "half a chunk": b"POST /login HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nx",
    "a second head": b"GET /favicon.ico HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\n",
}


class Impatient(BoundedConnection):
    seconds = 0.6


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[Odd]:
    with serving(tmp_path, Impatient) as one:
        yield one


def connected(to: str) -> socket.socket:
    host, port = to.split(":")
    return socket.create_connection((host, int(port)), timeout=10)


@pytest.mark.parametrize("half", HALF)
def test_a_client_that_keeps_the_server_waiting_is_hung_up_on(impatient: Odd, half: str) -> None:
    began = time.monotonic()
    with connected(impatient.host) as client:
        client.sendall(HALF[half])
        while time.monotonic() < began + 8 and not is_hung_up(client, 0.1):
            drip(client)
    assert 0.4 < time.monotonic() - began < 5


def is_hung_up(client: socket.socket, seconds: float) -> bool:
    client.settimeout(seconds)
    with suppress(ConnectionError):
        try:
            while client.recv(65536):
                pass
        except TimeoutError:
            return False
    return True


def drip(client: socket.socket) -> None:
    with suppress(OSError):
        client.sendall(b"x")


def test_a_client_that_does_not_read_is_hung_up_on(impatient: Odd) -> None:
    kickoff_id = impatient.runs.add({"inputs": {"topic": "x" * 9_000_000}})
    with connected(impatient.host) as client:
        head = f"GET /runs/{kickoff_id}/text/inputs HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: {impatient.cookie}\r\n\r\n"
        client.sendall(head.encode())
        time.sleep(3)
        read = 0
        with suppress(OSError):
            while more := client.recv(1 << 20):
                read += len(more)
    assert read < 9_000_000


class Crowded(BoundedConnection):
    most = 20


def test_clients_that_say_nothing_shut_nobody_out_however_many(tmp_path: Path) -> None:
    with serving(tmp_path, Crowded) as odd, ExitStack() as waiting:
        clients = []
        for number in range(100):
            clients.append(waiting.enter_context(connected(odd.host)))
            clients[-1].sendall(HALF["half a head"])
            if number % 20 == 0:
                assert odd.api("GET", "/inputs")[0] == 200
        assert odd.api("GET", "/inputs")[0] == 200
        assert sum(not is_hung_up(each, 0.05) for each in clients) <= 20
        assert is_hung_up(clients[0], 1)


def test_of_clients_that_come_all_at_once_those_who_came_first_are_hung_up_on(tmp_path: Path) -> None:
    listener = listening()
    with ExitStack() as waiting:
        clients = [waiting.enter_context(connected(host_of(listener))) for _ in range(60)]
        for client in clients:
            client.sendall(HALF["half a head"])
        with serving(tmp_path, Crowded, listener):
            assert all(is_hung_up(each, 5) for each in clients[:40])
            assert not any(is_hung_up(each, 0.05) for each in clients[-18:]), "two came to log in"


def test_a_head_beyond_bounds_is_refused(odd: Odd) -> None:
    for headers in ({"X": "x" * 2_000_000}, {f"X-{number}": "x" * 100 for number in range(10_000)}):
        status = 400
        with suppress(OSError, http.client.HTTPException):  # hung up on before all of it was sent
            status, _ = odd.send("GET", "/inputs", headers=headers)
        assert status == 400


def test_a_login_form_beyond_bounds_is_refused_from_whoever_sends_it(odd: Odd) -> None:
    body = b"token=" + b"x" * 20_000
    assert odd.send("POST", "/login", body, {"Origin": f"http://{odd.host}"})[0] == 413
