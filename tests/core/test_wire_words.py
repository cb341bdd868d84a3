"""Whatever stands in an answer, what a person reads of it is printable, short and without our secrets."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.hostile import PAYLOADS, TOKEN, faults, places, with_text
from test_wire_laws import HEADERS, READERS, STATUSES, bodies

from airflow_provider_crewai.client.journal import Journal
from airflow_provider_crewai.client.messages import WIDTH, error_of, no_run, said
from airflow_provider_crewai.client.watch import Again, Ending, Patience, Verdict, Watch
from airflow_provider_crewai.wire import codec
from airflow_provider_crewai.wire.errors import CrewApiError, CrewError, CrewRunFailed
from airflow_provider_crewai.wire.model import JSON, CrewInputs, Response, Resumed, Run

ANSWERS = {
    name: json.loads(file.read_bytes())
    for file in sorted((Path(__file__).parent / "aop_fixtures").glob("*.json"))
    if not (name := file.stem).startswith("webhook") and "request" not in name
}
ASKED: dict[str, JSON] = {
    "a question": {"state": "PAUSED", "human_input": {"task_id": "t-1", "message": "Good?", "output": "A draft"}},
    "a failure in three keys": {
        "state": "FAILED",
        "status": None,
        "error": "no",
        "error_message": "no",
        "result": "no",
    },
    "an error in a list": {"detail": [{"loc": ["body", "topic"], "msg": "Field required"}]},
    "an error with details": {"error": "no", "message": "no", "details": {"why": "no", "trace": ["a", "b"]}},
}
ODD_STATUSES = (200, 302, 404, 422, 429, 500)


def told(value: object) -> str:
    """Everything of a value that a person reads."""
    match value:
        case CrewApiError():
            return f"{value}\n{value.detail}\n{value.retry_after}\n{said_of(value)}"
        case CrewError():
            return said_of(value)
        case Run():
            # Of many lines, since it is Markdown: whoever shows it indents or quotes each.
            asked = value.question.output.replace("\n", " ") if value.question else ""
            words = [value.word, value.text, value.error, asked, value.progress, *value.usage, said_of(value)]
            return "\n".join(map(str, words))
        case CrewInputs():
            return "\n".join(value.names)
        case Resumed():
            return f"{value.status}\n{value.message}"
        case _:
            return ""  # an id, which nobody alters


def said_of(seen: Run | CrewError) -> str:
    """What log and error say of a look."""
    out = io.StringIO()
    log = logging.Logger("task")  # noqa: LOG001 - one of its own, so that nothing is left behind
    log.addHandler(logging.StreamHandler(out))
    Journal(log, "run-1")(seen, 0.0)
    judged = isinstance(seen, Run) and seen.question is not None and bool(seen.question.output)
    # The lines of what is to be judged are indented, so none can be taken for a line of the log's own.
    assert sum(not line.startswith("    ") for line in out.getvalue().splitlines()) == 1 + judged, out.getvalue()
    watch = Watch("run-1", Patience(unreachable_timeout=0), started_at=0.0)
    step = watch.missed(seen, 1.0, 0.0) if isinstance(seen, CrewError) else watch.saw(seen, 1.0, 0.0)
    ending = watch.cut_short(2.0) if isinstance(step, Again) else step
    if ending.verdict is Verdict.SUCCEEDED:
        return out.getvalue()
    lines = said(ending, started_at=0.0, after="A retry looks again.", look=())
    assert all(len(line) <= WIDTH or len(line.split()) == 1 for line in lines), lines
    assert len(lines) < 10, lines
    whole = said(ending, started_at=0.0, after="", look=(), whole=True)
    error = error_of(ending, where="connection 'crewai_default'")
    assert len(str(error)) < 150
    return "\n".join([out.getvalue(), *lines, *whole, str(error)])


def read(name: str, response: Response) -> Any:
    try:
        return READERS[name](response)
    except CrewError as error:
        return error


def check(name: str, response: Response) -> None:
    value = read(name, response)
    words = told(value)
    if isinstance(value, CrewError):
        assert len(str(value)) < 800
        lines = no_run(value, otherwise="The crew was not started", after="", look=())
        assert all(len(line) <= WIDTH or len(line.split()) == 1 for line in lines), lines
        words += "\n".join(lines)
    if isinstance(value, Run) and value.question:
        words = words.replace("\n  ", " ").replace(value.question.task_id, "")  # an id, too
    assert not [*faults(words)]


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("name", [*ANSWERS, *ASKED])
def test_no_text_of_any_answer_harms_who_reads_of_it(name: str, payload: str) -> None:
    answer = (ANSWERS | ASKED)[name]
    place = name.partition("_")[0]
    for path in places(answer):
        body = json.dumps(with_text(answer, path, PAYLOADS[payload])).encode()
        for status in (200, 404, 422):
            check(place if place in READERS else "status", Response(status, {}, body, (TOKEN,)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32-be"])
@pytest.mark.parametrize("payload", PAYLOADS)
def test_no_page_and_no_header_harms_who_reads_of_it(payload: str, encoding: str) -> None:
    text = PAYLOADS[payload].encode("utf-8", "replace").decode()
    headers = {"location": text, "retry-after": text, "content-type": text}
    for body in (text, f"<html><script>{text}</script><p>{text}</p>", json.dumps(text), json.dumps({text: text})):
        for status in ODD_STATUSES:
            check("status", Response(status, headers, body.encode(encoding), (TOKEN,)))
    check("inputs", Response(200, headers, body.encode(encoding), (TOKEN,)))
    check("status", Response(200, headers, body.encode(encoding), (TOKEN,), whole=False))


@given(name=st.sampled_from([*READERS]), status=STATUSES, headers=HEADERS, body=bodies())
def test_any_answer_is_told_in_printable_words(name: str, status: int, headers: dict[str, str], body: bytes) -> None:
    check(name, Response(status, headers, body, (TOKEN,)))


def test_a_failed_runs_whole_words_stay_within_reach() -> None:
    said = "Traceback:\n" + "  a line\n" * 100_000 + f"with {TOKEN} at the end\x1b[0m"
    run = codec.read_status(
        "run-1", Response(200, {}, json.dumps({"state": "FAILED", "status": said}).encode(), (TOKEN,))
    )
    ending = Watch("run-1", Patience(), started_at=0.0).saw(run, 1.0, 0.0)
    assert isinstance(ending, Ending)
    error = error_of(ending, where="x")
    assert isinstance(error, CrewRunFailed)
    assert len(str(error)) < 100
    assert error.reason is not None
    assert error.reason.endswith("a line\nwith *** at the end")
    assert len(error.reason.splitlines()) == 100_002


def test_a_failures_paragraphs_are_kept_apart() -> None:
    run = codec.read_status("run-1", Response(200, {}, b'{"state":"FAILED","status":"first\\n\\n  second\\tthird"}'))
    assert run.error == "first\n      second third"
    assert run.reason == "first\n\n  second third"


@pytest.mark.parametrize("read_it", [codec.status_request, codec.stop_request])
@pytest.mark.parametrize(
    ("kickoff_id", "fault"),
    [
        ("a\nb", "holds a line break"),
        ("a\u2028b", "holds a line break"),
        ("a\tb", "holds the invisible character U\\+0009"),
        ("\x1b[2J", "holds the invisible character U\\+001B"),
        ("a\u202eb", "holds the invisible character U\\+202E"),
        ("k" * 257, "has 257 characters, but at most 256 are allowed"),
        ("", "is empty"),
        ("  ", "is empty"),
        ("..", "holds only dots"),
    ],
)
def test_what_keeps_a_text_from_being_an_id_is_said(
    read_it: Callable[[str], object], kickoff_id: str, fault: str
) -> None:
    with pytest.raises(CrewError, match=rf"it {fault}\. Nothing was sent\.$") as caught:
        read_it(kickoff_id)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_an_id_is_handed_on_as_it_came() -> None:
    for kickoff_id in ("a b", " a ", "ä/ö?", "k" * 256, TOKEN):
        body = json.dumps({"kickoff_id": kickoff_id}).encode()
        assert codec.read_kickoff(Response(200, {}, body, (TOKEN,))) == kickoff_id
