"""Both real shells over a real socket, against a server that does what real servers and gateways do."""

from __future__ import annotations

import asyncio
import base64
import datetime
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from support.callers import CALLERS, TOKEN, Caller, exchange, settings_for
from support.server import (
    BAD_GATEWAY_AFTER,
    HTML_502,
    LOSE_ANSWER,
    LOSE_REQUEST,
    PASS,
    Behaviour,
    Plan,
    Script,
    Scripted,
    Seen,
    answer,
    chunked,
    cut,
    dripping,
    echo,
    faults,
    gzipped,
    hang_up,
    head,
    in_turn,
    raw,
    reset,
    says,
    silence,
    then_close,
)

from airflow_provider_crewai.client import flows
from airflow_provider_crewai.client.aio import AsyncCrewClient
from airflow_provider_crewai.client.settings import Settings, read_settings
from airflow_provider_crewai.client.watch import Ending, Patience, Verdict, Watch
from airflow_provider_crewai.wire import words
from airflow_provider_crewai.wire.codec import read_inputs, read_status, status_request
from airflow_provider_crewai.wire.errors import (
    CrewAuthError,
    CrewConfigError,
    CrewConnectionUnreadable,
    CrewError,
    CrewMayHaveStarted,
    CrewProtocolError,
    CrewTransportError,
)
from airflow_provider_crewai.wire.model import Kickoff, Request, Response
from airflow_provider_crewai.wire.refusals import read_error

ASK = Request("GET", "/inputs")
START = Request("POST", "/kickoff", {"inputs": {"topic": "x"}}, idempotent=False)


@pytest.fixture(params=CALLERS, ids=lambda caller: caller.name)
def caller(request: pytest.FixtureRequest) -> Caller:
    return request.param


def one(caller: Caller, settings: Settings, request: Request = ASK) -> Response | CrewError:
    return caller(lambda: settings, exchange(request))[0]


def always(behaviour: Behaviour) -> Script:
    return lambda _: behaviour


def told(caller: Caller, behaviour: Behaviour, request: Request = ASK, **extra: Any) -> Response | CrewError:
    """What the client makes of a server that always does this, and on a busy machine takes its time for it."""
    with Scripted(always(behaviour)) as server:
        return one(caller, settings_for(server.url, **{"timeout": 10, **extra}), request)


def body(answered: Response | CrewError) -> bytes:
    assert isinstance(answered, Response)
    return answered.body


# ---- answers that arrive -----------------------------------------------------------------------------


def test_a_request_says_who_asks_and_what(caller: Caller) -> None:
    with Scripted(always(says({}))) as server:
        one(caller, settings_for(server.url + "/prefix/", headers={"X-Team": "data"}), START)
    (seen,) = server.seen
    assert (seen.method, seen.target, seen.json) == ("POST", "/prefix/kickoff", START.body)
    assert seen.headers["authorization"] == f"Bearer {TOKEN}"
    assert seen.headers["accept"] == "application/json"
    assert seen.headers["content-type"].startswith("application/json")
    assert seen.headers["x-team"] == "data"


def test_a_question_has_no_body(caller: Caller) -> None:
    with Scripted(always(says({}))) as server:
        one(caller, settings_for(server.url), ASK)
    assert server.seen[0].body == b""


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (says({"a": 1}), b'{"a": 1}'),
        (gzipped({"a": 1}), b'{"a": 1}'),
        (chunked(b'{"a"', b": 1}"), b'{"a": 1}'),
        (HTML_502, b"<html><body>Bad Gateway</body></html>"),
        (answer(200, b'{"state": "SUCC'), b'{"state": "SUCC'),
        (answer(204), b""),
        (raw(b"HTTP/1.1 200 OK\r\n\r\nuntil the end"), b"until the end"),
    ],
    ids=["json", "gzip", "chunked", "html 502", "truncated json", "empty", "without a length"],
)
def test_an_answer_arrives_as_the_server_meant_it(caller: Caller, behaviour: Behaviour, expected: bytes) -> None:
    assert body(told(caller, behaviour)) == expected


def test_a_429_brings_its_retry_after(caller: Caller) -> None:
    response = told(caller, answer(429, Retry_After="7"))
    assert isinstance(response, Response)
    assert (response.status, response.headers["retry-after"]) == (429, "7")


def test_header_names_are_lower_case_and_values_can_be_logged(caller: Caller) -> None:
    response = told(caller, raw(b"HTTP/1.1 200 OK\r\nX-Odd: \xff\xfe\r\nContent-Length: 0\r\n\r\n"))
    assert isinstance(response, Response)
    assert set(response.headers) == {"x-odd", "content-length"}
    assert response.headers["x-odd"].encode()


@pytest.mark.parametrize("kickoff_id", ["a b", "ü", "a/b", "a%2Fb", "../x", "a?b#c", "~'();", "%"])
def test_an_odd_id_travels_as_one_path_segment(caller: Caller, kickoff_id: str) -> None:
    request = status_request(kickoff_id)
    with Scripted(always(says({}))) as server:
        one(caller, settings_for(server.url), request)
    assert server.seen[0].target == request.path


# ---- answers that do not ------------------------------------------------------------------------------

BROKEN: dict[str, Behaviour] = {
    "reset": reset,
    "closed without an answer": hang_up,
    "silence beyond the timeout": silence(0.9),
    "a body that is cut": cut(b'{"kickoff_id": "run-1"'),
    "a chunk that never ends": chunked(b'{"kickoff', finish=False),
    "a body that drips": dripping(b'{"kickoff_id": "run-1"}', 0.1),
    "a redirect whose body drips": dripping(
        b"x" * 20, 0.1, first=head(302, {"location": "http://127.0.0.1:1/", "content-length": "20"})
    ),
    "a head that drips": dripping(head(200, {"content-length": "2"}) + b"{}", 0.02, first=b""),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
    "a length that is none": raw(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n{}"),
    "a chunk length that is none": raw(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n{}\r\n"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_no_answer_to_a_kickoff_means_that_it_may_have_arrived(caller: Caller, what: str) -> None:
    with Scripted(always(BROKEN[what])) as server:
        error = one(caller, settings_for(server.url), START)
    assert isinstance(error, CrewTransportError)
    assert error.sent
    assert len(server.seen) == 1


@pytest.mark.parametrize("what", ["reset", "closed without an answer", "silence beyond the timeout"])
def test_a_kickoff_whose_answer_is_lost_is_sent_once_by_either_shell(caller: Caller, what: str) -> None:
    with Scripted(always(BROKEN[what])) as server:
        (error,) = caller(lambda: settings_for(server.url), flows.kickoff_awake(Kickoff(), 5.0))
    assert isinstance(error, CrewMayHaveStarted)
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:1/", "//elsewhere.example", "http://[", "/\xff", "", "http://a b/", "x" * 8000]
)
def test_a_redirect_is_an_answer_and_is_never_followed(caller: Caller, location: str) -> None:
    response = told(caller, answer(302, b"", location=location))
    assert isinstance(response, Response)
    assert response.status == 302


def test_the_token_does_not_travel_with_a_redirect(caller: Caller) -> None:
    with Scripted(always(says({}))) as elsewhere, Scripted(always(answer(307, location=elsewhere.url))) as server:
        response = one(caller, settings_for(server.url), START)
    assert isinstance(response, Response)
    assert elsewhere.seen == []


# ---- requests that never leave --------------------------------------------------------------------------


def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def mute_port() -> Iterator[int]:
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def curt_port() -> Iterator[int]:
    """A port that takes connections and drops them at the first bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=_drop_all, args=(server,), daemon=True).start()
        yield int(server.getsockname()[1])


def _drop_all(server: socket.socket) -> None:
    try:
        while True:
            connection, _ = server.accept()
            connection.recv(1)
            connection.close()
    except OSError:
        return


def never_left(caller: Caller, settings: Settings, request: Request = START) -> CrewError:
    error = one(caller, settings, request)
    assert isinstance(error, CrewConfigError) or (isinstance(error, CrewTransportError) and not error.sent)
    return error


def test_a_closed_port_was_never_reached(caller: Caller) -> None:
    never_left(caller, settings_for(f"http://127.0.0.1:{closed_port()}"))


def test_a_name_that_does_not_resolve_was_never_reached(caller: Caller) -> None:
    never_left(caller, settings_for("https://no-such-host.invalid", timeout=10))


def test_a_tls_handshake_with_a_plain_server_sent_nothing(caller: Caller) -> None:
    with Scripted(always(says({}))) as server:
        never_left(caller, settings_for(server.url.replace("http:", "https:")))
    assert server.seen == []


def test_a_tls_handshake_that_is_dropped_sent_nothing(caller: Caller, curt_port: int) -> None:
    never_left(caller, settings_for(f"https://127.0.0.1:{curt_port}"))


def test_a_tls_handshake_that_is_never_answered_sent_nothing(caller: Caller, mute_port: int) -> None:
    never_left(caller, settings_for(f"https://127.0.0.1:{mute_port}"))


def test_a_proxy_that_is_not_there_was_never_passed(caller: Caller) -> None:
    never_left(caller, settings_for("https://crew.example", proxy=f"http://127.0.0.1:{closed_port()}"))


def test_a_proxy_that_refuses_the_tunnel_was_never_passed(caller: Caller) -> None:
    with Scripted(always(answer(403, "no"))) as proxy:
        never_left(caller, settings_for("https://crew.example", proxy=proxy.url))
    assert [seen.method for seen in proxy.seen] == ["CONNECT"]


def test_a_proxy_may_be_named_without_a_scheme(caller: Caller) -> None:
    with Scripted(always(says({"via": "proxy"}))) as proxy:
        settings = settings_for("http://crew.example", allow_http=True, proxy=proxy.url.removeprefix("http://"))
        assert body(one(caller, settings)) == b'{"via": "proxy"}'


def test_a_proxy_gets_the_request_that_goes_through_it(caller: Caller) -> None:
    with Scripted(always(says({"via": "proxy"}))) as proxy:
        settings = settings_for("http://crew.example", allow_http=True, proxy=proxy.url)
        assert body(one(caller, settings)) == b'{"via": "proxy"}'
    assert proxy.seen[0].target == "http://crew.example/inputs"


def test_a_ca_bundle_that_is_none_sent_nothing(caller: Caller, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("not a certificate")
    (error,) = caller(lambda: settings_for("https://127.0.0.1:1", ca_bundle=str(bundle)), exchange(START))
    assert isinstance(error, CrewConfigError)
    assert str(bundle) in str(error)


@pytest.mark.parametrize("value", [float("nan"), datetime.date(2026, 1, 1), {1, 2}, b"bytes"], ids=repr)
def test_inputs_that_json_cannot_hold_are_never_sent(caller: Caller, value: Any) -> None:
    request = Request("POST", "/kickoff", {"inputs": {"value": value}}, idempotent=False)
    with Scripted(always(says({}))) as server:
        assert isinstance(never_left(caller, settings_for(server.url), request), CrewConfigError)
    assert server.seen == []


def test_a_connection_that_cannot_be_read_is_the_error_itself(caller: Caller) -> None:
    def connect() -> Settings:
        raise CrewConfigError("no such connection")

    (error,) = caller(connect, exchange(START))
    assert str(error) == "no such connection"


# ---- TLS ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in the same file."""
    folder = tmp_path_factory.mktemp("tls")
    key, cert, both = (folder / name for name in ("key.pem", "cert.pem", "both.pem"))
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    return both


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def test_a_certificate_that_is_not_trusted_gets_no_token(caller: Caller, tls: ssl.SSLContext) -> None:
    with Scripted(always(says({})), tls) as server:
        never_left(caller, settings_for(server.url))
    assert server.seen == []


def test_a_ca_bundle_is_believed(caller: Caller, tls: ssl.SSLContext, certificate: Path) -> None:
    with Scripted(always(says({"a": 1})), tls) as server:
        assert body(one(caller, settings_for(server.url, ca_bundle=str(certificate), timeout=5))) == b'{"a": 1}'


def test_verification_can_be_switched_off(caller: Caller, tls: ssl.SSLContext) -> None:
    with Scripted(always(says({"a": 1})), tls) as server:
        assert body(one(caller, settings_for(server.url, verify=False, timeout=5))) == b'{"a": 1}'


# ---- connections and sessions ------------------------------------------------------------------------------


def test_questions_share_a_connection(caller: Caller) -> None:
    with Scripted(always(says({}))) as server:
        caller(lambda: settings_for(server.url), *[exchange(ASK) for _ in range(4)])
        assert (len(server.seen), server.connections) == (4, 1)


def test_a_stale_connection_does_not_turn_a_kickoff_into_one_that_may_have_started(caller: Caller) -> None:
    script = in_turn(then_close(says({"inputs": []})), says({"kickoff_id": "run-1"}))
    with Scripted(script) as server:
        _, kickoff_id = caller(
            lambda: settings_for(server.url), flows.get_inputs(5.0), flows.kickoff_awake(Kickoff(), 5.0)
        )
    assert kickoff_id == "run-1"
    assert [seen.method for seen in server.seen] == ["GET", "POST"]


def test_a_kickoff_gets_a_connection_of_its_own(caller: Caller) -> None:
    with Scripted(always(says({}))) as server:
        caller(lambda: settings_for(server.url), exchange(ASK), exchange(START), exchange(START))
    assert len({seen.connection for seen in server.seen}) == 3


def test_no_cookie_is_ever_sent_back(caller: Caller) -> None:
    with Scripted(always(answer(200, "{}", set_cookie="node=7; Path=/"))) as server:
        caller(lambda: settings_for(server.url), exchange(ASK), exchange(ASK))
    assert not any("cookie" in seen.headers for seen in server.seen)


def test_a_netrc_file_does_not_replace_the_token(
    caller: Caller, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login thief password stolen\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(netrc))
    with Scripted(always(says({}))) as server:
        one(caller, settings_for(server.url))
    assert server.seen[0].headers["authorization"] == f"Bearer {TOKEN}"


def test_a_proxy_of_the_environment_is_read_by_the_settings_alone(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{closed_port()}")
    assert isinstance(told(caller, says({})), Response)


def test_after_a_401_the_connection_is_read_again(caller: Caller) -> None:
    tokens = iter(["old", "new"])

    def script(seen: Seen) -> Behaviour:
        good = seen.headers["authorization"] == "Bearer new"
        return says({"kickoff_id": "run-1"}) if good else says({"detail": "Not authenticated"}, 401)

    with Scripted(script) as server:
        (kickoff_id,) = caller(
            lambda: read_settings("crew", host=server.url, password=next(tokens)), flows.kickoff_awake(Kickoff(), 5.0)
        )
    assert kickoff_id == "run-1"
    assert len(server.seen) == 2


def test_a_token_that_stays_denied_is_tried_twice(caller: Caller) -> None:
    with Scripted(always(says({"detail": "Not authenticated"}, 401))) as server:
        (error,) = caller(lambda: settings_for(server.url), flows.kickoff_awake(Kickoff(), 5.0))
    assert isinstance(error, CrewAuthError)
    assert len(server.seen) == 2


def test_a_connection_that_cannot_be_read_for_a_while_is_waited_for(caller: Caller) -> None:
    away = iter([CrewConnectionUnreadable("the secrets backend is away")] * 2)
    with Scripted(always(says({"state": "SUCCESS"}))) as server:

        def connect() -> Settings:
            for error in away:
                raise error
            return settings_for(server.url)

        assert waited(caller, connect).verdict is Verdict.SUCCEEDED


def test_a_connection_that_is_wrong_is_not_waited_for(caller: Caller) -> None:
    def connect() -> Settings:
        return read_settings("crew", host="https://crew.example", password="")

    ending = waited(caller, connect, seen_alive=True)
    assert (ending.verdict, type(ending.error)) == (Verdict.UNWATCHABLE, CrewConfigError)


def test_what_is_no_crew_is_not_waited_for_by_who_never_saw_one(caller: Caller) -> None:
    with Scripted(always(says({"detail": "Not Found"}, 404))) as server:
        ending = waited(caller, lambda: settings_for(server.url))
        assert (ending.verdict, len(server.seen)) == (Verdict.UNWATCHABLE, 2)


def waited(caller: Caller, connect: Callable[[], Settings], *, seen_alive: bool = False) -> Ending:
    watch = Watch("run-1", Patience(0.001, 0.002), started_at=0, seen_alive=seen_alive)
    (ending,) = caller(connect, flows.wait(watch, flows.Dialect(), lambda _seen, _now: None))
    assert isinstance(ending, Ending)
    return ending


# ---- the token stays where it belongs ------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [says, gzipped], ids=["plain", "gzip"])
def test_an_answer_arrives_as_it_came_with_the_secrets_that_no_word_may_hold(
    caller: Caller, pack: Callable[[object], Behaviour]
) -> None:
    response = told(caller, pack({"result": f"Bearer {TOKEN}"}))
    assert json.loads(body(response)) == {"result": f"Bearer {TOKEN}"}
    assert isinstance(response, Response)
    assert TOKEN in response.secrets
    assert TOKEN not in repr(response)


@pytest.mark.parametrize("behaviour", [echo, raw(TOKEN.encode() + b"\r\n\r\n"), cut(TOKEN.encode()), reset],
                         ids=["echo", "as an answer", "in a cut body", "reset"])  # fmt: skip
def test_no_error_holds_the_token(caller: Caller, behaviour: Behaviour) -> None:
    with Scripted(always(behaviour)) as server:
        (error,) = caller(lambda: settings_for(server.url), flows.kickoff_awake(Kickoff(), 5.0))
    assert isinstance(error, CrewError)
    seen: list[BaseException | None] = [error, error.__cause__, error.__context__]
    assert not any(TOKEN in f"{part!r} {part} {vars(part) if part else ''}" for part in seen)


PROXY_USER = "an%40user:pass^word!"
SPELT = ("an%40user", "an@user", "pass^word", "pass%5Eword", base64.b64encode(b"an@user:pass^word!").decode())
GATEWAY = {"X-Gateway-Key": "key/5e3c1a77-do-not-tell"}


def through(proxy: Scripted, url: str) -> Settings:
    """Settings that send all by a proxy that wants a password, to a gateway that wants a key."""
    given = proxy.url.replace("://", f"://{PROXY_USER}@")
    return settings_for(url, allow_http=True, proxy=given, headers=GATEWAY)


def test_a_proxy_that_refuses_its_password_does_not_bring_it_into_a_message(caller: Caller) -> None:
    with Scripted(always(answer(407, "Proxy Authentication Required"))) as proxy:
        error = never_left(caller, through(proxy, "https://crew.example"))
    assert SPELT[-1] in proxy.seen[0].headers["proxy-authorization"]
    seen: list[BaseException | None] = [error, error.__cause__, error.__context__]
    told = " ".join(f"{part!r} {part} {vars(part) if part else ''}" for part in seen)
    assert not [secret for secret in SPELT if secret in told]


@pytest.mark.parametrize("request_", [ASK, START], ids=["in an answer", "in an error"])
def test_the_proxys_password_and_a_gateways_key_are_known_in_the_forms_in_which_they_are_echoed(
    caller: Caller, request_: Request
) -> None:
    with Scripted(always(echo)) as proxy:
        response = one(caller, through(proxy, "http://crew.example"), request_)
    assert proxy.seen[0].headers["x-gateway-key"] == GATEWAY["X-Gateway-Key"]
    assert SPELT[-1] in proxy.seen[0].headers["proxy-authorization"]
    assert isinstance(response, Response)
    told = words.scrub(response.body.decode(), response.secrets)
    assert "x-gateway-key" in told
    assert not [secret for secret in (TOKEN, *SPELT, *GATEWAY.values()) if secret in told]


def test_a_secret_in_a_url_is_a_secret_and_a_word_in_a_header_is_none(caller: Caller) -> None:
    links = f"https://x.example/?key={quote(GATEWAY['X-Gateway-Key'], safe='')} by engineering"
    response = told(caller, answer(404, links), headers=GATEWAY | {"X-Team": "engineering"})
    assert isinstance(response, Response)
    assert str(read_error(response)) == "HTTP 404: https://x.example/?key=*** by engineering"


@pytest.mark.parametrize("proxy", ["http://proxy.example", "http://user@proxy.example", "http://:@proxy.example"])
def test_a_proxy_without_a_password_has_no_secret(proxy: str) -> None:
    assert settings_for("https://crew.example", proxy=proxy).secrets == (TOKEN,)


# ---- one session for all clients of a connection ---------------------------------------------------------------


def test_clients_of_one_connection_share_a_session_and_the_last_one_closes_it() -> None:
    with Scripted(always(says({"inputs": []}))) as server:
        asyncio.run(_share(server))
        assert server.connections == 2


async def _share(server: Scripted) -> None:
    async def connect() -> Settings:
        return settings_for(server.url, timeout=5)

    first, second = AsyncCrewClient(connect), AsyncCrewClient(connect)
    async with second:
        async with first:
            await first.get_inputs()
            await second.get_inputs()
        assert (await second.get_inputs()).names == ()
        assert server.connections == 1
    async with AsyncCrewClient(connect) as third:
        await third.get_inputs()


def test_clients_of_different_connections_share_nothing() -> None:
    with Scripted(always(says({"inputs": []}))) as server:
        asyncio.run(_apart(server))
        assert server.connections == 2


async def _apart(server: Scripted) -> None:
    async def connect(conn_id: str) -> Settings:
        return read_settings(conn_id, host=server.url, password=TOKEN)

    async with AsyncCrewClient(lambda: connect("a")) as one_client, AsyncCrewClient(lambda: connect("b")) as other:
        await one_client.get_inputs()
        await other.get_inputs()


def test_a_client_that_could_not_open_a_session_closes_all_the_same(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.pem"
    bundle.write_text("not a certificate")
    (error,) = CALLERS[1](lambda: settings_for("https://127.0.0.1:1", ca_bundle=str(bundle)), exchange(ASK))
    assert isinstance(error, CrewError)


def test_an_unused_client_closes_all_the_same(caller: Caller) -> None:
    assert caller(lambda: settings_for("https://crew.example")) == []


# ---- the fault proxy before a server -----------------------------------------------------------------------------


def test_a_fault_proxy_loses_what_it_was_told_to_lose(caller: Caller) -> None:
    with Scripted(always(says({"kickoff_id": "run-1"}))) as real:
        for fault, arrived in ((LOSE_ANSWER, 1), (LOSE_REQUEST, 0), (BAD_GATEWAY_AFTER, 1), (PASS, 1)):
            real.seen.clear()
            plan = Plan("POST /kickoff", [fault])
            with Scripted(faults(real.url, plan)) as proxy:
                (outcome,) = caller(lambda: settings_for(proxy.url, timeout=5), flows.kickoff_awake(Kickoff(), 5.0))
            assert isinstance(outcome, str if fault is PASS else CrewMayHaveStarted)
            assert (len(real.seen), len(plan.met)) == (arrived, 1)


def test_what_arrives_garbled_is_a_protocol_error_in_both_shells(caller: Caller) -> None:
    for behaviour in (answer(200, b"<html>"), answer(200, b'{"inp'), answer(200, b"[]"), answer(200, b"")):
        response = told(caller, behaviour)
        assert isinstance(response, Response)
        with pytest.raises(CrewProtocolError):
            read_inputs(response)
        with pytest.raises(CrewProtocolError):
            read_status("an-id", response)


def test_a_body_is_the_same_bytes_from_either_shell() -> None:
    kickoff = {"inputs": {"text": "ü\u2028\ud83d\ude00", "number": 1.5, "none": None, "list": [1, "2", True]}}
    request = Request("POST", "/kickoff", json.loads(json.dumps(kickoff)), idempotent=False)
    with Scripted(always(says({}))) as server:
        for caller in CALLERS:
            one(caller, settings_for(server.url), request)
    assert [seen.json for seen in server.seen] == [request.body, request.body]


def test_the_credentials_of_a_webhook_are_not_shown_where_the_deployment_repeats_them(caller: Caller) -> None:
    kickoff = Kickoff(human_input_webhook={"url": "https://me", "authentication": {"token": "hook-secret-1"}},
                      webhooks={"url": "https://me", "authentication": {"username": "me", "password": "hook/secret-2"}})  # fmt: skip
    refusal = says({"detail": {"input": ["hook-secret-1", "hook/secret-2"]}}, status=422)
    with Scripted(always(refusal)) as server:
        error = caller(lambda: settings_for(server.url), flows.kickoff(kickoff, 0.1))[0]
    assert isinstance(error, CrewError)
    assert "***" in str(error)
    assert "secret" not in str(error)
