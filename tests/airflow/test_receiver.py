"""Calls of a deployment: Airflow's own api-server takes them, and the task finds what they brought."""

from __future__ import annotations

import hmac
import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from airflow.utils.session import create_session
from api_server import Api
from sqlalchemy import text

from airflow_provider_crewai.in_airflow import mailbox, signed_urls
from airflow_provider_crewai.in_airflow.compat import TaskStateInDatabase, xcom_in_database
from airflow_provider_crewai.in_airflow.config import configured
from airflow_provider_crewai.in_airflow.xcom import CALLS_HOME, CREW_QUESTION

SENT = 1_767_614_401.25
CALL = {"kickoff_id": "run-1", "execution_id": "run-1", "task_id": "q-1", "task_output": "# Draft\n\n*tides*"}
EVENTS = {"events": [{"id": "e", "execution_id": "run-1", "type": "crew_kickoff_started", "data": {}}]}
RECORD = {"kickoff_id": "run-1", "at": SENT, "try_number": 1}


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__CREWAI__WEBHOOK_BASE_URL", "https://airflow.example.com/")
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "shared by all processes of this Airflow")
    configured.cache_clear()
    yield
    configured.cache_clear()


def instance(api: Api, state: str | None = "deferred", **more: Any) -> SimpleNamespace:
    """Put a task instance into the database; return its names, as a task knows itself."""
    api.task(state, **more)
    return SimpleNamespace(
        dag_id="d", run_id="r", task_id=api.made[-1], map_index=more.get("map_index", -1), try_number=1
    )


def url(ti: Any, purpose: Any = "question", sent: float = SENT, deadline: float | None = None) -> str:
    signed = signed_urls.signed(ti, purpose, sent, deadline or time.time() + 60)
    assert signed is not None
    return signed


def post(api: Api, to: str, call: Any = CALL, **headers: Any) -> httpx.Response:
    body = call if isinstance(call, bytes) else json.dumps(call).encode()
    given = {"content-type": "application/json"} | headers
    return httpx.post(api.url + urlsplit(to).path, content=body, headers=given, trust_env=False, timeout=30)


def in_xcom(ti: Any, key: str = CREW_QUESTION) -> Any:
    with create_session() as session:
        return xcom_in_database(ti, key, session)


def beside_the_record(ti: Any, key: str) -> Any:
    with create_session() as session:
        return TaskStateInDatabase(ti, session).get(key)


def bearer_of(to: str) -> str:
    return f"Bearer {signed_urls.bearer(to.rpartition('/')[2])}"


@pytest.mark.parametrize("map_index", [-1, 2])
@pytest.mark.parametrize("record", [None, RECORD, RECORD | {"kickoff_id": None}])
def test_a_question_lies_where_the_trigger_and_a_retry_find_it(
    api: Api, map_index: int, record: dict[str, Any] | None
) -> None:
    ti = instance(api, map_index=map_index, record=record)
    assert post(api, url(ti)).json() == {"status": "kept"}
    for kept in (in_xcom(ti), beside_the_record(ti, CREW_QUESTION)):
        (entry,) = kept
        assert {"kickoff_id": "run-1", "task_id": "q-1", "output": "# Draft\n\n*tides*"}.items() <= entry.items()


def test_a_call_that_is_delivered_again_changes_nothing(api: Api) -> None:
    ti = instance(api, record=RECORD)
    for _ in range(3):
        assert post(api, url(ti)).status_code == 200
    assert len(in_xcom(ti)) == len(beside_the_record(ti, CREW_QUESTION)) == 1


def test_calls_at_the_same_moment_lose_no_question(api: Api) -> None:
    ti = instance(api, record=RECORD)
    callers = [
        threading.Thread(target=post, args=(api, url(ti), CALL | {"task_id": f"q-{number % 6}"}))
        for number in range(12)
    ]
    for each in callers:
        each.start()
    for each in callers:
        each.join()
    assert sorted(entry["task_id"] for entry in in_xcom(ti)) == [f"q-{number}" for number in range(6)]


def test_of_many_questions_the_newest_are_kept(api: Api) -> None:
    ti = instance(api, record=RECORD)
    for number in range(mailbox.MOST_ENTRIES + 2):
        post(api, url(ti), CALL | {"task_id": f"q-{number}"})
    kept = [entry["task_id"] for entry in in_xcom(ti)]
    assert kept == [f"q-{number}" for number in range(2, mailbox.MOST_ENTRIES + 2)]


def test_a_later_round_belongs_to_the_run_whatever_id_the_service_gives_it(api: Api) -> None:
    ti = instance(api, record=RECORD)
    assert post(api, url(ti), CALL | {"kickoff_id": "new", "execution_id": "new", "task_id": "q-2"}).is_success
    assert in_xcom(ti)[0]["kickoff_id"] == "run-1"


@pytest.mark.parametrize("name", ["dag_id", "run_id", "task_id", "map_index", "try_number"])
def test_a_forged_url_is_refused_before_the_body_is_read(api: Api, name: str) -> None:
    ti = instance(api, record=RECORD)
    base, _, token = url(ti).rpartition("/")
    mine, _, signature = token.partition(".")
    changed = SimpleNamespace(**vars(ti))
    setattr(changed, name, 3 if isinstance(getattr(ti, name), int) else "other")
    theirs = url(changed).rpartition("/")[2].partition(".")[0]
    assert theirs != mine
    refused = post(api, f"{base}/{theirs}.{signature}", b"not even JSON")
    assert refused.status_code == 403
    assert in_xcom(ti) is None


@pytest.mark.parametrize("token", ["x", "x.y", "...", "%00.%ff", "a" * 20_000, "e30.e30"])
def test_what_was_never_signed_is_refused(api: Api, token: str) -> None:
    assert post(api, f"{signed_urls.PATH}/{token}").status_code == 403


def test_a_url_that_another_airflow_signed_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    ti = instance(api, record=RECORD)
    theirs = url(ti)
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "the secret of another Airflow")
    assert post(api, theirs).status_code == 403


def test_without_a_secret_that_is_shared_nothing_is_signed_and_nothing_is_taken(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    ti = instance(api, record=RECORD)
    before = url(ti)
    monkeypatch.delenv("AIRFLOW__API__SECRET_KEY")
    assert signed_urls.signed(ti, "question", SENT, None) is None
    assert "secret_key" in (signed_urls.why_none() or "")
    assert post(api, before).status_code == 403


def test_an_expired_url_is_refused(api: Api) -> None:
    ti = instance(api, record=RECORD)
    expired = url(ti, deadline=time.time() - signed_urls.GRACE - 1)
    assert post(api, expired).status_code == 410
    assert in_xcom(ti) is None


def test_a_url_of_one_purpose_does_nothing_else(api: Api) -> None:
    ti = instance(api, record=RECORD)
    assert post(api, url(ti), EVENTS).status_code == 400
    assert post(api, url(ti, "task"), CALL).status_code == 200
    assert in_xcom(ti) is None
    assert in_xcom(ti, CALLS_HOME)[0]["kickoff_id"] == "run-1"


@pytest.mark.parametrize("purpose", ["question", "events", "task"])
def test_a_wrong_bearer_is_refused_and_the_right_one_is_not(api: Api, purpose: str) -> None:
    ti = instance(api, record=RECORD)
    to, call = url(ti, purpose), EVENTS if purpose == "events" else CALL
    for wrong in ("Bearer x", "", "Basic eDp5", bearer_of(url(ti, "task", 1.0))):
        assert post(api, to, call, authorization=wrong).status_code == 401
    assert post(api, to, call).status_code == (401 if purpose == "events" else 200)
    assert post(api, to, call, authorization=bearer_of(to)).status_code == 200


def test_the_first_call_that_names_a_run_counts(api: Api) -> None:
    ti = instance(api, "running", record=RECORD | {"kickoff_id": None})
    to = url(ti, "events")
    for named in ("run-1", "run-2"):
        call = {"events": [{"type": "x"}, {"execution_id": named, "type": "crew_kickoff_started"}]}
        assert post(api, to, call, authorization=bearer_of(to)).status_code == 200
    (entry,) = beside_the_record(ti, CALLS_HOME)
    assert (entry["kickoff_id"], entry["kickoff_sent_at"], entry["try_number"]) == ("run-1", SENT, 1)


@pytest.mark.parametrize("state", ["failed", "success", None, "up_for_retry", "queued", "scheduled"])
def test_a_call_that_names_a_run_is_kept_in_each_state_of_its_task(api: Api, state: str | None) -> None:
    ti = instance(api, state)
    assert post(api, url(ti, "task")).status_code == 200
    assert beside_the_record(ti, CALLS_HOME)


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "upstream_failed", "removed"])
def test_a_question_to_a_task_that_is_over_is_refused(api: Api, state: str) -> None:
    ti = instance(api, state, record=RECORD)
    assert post(api, url(ti)).status_code == 409
    assert in_xcom(ti) is None


def test_a_question_of_another_kickoff_is_refused(api: Api) -> None:
    ti = instance(api, record=RECORD)
    assert post(api, url(ti, sent=SENT - 60)).status_code == 409
    assert in_xcom(ti) is None


def test_a_call_for_a_task_that_is_gone_is_refused(api: Api) -> None:
    gone = SimpleNamespace(dag_id="d", run_id="r", task_id="gone", map_index=-1, try_number=1)
    for purpose in ("question", "task"):
        assert post(api, url(gone, purpose)).status_code == 409


@pytest.mark.parametrize(
    "body",
    [
        b"", b"no JSON", b"[]", b"null", b"5", b"{}", b"\xff\xfe", b'{"kickoff_id": "run-1"}', b'{"task_id": "q-1"}',
        b'{"kickoff_id": {}, "task_id": []}', b'{"kickoff_id": "a\\nb", "task_id": "q"}', b"[" * 100_000,
        b'{"a":' * 90_000, b'{"kickoff_id": "..", "task_id": "q"}', b'{"kickoff_id": 5, "task_id": "q"}',
    ],
)  # fmt: skip
def test_a_malformed_call_is_refused(api: Api, body: bytes) -> None:
    ti = instance(api, record=RECORD)
    assert post(api, url(ti), body).status_code == 400
    to = url(ti, "events")
    assert post(api, to, body, authorization=bearer_of(to)).status_code == (200 if b'"run-1"' in body else 400)
    assert in_xcom(ti) is None


def test_another_content_type_is_refused(api: Api) -> None:
    ti = instance(api, record=RECORD)
    for kind in ("text/plain", "", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
        assert post(api, url(ti), **{"content-type": kind}).status_code == 415
    assert post(api, url(ti), **{"content-type": "Application/JSON; charset=utf-8"}).status_code == 200


def test_too_long_a_call_is_refused_before_it_has_been_read(api: Api) -> None:
    ti = instance(api, record=RECORD)
    parts = urlsplit(api.url)
    path = urlsplit(url(ti)).path
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 999999999\r\n\r\n"
        connection.sendall(head.encode() + b"{" * 4096)
        assert connection.recv(64).startswith(b"HTTP/1.1 413 ")


def test_a_call_that_does_not_say_how_long_it_is_is_read_no_further_than_the_limit(api: Api) -> None:
    ti = instance(api, record=RECORD)
    endless = (b"x" * 65_536 for _ in range(64))
    refused = httpx.post(
        api.url + urlsplit(url(ti)).path,
        content=endless,
        headers={"content-type": "application/json"},
        trust_env=False,
        timeout=30,
    )
    assert refused.status_code == 413


def test_a_call_that_stops_in_the_middle_is_given_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_crewai.in_airflow.api_server.pages import pages
    from airflow_provider_crewai.in_airflow.api_server.receiver import patience

    monkeypatch.setitem(pages.dependency_overrides, patience, lambda: 0.2)
    ti = instance(api, record=RECORD)
    parts = urlsplit(api.url)
    path = urlsplit(url(ti)).path
    with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=20) as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{"
        connection.sendall(head.encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 408 ")


def test_what_a_crew_writes_is_in_no_answer_and_no_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    ti = instance(api, record=RECORD)
    hostile = CALL | {
        "task_output": "hunter2\x00\ud800\x1b[2J",
        "message": "hunter2\r\n::group::",
        "meta": {"a": "hunter2"},
    }
    with caplog.at_level(logging.DEBUG):
        answers = [
            post(api, url(ti), hostile),
            post(api, url(ti), json.dumps(hostile)[:-1].encode()),
            post(api, url(ti, sent=1.0), hostile),
            post(api, url(ti), hostile, authorization="Bearer hunter2"),
            post(api, f"{signed_urls.PATH}/hunter2", hostile, **{"x-signature": "hunter2"}),
        ]
    assert [answer.status_code for answer in answers] == [200, 400, 409, 401, 403]
    assert not any("hunter2" in answer.text for answer in answers)
    ours = [record for record in caplog.records if record.name.startswith("airflow_provider_crewai")]
    assert len(ours) == 4
    assert not any("hunter2" in record.getMessage() for record in ours)
    (entry,) = in_xcom(ti)
    assert entry["output"] == "hunter2\ufffd\ufffd"
    assert entry["message"] == "hunter2 : :group::"


def test_each_call_is_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.providers.common.compat.sdk import Stats

    counted: list[str] = []
    monkeypatch.setattr(Stats, "incr", lambda name, *_, **__: counted.append(name), raising=False)
    ti = instance(api, record=RECORD)
    for call in (CALL, CALL, b"x"):
        post(api, url(ti), call)
    post(api, f"{signed_urls.PATH}/x")
    assert [name for name in counted if name.startswith("crewai.calls")] == [
        "crewai.calls.kept", "crewai.calls.known", "crewai.calls.refused", "crewai.calls.refused",
    ]  # fmt: skip


def test_only_a_post_is_taken_and_nothing_redirects(api: Api) -> None:
    path = urlsplit(url(instance(api))).path
    for method in ("GET", "PUT", "DELETE", "HEAD", "OPTIONS"):
        assert httpx.request(method, api.url + path, trust_env=False).status_code == 405
    assert post(api, f"{path}/").status_code == 404


def test_logs_of_airflow_mask_a_signed_url(api: Api) -> None:
    from airflow._shared.logging.structlog import JWT_PATTERN

    token = url(instance(api)).rpartition("/")[2]
    assert JWT_PATTERN.fullmatch(token)


def test_a_database_that_fails_is_told_apart_from_a_refusal(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    called = url(instance(api))
    with create_session() as session:
        session.execute(text("ALTER TABLE xcom RENAME TO hunter2"))
    try:
        answer = post(api, called)
    finally:
        with create_session() as session:
            session.execute(text("ALTER TABLE hunter2 RENAME TO xcom"))
    assert answer.status_code == 503
    assert "no such table" not in answer.text + caplog.text
    assert post(api, called).status_code == 200


def test_a_path_that_keeps_records_keeps_calls_too(api: Api, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CREWAI__LEDGER_PATH", f"file://{tmp_path}/ledger")
    ti = instance(api)
    assert post(api, url(ti)).status_code == 200
    (file,) = tmp_path.rglob(f"*.{CREW_QUESTION}.json")
    assert json.loads(file.read_text()) == in_xcom(ti) == beside_the_record(ti, CREW_QUESTION)


def test_a_path_that_cannot_be_written_loses_no_call(api: Api, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AIRFLOW__CREWAI__LEDGER_PATH", f"file://{tmp_path}/file/ledger")
    ti = instance(api)
    assert post(api, url(ti)).status_code == 200
    assert in_xcom(ti) == beside_the_record(ti, CREW_QUESTION)


SECOND = "second"
REQUEST = {
    "event": "new_request",
    "request": {
        "id": "q-7",
        "flow_id": "flow-1",
        "message": "Publish?",
        "emit_options": ["approved", "rejected", "revise"],
        "output": "# Draft",
    },
    "callback_url": "https://api.crewai.example/answers/q-7",
}


@pytest.fixture
def flows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__CREWAI__FLOW_WEBHOOK_SECRET", "another-one's   second")
    configured.cache_clear()


def from_flow(
    api: Api, call: Any = REQUEST, *, secret: str = SECOND, at: float | None = None, **headers: Any
) -> httpx.Response:
    body = call if isinstance(call, bytes) else json.dumps(call).encode()
    timestamp = str(int(time.time() if at is None else at))
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hexdigest()
    signed = {"x-signature": f"sha256={digest}", "x-timestamp": timestamp}
    return post(api, f"{signed_urls.PATH}/flows", body, **(signed | headers))


def of_flow(run: str) -> dict[str, Any]:
    return {**REQUEST, "request": {**REQUEST["request"], "flow_id": run}}  # type: ignore[dict-item]  # an object


@pytest.mark.usefixtures("flows")
@pytest.mark.parametrize("secret", ["another-one's", "second"])
def test_a_flows_question_is_brought_to_each_task_that_waits_for_its_run(api: Api, secret: str) -> None:
    run = f"flow of {secret}"
    operator = instance(api, "deferred", xcoms={"kickoff_id": run})
    sensor = instance(api, "running", xcoms={"crew_run": {"kickoff_id": run, "said": []}}, map_index=1)
    others = [
        instance(api, "success", xcoms={"kickoff_id": run}),
        instance(api, "deferred", xcoms={"kickoff_id": "another"}),
        instance(api, "deferred", xcoms={"return_value": run}),
    ]
    assert from_flow(api, of_flow(run), secret=secret).status_code == 200
    for ti in (operator, sensor):
        (entry,) = in_xcom(ti)
        assert entry["kickoff_id"] == entry["flow_id"] == run
        assert entry["options"] == ["approved", "rejected", "revise"]
        assert entry["callback_url"] == "https://api.crewai.example/answers/q-7"
    assert [in_xcom(ti) for ti in others] == [None, None, None]
    assert from_flow(api, of_flow(run), secret=secret).json() == {"status": "kept"}
    assert len(in_xcom(operator)) == 1


@pytest.mark.usefixtures("flows")
@pytest.mark.parametrize(
    ("how", "status"),
    [
        ({"secret": "second "}, 403), ({"secret": ""}, 403), ({"at": 1.0}, 403), ({"at": time.time() + 9_999}, 403),
        ({"x-timestamp": ""}, 403), ({"x-timestamp": "1e9"}, 403), ({"x-timestamp": "9" * 5000}, 403),
        ({"x-signature": ""}, 403), ({"x-signature": b"sha256=\xe9"}, 403), ({"content-type": "text/plain"}, 415),
        ({"call": b"no JSON"}, 400), ({"call": {**REQUEST, "event": "other"}}, 400), ({"call": {**REQUEST, "request": 5}}, 400),
        ({"call": {**REQUEST, "request": {}}}, 400), ({"call": b"[" * 2_000_000}, 413),
        ({"call": {**REQUEST, "request": {"flow_id": "nobody's"}}}, 409),
    ],
)  # fmt: skip
def test_a_flows_call_that_is_not_signed_now_or_is_none_is_refused(api: Api, how: dict[str, Any], status: int) -> None:
    ti = instance(api, xcoms={"kickoff_id": "flow-1"})
    assert from_flow(api, **how).status_code == status
    assert in_xcom(ti) is None


def test_without_a_secret_no_flow_may_call(api: Api) -> None:
    instance(api, xcoms={"kickoff_id": "flow-1"})
    for secret in ("", "second"):
        assert from_flow(api, secret=secret).status_code == 403


@pytest.mark.usefixtures("flows")
@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "file:///etc/passwd", "https://x y", 5, None, "https://" + "a" * 3000]
)
def test_an_answer_is_sent_to_the_web_alone(api: Api, url: Any) -> None:
    run = f"flow at {url}"[:40]
    ti = instance(api, xcoms={"kickoff_id": run})
    assert from_flow(api, {**of_flow(run), "callback_url": url}).status_code == 200
    assert in_xcom(ti)[0]["callback_url"] is None


def test_a_flow_may_ask_at_a_signed_url_too_but_names_no_address_for_the_answer(api: Api) -> None:
    ti = instance(api, record=RECORD)
    assert post(api, url(ti), REQUEST).status_code == 200
    (entry,) = in_xcom(ti)
    assert (entry["kickoff_id"], entry["flow_id"], entry["callback_url"]) == ("run-1", "flow-1", None)


def test_a_question_reaches_the_sensor_that_waits_for_the_run_of_a_task_that_is_over(api: Api) -> None:
    ti = instance(api, "success", record=RECORD | {"kickoff_id": "run-s"})
    sensor = instance(api, "deferred", xcoms={"crew_run": {"kickoff_id": "run-s"}})
    assert post(api, url(ti), CALL | {"kickoff_id": "run-s", "execution_id": "run-s"}).status_code == 200
    assert in_xcom(ti) is None
    assert in_xcom(sensor)[0]["task_id"] == "q-1"
