"""A person's feedback arrives at most once, and none is lost in silence."""

from __future__ import annotations

import json
from collections import Counter
from itertools import repeat
from typing import Any

import pytest
from support.effort import examples, share
from support.feedback_world import KINDS, MEANWHILE, POSTS, Schedule, Try, every_crash, live, simulate
from support.scripted import Answer, Asked, Memory, ScriptedShell

from airflow_provider_crewai.client.callbacks import callback
from airflow_provider_crewai.client.dialogue import Dialogue
from airflow_provider_crewai.client.feedback import APPROVED, NO_HOOKS, Fate, Given, give, pending
from airflow_provider_crewai.client.flows import Dialect, wait
from airflow_provider_crewai.client.ledger import Record
from airflow_provider_crewai.client.watch import Patience, Verdict, Watch
from airflow_provider_crewai.wire.errors import CrewCallbackRefused, CrewFeedbackInDoubt, CrewTransportError
from airflow_provider_crewai.wire.model import Feedback, JSONObject, Kickoff, Question, Request, Response

RECORD = Record("same", "https://crew.example", try_number=1, max_tries=3, at=1e9, kickoff_id="run-1")
CREWS = Question("ask-1")
FLOWS = Question("ask-1", "Which?", flow_id="run-1")
BARE = Question("run-1", flow_id="run-1")
"""All that a deployment says of a flow that waits."""
LOST = CrewTransportError("connection lost", sent=True)


def says(status: int = 200, **body: Any) -> Response:
    return Response(status, {}, json.dumps(body).encode())


def asking(question: Question) -> Response:
    told = {"task_id": question.task_id, "message": question.message} if question.task_id != question.flow_id else None
    return says(state="PAUSED", flow_id=question.flow_id, human_input=told)


def shell(*posts: Any, looks: Any, store: Memory | None = None) -> ScriptedShell:
    """A shell whose POSTs get these answers in turn, and whose looks get what `looks` returns."""
    answers, seen = iter(posts), iter(looks)

    def server(asked: Asked) -> Answer:
        return Answer(next(answers) if asked.request.method == "POST" else next(seen), 0.1)

    return ScriptedShell(server, repeat(0.5), store or Memory(RECORD.to_json()))


def given(by: ScriptedShell, question: Question, text: str = APPROVED, hooks: Kickoff = NO_HOOKS) -> Given:
    feedback = Feedback(question.key, text, "Approve", "ada")
    return by.drive(give(feedback, question, "run-1", hooks, Dialect(), 120.0, lambda _: None))


def sent(by: ScriptedShell) -> list[Request]:
    return [each.asked.request for each in by.log if each.asked.request.method == "POST"]


def on_record(by: ScriptedShell) -> JSONObject:
    record = Record.from_json(by.store.load())
    assert record.feedback is not None
    return record.feedback


# ---- the right door --------------------------------------------------------------------------------


def test_a_crew_is_answered_in_both_spellings_with_its_webhooks() -> None:
    by = shell(says(kickoff_id="run-2"), looks=[says(state="NOT FOUND")])
    assert given(by, CREWS, hooks=Kickoff(task_webhook_url="https://me.example")).also == "run-2"
    (request,) = sent(by)
    assert request.path == "/resume"
    assert request.body == {
        "executionId": "run-1", "execution_id": "run-1", "taskId": "ask-1", "task_id": "ask-1", "humanFeedback": APPROVED,
        "human_feedback": APPROVED, "isApprove": True, "is_approve": True, "taskWebhookUrl": "https://me.example",
    }  # fmt: skip


def test_a_flow_is_answered_by_its_own_id() -> None:
    by = shell(says(flow_id="run-1"), looks=[asking(BARE)])
    assert given(by, BARE, "publish").fate is Fate.SENT
    (request,) = sent(by)
    assert (request.path, request.body) == ("/resume_feedback", {"flow_id": "run-1", "feedback": "publish"})


def test_the_record_says_before_and_after_what_is_sent() -> None:
    by = shell(says(flow_id="run-1"), looks=[asking(FLOWS)])
    given(by, FLOWS, "publish")
    kinds = [step.record["feedback"]["sent"] if hasattr(step, "record") else type(step).__name__ for step in by.steps]  # type: ignore[index,call-overload]  # ours
    assert kinds.index("no") < kinds.index("about to") < len(kinds) - 2
    assert kinds[-1] == "sent"
    assert on_record(by)["text"] == "publish"


# ---- lost answers ----------------------------------------------------------------------------------


def test_an_answer_that_was_lost_is_seen_to_have_arrived() -> None:
    by = shell(LOST, looks=[asking(FLOWS), says(state="RUNNING")])
    assert given(by, FLOWS).fate is Fate.ARRIVED
    assert len(sent(by)) == 1
    assert on_record(by)["sent"] == "arrived"


def test_what_did_not_arrive_is_sent_again_once_that_is_certain() -> None:
    by = shell(LOST, says(), looks=repeat(asking(FLOWS)))
    assert given(by, FLOWS).fate is Fate.SENT
    first, second = (each for each in by.log if each.asked.request.method == "POST")
    assert second.at - first.at >= 60


@pytest.mark.parametrize("question", [CREWS, BARE], ids=["a crew", "a flow"])
def test_what_cannot_be_seen_is_never_sent_twice(question: Question) -> None:
    hidden = says(state="NOT FOUND") if question is CREWS else asking(BARE)
    by = shell(LOST, looks=repeat(hidden))
    with pytest.raises(CrewFeedbackInDoubt):
        given(by, question)
    assert len(sent(by)) == 1
    retry = shell(looks=repeat(hidden), store=by.store)  # type: ignore[arg-type]  # a Memory
    with pytest.raises(CrewFeedbackInDoubt):
        given(retry, question)
    assert pending(Record.from_json(by.store.load())) is not None


def test_a_person_who_was_told_of_the_doubt_may_answer_again() -> None:
    by = shell(LOST, says(), looks=repeat(says(state="NOT FOUND")))
    with pytest.raises(CrewFeedbackInDoubt):
        given(by, CREWS)
    later = Feedback(CREWS.key, APPROVED, at=by.now)
    assert by.drive(give(later, CREWS, "run-1", NO_HOOKS, Dialect(), 120.0, lambda _: None)).fate is Fate.SENT
    assert len(sent(by)) == 2


def test_feedback_to_a_question_that_somebody_answered_is_not_sent() -> None:
    by = shell(looks=[asking(Question("ask-2", flow_id="run-1"))])
    assert given(by, FLOWS).fate is Fate.TOO_LATE
    assert not sent(by)


def test_somebody_may_be_faster_by_a_moment() -> None:
    by = shell(says(409, detail="answered"), looks=[asking(FLOWS), says(state="RUNNING")])
    assert given(by, FLOWS).fate is Fate.TOO_LATE


# ---- where a question's own URL may lead -------------------------------------------------------------


@pytest.mark.parametrize("url", [
    "http://127.0.0.1:8080/feedback/1", "https://app.crewai.com/hitl/1?t=a%20b", "https://crewai.com/x", "https://app.crewai.com",
])  # fmt: skip
def test_feedback_may_go_to_the_crew_and_to_the_vendor(url: str) -> None:
    assert callback(url, "http://127.0.0.1:8080/base").rstrip("/") == url


@pytest.mark.parametrize("url", [
    "", "x", "//app.crewai.com/x", "ftp://app.crewai.com/x", "file:///etc/passwd", "http://app.crewai.com/x",
    "https://app.crewai.com.evil.example/", "https://evilcrewai.com", "https://app.crewai.com@evil.example/",
    "https://evil.example\\@app.crewai.com/", "https://evil.example#app.crewai.com", "http://127.0.0.1:8081/x",
    "https://127.0.0.1:8080/x", "http://169.254.169.254/latest", "http://[::1]:8080/", "https://app.crewai.com/a b",
    "https://app.crewai.com/\n", "https://app.crewai.com/ü", "http://2130706433:8080/x", "https://app.crewai.com:0/",
])  # fmt: skip
def test_feedback_may_go_nowhere_else(url: str) -> None:
    with pytest.raises(CrewCallbackRefused):
        callback(url, "http://127.0.0.1:8080/base")


# ---- whatever happens --------------------------------------------------------------------------------

SCHEDULES = examples(5000)


def test_no_random_life_of_a_task_gives_a_feedback_twice_or_loses_one() -> None:
    counts = simulate(SCHEDULES)
    assert counts["schedules"] == SCHEDULES
    for outcome in ("sent", "arrived", "too late", "CrewFeedbackInDoubt"):
        assert counts[f"outcome: {outcome}"]


def test_no_crash_at_any_step_gives_a_feedback_twice_or_loses_one() -> None:
    lives = [
        Schedule(kind, (Try(posts=(post, "ok")), Try(meanwhile), Try(), Try(), Try()))
        for kind in KINDS
        for post in POSTS
        for meanwhile in MEANWHILE
    ]
    counts: Counter[str] = Counter()
    for schedule in share(lives):
        for crashed in every_crash(schedule):
            counts += live(crashed).counts
    assert counts["schedules"] > examples(3000)


# ---- the two ids of a run that was resumed -----------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "other", "verdict"),
    [
        ("NOT FOUND", {"state": "SUCCESS", "result": "Done."}, Verdict.SUCCEEDED),
        ("NOT FOUND", {"state": "FAILED", "error": "KeyError: 'tides'"}, Verdict.FAILED),
        ("NOT FOUND", {"state": "FAILED", "error": "'NoneType' object is not subscriptable"}, Verdict.TIMED_OUT),
        ("NOT FOUND", {"state": "NOT FOUND"}, Verdict.TIMED_OUT),
        ("SUCCESS", {"state": "FAILED", "error": "not asked"}, Verdict.SUCCEEDED),
    ],
)
def test_the_first_end_under_either_id_counts(own: str, other: dict[str, Any], verdict: Verdict) -> None:
    def server(asked: Asked) -> Answer:
        return Answer(says(state=own) if asked.request.path == "/status/run-1" else says(**other), 0.1)

    by = ScriptedShell(server, repeat(0.5))
    patience = Patience(deadline=by.now + 600, human_input=True)
    watch = Watch("run-1", patience, started_at=by.now, seen_alive=True, dialogue=Dialogue(also="run-2"))
    ending = by.drive(wait(watch, Dialect(), lambda _seen, _now: None))
    assert ending.verdict is verdict
    assert ending.run is not None
    assert ending.run.kickoff_id == "run-1"
