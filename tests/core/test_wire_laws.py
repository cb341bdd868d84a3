"""Any bytes give a value or a `CrewError`, and what comes out can be stored."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import fields, is_dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import TEXTS, WILD_TEXTS, as_bytes, is_storable, json_values

from airflow_provider_crewai.client.messages import progress
from airflow_provider_crewai.wire import codec
from airflow_provider_crewai.wire.errors import CrewApiError, CrewConfigError, CrewError, CrewProtocolError
from airflow_provider_crewai.wire.model import Kickoff, Progress, Question, Response, Run, RunState

READERS: dict[str, Callable[[Response], Any]] = {
    "inputs": codec.read_inputs,
    "kickoff": codec.read_kickoff,
    "status": lambda response: codec.read_status("an-id", response),
    "resume": codec.read_resume,
    "stop": codec.read_stop,
}
KEYS = [
    "state",
    "status",
    "result",
    "result_json",
    "error",
    "error_message",
    "message",
    "detail",
    "details",
    "msg",
    "loc",
    "inputs",
    "name",
    "kickoff_id",
    "output",
    "tasks",
    "progress",
    "completed",
    "total",
    "completed_tasks",
    "total_tasks",
    "current",
    "current_agent",
    "current_task",
    "usage_metrics",
]
STATUSES = st.one_of(
    st.sampled_from([200, 200, 201, 204, 301, 400, 401, 402, 403, 404, 405, 408, 410, 422, 429, 500, 502, 503, 504]),
    st.integers(0, 1000),
)
HEADERS = st.dictionaries(st.sampled_from(["location", "retry-after", "content-type"]), WILD_TEXTS, max_size=2)
WORDS = [*codec._STATE_OF_WORD, "mystery"]  # noqa: SLF001 - the table of words is what is checked


def objects() -> st.SearchStrategy[Any]:
    """Bodies with the API's own keys and anything under them."""
    anything = json_values(st.one_of(WILD_TEXTS, st.sampled_from(WORDS)))
    keyed = st.dictionaries(st.sampled_from(KEYS), anything, max_size=5)
    return st.one_of(keyed, st.dictionaries(st.sampled_from(KEYS), keyed, max_size=5), anything)


def bodies() -> st.SearchStrategy[bytes]:
    encodings = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "latin-1"])
    return st.one_of(st.binary(max_size=60), st.builds(_encoded, objects(), encodings, st.booleans()))


def _encoded(value: object, encoding: str, escape: bool) -> bytes:
    return as_bytes(value, encoding=encoding, escape=escape or encoding == "latin-1")


def read(name: str, response: Response) -> object:
    try:
        return READERS[name](response)
    except CrewError as error:
        return error


def parts(value: object) -> list[object]:
    """Everything of a value that could end in a log, a database or an XCom."""
    if isinstance(value, CrewApiError):
        return [str(value), value.detail]
    if isinstance(value, CrewError):
        return [str(value)]
    if is_dataclass(value):
        inner = (getattr(value, field.name) for field in fields(value))
        return [part for item in inner for part in parts(item)]
    return [value]


@pytest.mark.parametrize("name", READERS)
@given(status=STATUSES, headers=HEADERS, body=bodies())
def test_any_answer_gives_a_storable_value_or_a_crew_error(
    name: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    value = read(name, Response(status, {}, body))
    assert is_storable(parts(value))
    assert isinstance(read(name, Response(status, headers, body)), type(value))


@given(body=bodies())
def test_any_200_about_a_run_is_a_run_or_a_broken_promise(body: bytes) -> None:
    assert isinstance(read("status", Response(200, {}, body)), Run | CrewProtocolError)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"state":"FAILED","status":' + b"[" * 900 + b"1" + b"]" * 900 + b"}",
        b'{"state":"SUCCESS","result":1e999,"usage_metrics":{"total_tokens":1' + b"0" * 400 + b"}}",
        b'{"state":"SUCCESS","result":' + b"9" * 5000 + b"}",
        b'{"state":"SUCCESS","result":NaN}',
        b'{"state":"SUCCESS","result":"\xed\xa0\x80"}',
        '{"state":"SUCCESS","result":"\\u0000\\ud800"}'.encode("utf-16"),
        b'{"detail":"' + b"<style>" * 20_000 + b'"}',
        b"<script>" * 20_000,
        b"nul \0 here",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_hostile_body_is_read_like_any_other(name: str, body: bytes) -> None:
    for status in (200, 404, 500):
        assert is_storable(parts(read(name, Response(status, {}, body))))


def spellings(word: str) -> st.SearchStrategy[str]:
    gaps = st.lists(st.sampled_from([" ", "_", "-", "  ", "_-"]), min_size=5, max_size=5)
    cases = st.sampled_from([str.lower, str.upper, str.title])
    return st.builds(lambda gaps, case: case(_respelt(word, gaps)), gaps, cases)


def _respelt(word: str, gaps: list[str]) -> str:
    pieces = word.split("_")
    return f" {pieces[0]}" + "".join(gap + piece for gap, piece in zip(gaps, pieces[1:], strict=False)) + " "


@given(st.sampled_from(sorted(codec._STATE_OF_WORD)).flatmap(lambda word: st.tuples(st.just(word), spellings(word))))  # noqa: SLF001
def test_every_spelling_of_a_state_is_that_state(case: tuple[str, str]) -> None:
    word, spelling = case
    assert codec.parse_state(spelling) is codec._STATE_OF_WORD[word]  # noqa: SLF001


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PENDING", RunState.PENDING), ("queued", RunState.PENDING), ("STARTED", RunState.RUNNING),
        ("RUNNING", RunState.RUNNING), ("PAUSED", RunState.PAUSED), ("awaiting_human_feedback", RunState.PAUSED),
        ("pending human input", RunState.PAUSED), ("SUCCESS", RunState.SUCCEEDED), ("completed", RunState.SUCCEEDED),
        ("complete", RunState.SUCCEEDED), ("FAILED", RunState.FAILED), ("FAILURE", RunState.FAILED),
        ("error", RunState.FAILED), ("REVOKED", RunState.STOPPED), ("NOT FOUND", RunState.NOT_FOUND),
        ("NOT_FOUND", RunState.NOT_FOUND),
    ],
)  # fmt: skip
def test_every_word_seen_in_the_wild_has_its_state(word: str, state: RunState) -> None:
    assert codec.parse_state(word) is state


@given(st.text(max_size=15))
def test_an_unknown_word_is_unknown_and_counts_as_alive(word: str) -> None:
    state = codec.parse_state(word)
    if re.sub(r"[\s_-]+", "_", word.strip().lower()) not in codec._STATE_OF_WORD:  # noqa: SLF001
        assert state is RunState.UNKNOWN
        assert state.is_alive


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"state": "FAILED", "status": "FAILED", "error": "no credit"}', "no credit"),
        (b'{"state": "FAILED", "status": "error", "result": "no credit"}', "no credit"),
        (b'{"state": "FAILED", "status": "Timeout"}', "Timeout"),
        (b'{"state": "FAILED", "status": "no credit", "error": "later"}', "no credit"),
    ],
)
def test_the_reason_of_a_failure_is_what_says_more_than_its_state(body: bytes, reason: str) -> None:
    assert codec.read_status("an-id", Response(200, {}, body)).error == reason


def test_state_is_believed_before_status() -> None:
    run = READERS["status"](Response(200, {}, b'{"state":"RUNNING","status":"completed"}'))
    assert run.state is RunState.RUNNING


def test_what_a_waiting_run_wants_to_be_told_is_read_where_a_server_says_it() -> None:
    body = b'{"state":"PAUSED","human_input":{"task_id":"4f1c","message":"Is it good?","output":"A draft"}}'
    run = READERS["status"](Response(200, {}, body))
    assert progress(run) == "waiting for a human: Is it good? (task 4f1c)"
    assert run.question == Question("4f1c", "Is it good?", "A draft")


@pytest.mark.parametrize("said", [b"null", b"[]", b'{"message":"no id"}', b'{"task_id":""}'])
def test_a_waiting_run_that_says_nothing_waits_all_the_same(said: bytes) -> None:
    run = READERS["status"](Response(200, {}, b'{"state":"PAUSED","human_input":' + said + b"}"))
    assert (run.question, progress(run)) == (None, "waiting for a human")


def test_the_last_crew_tasks_output_is_never_the_result() -> None:
    run = READERS["status"](Response(200, {}, b'{"state":"RUNNING","last_executed_task":{"output":"half"}}'))
    assert run.answer is None


@given(json_values(), json_values())
def test_an_answer_keeps_its_json_types(result: Any, result_json: Any) -> None:
    body = as_bytes({"state": "SUCCESS", "result": result, "result_json": result_json})
    run = READERS["status"](Response(200, {}, body))
    wrapped = isinstance(result, dict) and "output" in result and result.keys() <= {"output", "tasks"}
    assert run.result == (result["output"] if wrapped else result)
    assert run.answer == (run.result if result_json is None else result_json)


@given(st.dictionaries(TEXTS, json_values(), max_size=5))
def test_inputs_keep_their_json_types(inputs: dict[str, Any]) -> None:
    assert repr(codec.kickoff_request(Kickoff(inputs)).body) == repr({"inputs": inputs})


@given(st.dictionaries(WILD_TEXTS, json_values(WILD_TEXTS), max_size=5))
def test_inputs_that_nothing_can_store_are_not_sent(inputs: dict[str, Any]) -> None:
    with nullcontext() if is_storable(inputs) else pytest.raises(CrewConfigError):
        codec.kickoff_request(Kickoff(inputs))


@given(st.text(min_size=1, max_size=20))
def test_an_id_is_quoted_into_one_path_segment_or_refused(kickoff_id: str) -> None:
    try:
        path = codec.status_request(kickoff_id).path
    except CrewConfigError:
        assert not kickoff_id.isprintable() or not kickoff_id.strip(".")
        return
    segment = path.removeprefix("/status/")
    assert re.fullmatch(r"([A-Za-z0-9_.~-]|%[0-9A-F]{2})+", segment)
    assert segment.strip(".")


@pytest.mark.parametrize("kickoff_id", ["", ".", "..", "...", "a\nb", "a\0b", "\ud800", "\x7f"])
@pytest.mark.parametrize("write", [codec.status_request, codec.stop_request])
def test_what_is_no_id_is_refused_before_it_is_sent(kickoff_id: str, write: Callable[[str], object]) -> None:
    with pytest.raises(CrewConfigError, match="Nothing was sent"):
        write(kickoff_id)


@pytest.mark.parametrize("answer", ['""', '"."', '".."', "null", "true", "[]", "{}", '"a\\nb"', '"\\u0000"'])
def test_a_kickoff_without_a_usable_id_breaks_the_promise(answer: str) -> None:
    response = Response(200, {}, f'{{"kickoff_id": {answer}}}'.encode())
    with pytest.raises(CrewProtocolError, match="kickoff_id"):
        codec.read_kickoff(response)


@pytest.mark.parametrize("body", [b'{"detail":"Not Found"}', b"<html>404</html>", b"", b"[]"])
def test_a_404_that_is_not_about_a_run_says_that_the_path_is_unknown(body: bytes) -> None:
    assert type(read("status", Response(404, {}, body))).__name__ == "CrewNotFound"


@pytest.mark.parametrize(
    "said",
    [
        "Monthly execution limit reached",
        "You have exceeded your quota",
        "Usage limit exceeded for this plan",
        "You have reached the limit of 50 executions",
    ],
)
@pytest.mark.parametrize("status", [402, 403, 422, 429])
def test_a_spent_plan_is_recognised_by_the_servers_words(status: int, said: str) -> None:
    error = read("kickoff", Response(status, {}, as_bytes({"detail": said})))
    assert type(error).__name__ == "CrewQuotaError"


def test_a_missing_input_named_quota_is_no_spent_plan() -> None:
    error = read("kickoff", Response(422, {}, b'{"detail":"Missing inputs: quota, limit"}'))
    assert type(error).__name__ == "CrewInputError"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_an_error_that_names_its_target(status: int) -> None:
    error = read("kickoff", Response(status, {"location": "https://elsewhere.example"}))
    assert isinstance(error, CrewApiError)
    assert "https://elsewhere.example" in str(error)


@given(json_values())
def test_progress_and_usage_are_read_from_anything(value: Any) -> None:
    run = READERS["status"](
        Response(200, {}, as_bytes({"state": "RUNNING", "progress": value, "usage_metrics": value}))
    )
    assert run.progress is None or isinstance(run.progress, Progress)
    assert all(isinstance(count, int) for count in run.usage.values())
    assert isinstance(str(run.progress), str)
