"""No answer is too deep, too long or too odd to be read, none takes long, and little of it is kept."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import as_bytes, json_values

from airflow_provider_crewai.client.shell import LOOK_BODY
from airflow_provider_crewai.client.watch import Again, Patience, Watch
from airflow_provider_crewai.wire import body, codec
from airflow_provider_crewai.wire.errors import CrewAnswerTooLarge, CrewError, CrewNotACrew, CrewProtocolError
from airflow_provider_crewai.wire.model import JSON, Response, Run, RunState

DEEP = "[" * 90_000 + "]" * 90_000
NESTED = '{"a":' * 300 + "1" + "}" * 300


def status(text: str | bytes, *, whole: bool = True) -> Run:
    sent = text if isinstance(text, bytes) else text.encode()
    return codec.read_status("run-1", Response(200, {}, sent, whole=whole))


# ---- whatever is answered, the state is read, and an answer is JSON or its text ------------------------------


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        (f'"result":"A text.","result_json":{DEEP}', DEEP),
        (f'"result":{DEEP}', DEEP),
        (f'"result":{NESTED}', NESTED),
        ('"result":{"n":' + "9" * 5_000 + "}", {"n": "9" * 5_000}),
        ('"result":[1e999,-1e999,NaN,Infinity]', ["1e999", "-1e999", "NaN", "Infinity"]),
        ('"result":[1.5,12345678901234567890123,-0.0]', [1.5, 12345678901234567890123, -0.0]),
        ('"result":"first","result":"second"', "second"),
        ('"result":"a line\nbreak as it is"', "a line\nbreak as it is"),
        (f'"x":{DEEP},"result":"after it"', "after it"),
        (f'"x":{DEEP},"result":"a \\"{{[ ]}}\\\\"', 'a "{[ ]}\\'),
    ],
    ids=lambda each: str(each)[:40],
)  # fmt: skip
def test_a_run_that_succeeded_has_succeeded_whatever_it_answered(said: str, answer: JSON) -> None:
    for text in (f'{{"state":"SUCCESS",{said}}}', f'{{{said},"state":"SUCCESS"}}'):
        run = status(text)
        assert (run.state, run.answer) == (RunState.SUCCEEDED, answer)
        assert type(run.answer) is type(answer)
        assert [remark[:9] for remark in run.remarks] == (["is nested"] if answer in (DEEP, NESTED) else [])


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_deep_answer_is_read_in_any_encoding(encoding: str) -> None:
    text = f'{{"state": "SUCCESS", "result": "né", "deep": {DEEP}}}'
    run = status(text.encode(encoding))
    assert (run.state, run.answer) == (RunState.SUCCEEDED, "né")


@given(json_values(), json_values())
def test_what_is_deep_does_not_alter_what_is_not(result: Any, progress: Any) -> None:
    value = {"state": "SUCCESS", "result_json": result, "progress": progress}
    plain = as_bytes(value)
    beside = plain[:-1] + b', "deep": ' + DEEP.encode() + b"}"
    assert status(beside) == status(plain)


def test_characters_that_no_database_can_hold_are_replaced_and_told_of() -> None:
    run = status('{"state":"SUCCESS","result_json":{"k\\u0000":["a\\ud800b","\\ud83d\\ude00"]}}')
    assert run.answer == {"k\ufffd": ["a\ufffdb", "😀"]}
    assert [remark.partition(";")[0] for remark in run.remarks] == ["holds characters that no database can hold"]
    assert status('{"state":"SUCCESS","result":"plain \\ufffd"}').remarks == ()


@pytest.mark.parametrize(("encoding", "garbled"), [("latin-1", True), ("utf-8", False), ("utf-16", False)])
def test_an_answer_that_is_not_in_utf_8_is_told_of(encoding: str, garbled: bool) -> None:
    run = status('{"state":"SUCCESS","result":"Caf\u00e9"}'.encode(encoding))
    assert run.answer == ("Caf\ufffd" if garbled else "Caf\u00e9")
    assert [remark.partition(";")[0] for remark in run.remarks] == (["is not in UTF-8"] if garbled else [])


@pytest.mark.parametrize("token", ["tok/9f2b+6c=", "plain-token-1234"])
def test_an_answer_is_as_it_came_and_it_is_told_that_it_holds_the_token(token: str) -> None:
    for result in (f"Echo {token}", {"echo": [token]}, {token: 1}, json.dumps({"t": token})):
        said = json.dumps({"state": "SUCCESS", "result": result}).replace("/", "\\/").encode()
        run = codec.read_status("run-1", Response(200, {}, said, (token,)))
        assert run.answer == result
        assert [remark.partition(".")[0] for remark in run.remarks] == ["holds a secret of the connection"]


# ---- answers that no crew gives ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "said",
    ["<html><body>Welcome</body></html>", "OK", "", "[]", "null", '"ok"', "42", "{}", '{"message":"hello"}',
     '{"status":"ok"}', '{"status":"healthy","version":"1.2"}', '{"error":"no such route"}', DEEP],
    ids=lambda said: said[:30],
)  # fmt: skip
def test_a_200_that_no_crew_gives_is_told_as_no_crews(said: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        with pytest.raises(CrewNotACrew):
            status(said.encode(encoding))
        with pytest.raises(CrewNotACrew):
            codec.read_inputs(Response(200, {}, said.encode(encoding)))


@pytest.mark.parametrize("said", ['{"state": "SUCC', '{"state"', "{", f'{{"state":"SUCCESS","x":{DEEP}'])
def test_an_answer_that_breaks_off_is_not_told_as_no_crews(said: str) -> None:
    with pytest.raises(CrewProtocolError) as caught:
        status(said)
    assert type(caught.value) is CrewProtocolError


@pytest.mark.parametrize("word", ["HIBERNATING", "ok"])
def test_an_unknown_state_of_a_run_counts_as_running(word: str) -> None:
    assert status(json.dumps({"state": word})).state is RunState.UNKNOWN
    assert status(json.dumps({"status": word, "progress": None})).state is RunState.UNKNOWN


# ---- the beginning of a long answer --------------------------------------------------------------------------


def test_the_state_is_read_from_the_beginning_and_no_answer_is() -> None:
    run = status('{"state": "SUCCESS", "status": null, "result": "the begi', whole=False)
    assert (run.state, run.answer, run.text) == (RunState.SUCCEEDED, None, None)
    run = status('{"state":"SUCCESS","result":"short","result_json":[1,2', whole=False)
    assert (run.state, run.answer) == (RunState.SUCCEEDED, None)


def test_progress_is_read_from_the_beginning_where_it_stands_there() -> None:
    run = status(
        '{"state":"RUNNING","progress":{"completed":1,"total":2,"current":"write"},"events":[{"a":', whole=False
    )
    assert str(run.progress) == "1 of 2 done, now write"


@pytest.mark.parametrize(
    "said",
    [
        '{"events":[{"state":"SUCCESS"},',
        '{"last_step":{"state":"SUCCESS","status":"completed"},"x":"',
        '{"note":"\\"state\\":\\"SUCCESS\\",","x":"',
        '{"note":{"a":"}","state":"SUCCESS"},"x":',
        '{"state":"SUCC',
        '{"state":',
        '{"stat',
        '{"a":1,"b":"',
        '["state","SUCCESS",',
        '"state',
        "<html>",
        "",
        '{"x":"' + "y" * 300_000 + '","state":"SUCCESS"',
    ],
    ids=lambda said: said[:50],
)
def test_a_beginning_without_the_runs_own_state_is_too_large(said: str) -> None:
    with pytest.raises(CrewAnswerTooLarge):
        status(said, whole=False)


@given(st.dictionaries(st.text(max_size=4), json_values(), max_size=5), st.integers(0, 300))
def test_any_beginning_tells_the_state_of_the_whole_or_that_it_is_too_large(others: Any, cut: int) -> None:
    whole = as_bytes({**others, "state": "RUNNING", "status": "Task is Running"})
    try:
        assert status(whole[:cut], whole=False).state is RunState.RUNNING
    except CrewAnswerTooLarge:
        assert cut < len(whole)
    except CrewNotACrew:
        pytest.fail("a beginning says nothing about whose it is")


# ---- how long it takes, and what is kept ---------------------------------------------------------------------


def repeated(part: str, before: str, after: str) -> str:
    return before + part * ((LOOK_BODY - len(before) - len(after)) // len(part)) + after


HOSTILE = {
    "brackets": '{"state":"RUNNING","x":' + "[" * 130_000 + "]" * 130_000 + "}",
    "brackets that never close": repeated("[", '{"state":"RUNNING","x":', ""),
    "empty objects": repeated("{},", '{"state":"RUNNING","x":[', "1]}"),
    "nested pairs": repeated("[[]],", '{"state":"RUNNING","x":[', "1]}"),
    "empty texts": repeated('"",', '{"state":"RUNNING","x":[', "1]}"),
    "escapes": repeated("\\u0041", '{"state":"RUNNING","x":"', '"}'),
    "lone surrogates": repeated("\\ud800", '{"state":"SUCCESS","result":"', '"}'),
    "backslashes": repeated("\\\\", '{"state":"', '"}'),
    "a number": repeated("9", '{"state":"RUNNING","x":', "}"),
    "long numbers": repeated("9" * 4_000 + ",", '{"state":"RUNNING","x":[', "1]}"),
    "numbers beyond floats": repeated("1e999,", '{"state":"RUNNING","x":[', "1]}"),
    "keys": "{" + ",".join(f'"k{number}":1' for number in range(20_000)) + "}",
    "keys and depth": '{"x":' + DEEP + "," + ",".join(f'"k{number}":1' for number in range(5_000)) + "}",
    "a long state": repeated("A ", '{"state":"', '"}'),
    "a long reason": repeated("\\n\\u001b[", '{"state":"FAILED","status":"', '"}'),
    "many errors": repeated('{"msg":"no"},', '{"detail":[', "1]}"),
    "usage": '{"state":"RUNNING","usage_metrics":{' + ",".join(f'"k{number}":1' for number in range(15_000)) + "}}",
    "blanks": repeated(" ", "", ""),
    "blanks in an object": repeated(" ", '{"state"', ""),
    "quotes": repeated('"', "", ""),
    "styles": repeated("<style>", "", ""),
    "comments": repeated("<!--", "<", ""),
    "tags": repeated("<a ", "", ""),
    "entities": repeated("&#9", "<p>", ""),
    "a long entity": "<p>&#" + "9" * 6_000 + ";",
    "words of a quota": repeated("execution limit of ", "", ""),
    "cannot stop": repeated("cannot stop state: ", "", ""),
    "slashes": repeated("/", "", ""),
    "percents": repeated("%25", "", ""),
    "a reason of escapes": repeated("\\\\", '{"state":"FAILED","status":"', '"}'),
    "a reason of percents": repeated("%", '{"state":"FAILED","status":"', '"}'),
    "a reason of short lines": repeated("a\\n", '{"state":"FAILED","status":"', '"}'),
    "an answer of escapes": repeated("\\\\", '{"state":"SUCCESS","result":"', '"}'),
    "an answer of entities": repeated("&amp;", '{"state":"SUCCESS","result":"', '"}'),
}
SECRETS = ("pk/9f2b+6c=do-not-tell", "/" * 40, "user:pass%word")


@pytest.mark.parametrize("name", HOSTILE)
def test_a_look_at_any_body_takes_milliseconds(name: str) -> None:
    sent = HOSTILE[name].encode()
    assert len(sent) <= LOOK_BODY + 9
    for code in (200, 404, 500):
        response = Response(code, {}, sent, SECRETS, whole=not body.is_costly(sent))
        assert min(_seconds(response) for _ in range(5)) < 0.05


def _seconds(response: Response) -> float:
    began = time.process_time()
    try:
        codec.read_status("run-1", response)
    except CrewError as error:
        assert len(str(error)) < 800  # noqa: PT017 - any error will do, a short one
    return time.process_time() - began


def test_a_watch_keeps_of_a_body_of_100_kb_less_than_one() -> None:
    kept = {"completed": 3, "total": 7, "current": "write the brief " * 3, "current_agent": "Senior Writer " * 3}
    large = {"result": "r" * 20_000, "last_executed_task": {"output": "o" * 60_000}, "events": ["e" * 100] * 250}
    sent = json.dumps({"state": "RUNNING", "status": "Task is Running", "progress": kept, **large}).encode()
    assert len(sent) > 105_000
    watch = Watch("run-1", Patience(), started_at=0.0)
    assert isinstance(watch.saw(status(sent), 1.0, 0.0), Again)
    assert watch.run is not None
    assert _size(watch.run) < 1_000


def _size(value: object) -> int:
    """Bytes of an object with all that only it holds."""
    if isinstance(value, RunState | bool | int) or value is None:
        return 0
    inner = [getattr(value, each.name) for each in fields(value)] if hasattr(value, "__dataclass_fields__") else []  # type: ignore[arg-type]
    return sys.getsizeof(value) + sum(map(_size, inner))


def test_a_run_that_goes_on_holds_no_answer() -> None:
    run = status('{"state":"RUNNING","result":"so far","result_json":{"so":"far"},"usage_metrics":{"total_tokens":3}}')
    assert (run.answer, run.error, dict(run.usage)) == (None, None, {"total_tokens": 3})
