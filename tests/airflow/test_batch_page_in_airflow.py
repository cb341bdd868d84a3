"""The page of a task's batch inside Airflow: its own api-server, over a real socket. The crew is not asked."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import Any

import pytest
from api_server import BEGAN, Api
from scripted_crew import ScriptedCrew

from airflow_provider_crewai.client.batch_messages import progress, summary
from airflow_provider_crewai.client.batch_record import BatchRecord, Left, Outcome, pages_of
from airflow_provider_crewai.client.batch_record import ItemState as S
from airflow_provider_crewai.client.batch_results import results_of
from airflow_provider_crewai.client.ledger import Claim, Record

HOSTILE = "<script>window.pwned=1</script><img src=x onerror=alert(1)>\"'&"
INPUTS = [{"topic": topic, "api_key": "hunter2"} for topic in ("tides", "winds", "stars", "maps", "knots")]
FIELDS = {"inputs": INPUTS, "crewai_conn_id": "crewai_default"}
AT = BEGAN.timestamp()
NAMES = [f"item{index}" for index in range(5)]


def begun() -> BatchRecord:
    claim = Claim("fingerprint", "https://crew.example", 1, 3)
    return BatchRecord(Record.intent(claim, AT).submitted("batch-1"), S.WAITS * 5)


def outcome(index: int, state: S, **more: Any) -> Outcome:
    found = Outcome(NAMES[index], index, "fingerprint", state, f"run-{index}", AT, "An answer.", seconds=30.0)
    return replace(found, usage={"total_tokens": 1_000}, **more)


OUTCOMES = [outcome(0, S.SUCCEEDED), outcome(1, S.FAILED, answer=None, error="ValueError: no winds")]


def going_on() -> BatchRecord:
    """One item is done, one has failed, the run of one goes on, one may have been started, and one waits."""
    record = begun()
    for each in OUTCOMES:
        record = record.opened(each.index, each.item, AT).submitted(each.index, f"run-{each.index}")
        record = record.ended(each.index, each)
    record = record.opened(2, NAMES[2], AT + 60).submitted(2, "run-2")
    return record.opened(3, NAMES[3], AT + 61).left(3, Left.MAY_HAVE_STARTED)


def told(record: BatchRecord, *, is_over: bool = False) -> Any:
    results = results_of(record, NAMES, OUTCOMES) if is_over else []
    return summary(record, results, [progress(record, 2, AT + 90)], 2, AT + 90)


def test_it_shows_how_far_the_batch_is_and_which_runs_are_at_work(api: Api, crew: ScriptedCrew) -> None:
    record = going_on()
    page = api.page(api.task(fields=FIELDS, xcoms={"crew_batch": told(record)}, batch=record.to_json()))
    said = ["Batch <code>batch-1</code>", "3 of 5 done", "2,000", "Expected end", "A run takes", "data-refresh"]
    items = ["Item 2", "run-2", "Item 1", "failed", "Item 3", "may have been started", "stars"]
    for words in (*said, *items, html.escape(progress(record, 2, AT + 90))):
        assert words in page
    assert "hunter2" not in page
    assert not crew.asked


def test_while_it_goes_on_it_shows_why_items_failed_as_far_as_pages_in_airflow_tell(api: Api) -> None:
    record = replace(going_on(), pages=2)
    pages = ({"version": 1, "outcomes": "no list"}, *pages_of(OUTCOMES))
    page = api.page(api.task(fields=FIELDS, batch=record.to_json(), pages=pages))
    for words in ("Item 1", "run-1", "ValueError: no winds"):
        assert words in page
    assert "An answer." not in page


def test_at_its_end_it_shows_why_items_have_no_answer(api: Api) -> None:
    record = going_on()
    path = api.task("failed", fields=FIELDS, xcoms={"crew_batch": told(record, is_over=True)}, batch=record.to_json())
    page = api.page(path)
    for words in ("Failed", "Item 1", "run-1", "ValueError: no winds", "a kickoff was sent and its answer was lost"):
        assert words in page
    assert "data-refresh" not in page


def test_what_the_task_returned_is_the_result(api: Api) -> None:
    answers = [{"state": "succeeded", "answer": "The tides rise."}]
    xcoms = {"crew_batch": told(going_on(), is_over=True), "return_value": answers}
    path = api.task("success", fields=FIELDS, xcoms=xcoms)
    assert "The tides rise." in api.page(path)
    assert "The tides rise." in api.get(f"{path}/text/result").text
    assert "hunter2" not in api.get(f"{path}/text/inputs").text


@pytest.mark.parametrize(
    ("state", "more", "words"),
    [
        ("queued", {}, ["No batch yet", "has begun no batch yet"]),
        ("deferred", {"batch": going_on().to_json()}, ["Running", "batch-1", "3 of 5 done"]),
        ("deferred", {"xcoms": {"crew_batch": told(going_on())}}, ["Running", "batch-1", "3 of 5 done"]),
        ("up_for_retry", {"batch": going_on().to_json(), "earlier": ("failed",)}, ["Failed", "up for retry"]),
    ],
)
def test_each_state_has_its_page(api: Api, state: str, more: dict[str, Any], words: list[str]) -> None:
    page = api.page(api.task(state, fields=FIELDS, **more))
    for each in words:
        assert each in page


def test_a_list_that_airflow_keeps_as_a_text_is_read(api: Api) -> None:
    text = '[{"topic": "tides", "api_key": "hunter2"}]'
    page = api.page(api.task("queued", fields=FIELDS | {"inputs": text}))
    assert "No batch yet" in page
    assert "tides" in page
    assert "hunter2" not in page


def test_many_items_without_an_answer_are_counted_and_the_first_are_shown(api: Api) -> None:
    record = replace(begun(), states=S.FAILED * 150)
    page = api.page(api.task(fields=FIELDS, batch=record.to_json()))
    assert page.count("<h3>Item ") == 100
    assert "And 50 more." in page


def test_what_a_crew_writes_never_becomes_markup(api: Api) -> None:
    record = going_on()
    left = told(record, is_over=True) | {"said": [HOSTILE], "crew": HOSTILE, "batch_id": HOSTILE, "count": {HOSTILE: 1}}
    left["without_an_answer"] = [{"item": 0, "state": HOSTILE, "kickoff_id": HOSTILE, "error": HOSTILE}]
    kept = record.to_json() | {"open": {"2": {"kickoff_id": HOSTILE, "at": AT, "left": None}}}
    fields = FIELDS | {"inputs": [{HOSTILE: HOSTILE}]}
    for state in ("deferred", "failed", "success"):
        page = api.page(
            api.task(state, fields=fields, xcoms={"crew_batch": left, "return_value": [HOSTILE]}, batch=kept)
        )
        assert "<script>window" not in page
        assert "<img src=x" not in page
        assert html.escape("<script>window") in page


@pytest.mark.parametrize(
    "odd",
    [
        {"count": 3, "open": [], "states": 7, "task": None},
        {"count": {"succeeded": "many", "open": -1}, "open": {"x": 1, "9" * 40: {}}, "states": "?sf"},
        {"about": "nothing else", "first_page": -5, "pages": "2"},
        {"first_page": -5, "pages": 2},
    ],
)
def test_a_record_that_somebody_edited_does_not_break_the_page(api: Api, odd: dict[str, Any]) -> None:
    left = {"batch_id": 5, "said": "?", "without_an_answer": [None, {"item": "x"}], "count": odd, "expected_end": 3}
    assert api.get(api.task(fields=FIELDS, batch=odd)).status_code == 200
    assert api.get(api.task(fields=FIELDS, xcoms={"crew_batch": left}, batch=odd)).status_code == 200
