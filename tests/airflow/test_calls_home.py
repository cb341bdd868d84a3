"""An orphan calls home: a run whose kickoff got no answer names itself, and the task takes it up."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import Clock
from crew_tasks import brief, sensor, worker_dies_at
from in_memory import Airflow, TaskInstance
from scripted_crew import LOST, Answer, Asked, ScriptedCrew, error, success

from airflow_provider_crewai.client.begin import CALL_HOME_PATIENCE
from airflow_provider_crewai.in_airflow import mailbox, signed_urls
from airflow_provider_crewai.in_airflow.config import configured
from airflow_provider_crewai.in_airflow.ledger_store import places_of
from airflow_provider_crewai.in_airflow.xcom import CALLS_HOME, CREW_QUESTION
from airflow_provider_crewai.wire.model import Question

HOME = "https://airflow.example.com"


@pytest.fixture(autouse=True)
def reachable(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AIRFLOW__CREWAI__WEBHOOK_BASE_URL", HOME)
    monkeypatch.setenv("AIRFLOW__API__SECRET_KEY", "shared by all processes of this Airflow")
    configured.cache_clear()
    yield
    configured.cache_clear()


def claims_in(url: str) -> signed_urls.Claims:
    """What a deployment was given: it must be what the api-server takes."""
    home, _, token = url.rpartition("/")
    assert home == HOME + signed_urls.PATH
    return signed_urls.read(token, time.time())


def claims_home(body: dict[str, Any]) -> signed_urls.Claims:
    """What a kickoff says about where its run calls home."""
    return claims_in(body["webhooks"]["url"])


class Deployment:
    """Starts a run, gives no answer, and lets the run call home: what the api-server then keeps."""

    def __init__(self, airflow: Airflow, crew: ScriptedCrew, *, answer: Answer = LOST, calls: bool = True) -> None:
        self.airflow, self.answer, self.calls = airflow, answer, calls
        self.called: Callable[[], None] = lambda: None
        crew.once("/kickoff", self.kick_off)
        crew.now("orphan", success("The orphan's answer."))

    def kick_off(self, asked: Asked) -> Answer:
        claims = claims_home(asked.body)
        key = (claims.dag_id, claims.run_id, claims.task_id, claims.map_index)
        kept = mailbox.with_start(claims.sent, "orphan", claims.try_number, time.time())(None)
        places = self.airflow.records if self.airflow.has_state_store else self.airflow.xcoms
        self.called = lambda: places.update({(key, CALLS_HOME): kept})
        if self.calls:
            self.called()
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [LOST, error(500, "Internal Server Error"), error(502, "Bad Gateway"), Answer(200, b"<html>"), Answer(200, {})],
    ids=["no answer", "500", "502", "HTML", "no id"],
)
@pytest.mark.parametrize("has_store", [True, False])
def test_a_run_whose_kickoff_got_no_answer_is_the_one_that_calls_home(
    airflow: Airflow, crew: ScriptedCrew, answer: Answer, has_store: bool
) -> None:
    airflow.has_state_store = has_store
    Deployment(airflow, crew, answer=answer)
    ti = airflow.task(brief())
    outcome = ti.finish()
    assert outcome.state == "success", outcome.text
    assert "Run orphan has called home" in outcome.text
    assert airflow.xcoms[ti.key, "return_value"] == "The orphan's answer."
    assert airflow.xcoms[ti.key, "kickoff_id"] == "orphan"
    assert len(crew.kickoffs) == 1
    assert not has_store or ti.record["kickoff_id"] == "orphan"


@pytest.mark.parametrize(("answer", "message", "nth"), [
    (Answer(body={"kickoff_id": "orphan"}), "SetTaskStateStore", 2),
    (LOST, "GetTaskStateStore", 3),
], ids=["before its record", "while it listens"])  # fmt: skip
def test_a_retry_takes_up_the_run_that_called_home_after_the_worker_died(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, answer: Answer, message: str, nth: int
) -> None:
    deployment = Deployment(airflow, crew, answer=answer, calls=False)
    ti = airflow.task(brief(retries=1))
    airflow.before = worker_dies_at(message, nth)
    assert ti.run().state == "up_for_retry"
    airflow.before = None
    assert ti.record["kickoff_id"] is None
    deployment.called()
    outcome = ti.finish()
    assert outcome.state == "success", outcome.text
    assert "Run orphan has called home: try 1 started it" in outcome.text
    assert len(crew.kickoffs) == 1


def test_after_the_time_that_is_documented_silence_leaves_it_open_whether_a_run_has_started(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    Deployment(airflow, crew, calls=False)
    outcome = airflow.task(brief(retries=1)).finish()
    assert outcome.state == "failed"
    assert "A paid run may have started" in outcome.told
    assert CALL_HOME_PATIENCE - 1 < clock.slept < CALL_HOME_PATIENCE + 5
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize(
    "kept",
    [
        mailbox.with_start(1.5, "another", 1, 2.0)(None),
        *("text", 5, {}, [None, 5, {}], [{"kickoff_sent_at": "x"}], [{"kickoff_id": "a\nb"}]),
    ],
    ids=str,
)
def test_what_is_no_call_about_this_kickoff_names_no_run(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock, kept: Any
) -> None:
    Deployment(airflow, crew, calls=False)
    ti = airflow.task(brief())
    airflow.records[ti.key, CALLS_HOME] = kept
    assert ti.finish().state == "failed"


def test_a_run_that_called_home_is_stopped_before_a_clear_starts_another(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    deployment = Deployment(airflow, crew, calls=False)
    crew.now("orphan", "RUNNING")
    ti = airflow.task(brief())
    assert ti.finish().state == "failed"
    deployment.called()
    ti.clear()
    assert ti.finish().state == "success"
    assert crew.stops == ["orphan"]


def test_a_call_that_lies_in_the_ledger_path_is_heard(
    airflow: Airflow, crew: ScriptedCrew, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CREWAI__LEDGER_PATH", f"file://{tmp_path}/ledger")
    airflow.has_state_store = False

    def kick_off(asked: Asked) -> Answer:
        claims = claims_home(asked.body)
        (place,) = places_of(claims, None, CALLS_HOME)
        place.save(mailbox.with_start(claims.sent, "orphan", 1, 0.0)(None))
        return LOST

    crew.once("/kickoff", kick_off)
    crew.now("orphan", success())
    assert airflow.task(brief()).finish().state == "success"


EVENTS = {"events": ["task_completed"], "url": "https://me.example/events"}
TASKS = "https://me.example/tasks"
HUMANS = "https://me.example/humans"


@pytest.mark.parametrize(
    ("arguments", "ours", "theirs"),
    [
        ({}, {"webhooks"}, {}),
        ({"human_input": True}, {"webhooks", "humanInputWebhook"}, {}),
        ({"wait_for_completion": False}, {"webhooks", "humanInputWebhook"}, {}),
        ({"webhooks": EVENTS}, {"taskWebhookUrl"}, {"webhooks": EVENTS}),
        ({"task_webhook_url": TASKS}, {"webhooks"}, {"taskWebhookUrl": TASKS}),
        ({"webhooks": EVENTS, "task_webhook_url": TASKS}, set(), {"webhooks": EVENTS, "taskWebhookUrl": TASKS}),
        ({"human_input": True, "human_input_webhook": HUMANS}, {"webhooks"}, {"humanInputWebhookUrl": HUMANS}),
    ],
)
def test_webhooks_lead_here_where_the_author_has_none_of_the_kind(
    airflow: Airflow, crew: ScriptedCrew, arguments: dict[str, Any], ours: set[str], theirs: dict[str, Any]
) -> None:
    ti = airflow.task(brief(**arguments))
    assert ti.finish().state == "success"
    body = {name: hook for name, hook in crew.kickoffs[0].items() if name not in ("inputs", "meta")}
    assert body.keys() == ours | theirs.keys()
    assert theirs.items() <= body.items()
    for name in ours:
        hook = body[name]
        claims = claims_in(hook if isinstance(hook, str) else hook["url"])
        assert claims.sent == ti.record["at"]
        assert claims.purpose == {"webhooks": "events", "humanInputWebhook": "question"}.get(name, "task")
        if isinstance(hook, dict):
            token = hook["url"].rpartition("/")[2]
            assert hook["authentication"] == {"strategy": "bearer", "token": signed_urls.bearer(token)}


def test_a_signed_url_and_its_bearer_are_in_no_log_no_record_and_no_xcom(
    airflow: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.once("/kickoff", lambda asked: error(500, json.dumps(asked.body)))
    outcome = airflow.task(brief(human_input=True)).finish()
    assert outcome.state == "failed"
    told = "".join([outcome.text, repr((outcome.message, outcome.error, airflow.records, airflow.xcoms))])
    for hook in (crew.kickoffs[0][name] for name in ("webhooks", "humanInputWebhook")):
        assert hook["authentication"]["token"] not in told
        assert hook["url"].rpartition(".")[2] not in told


def test_a_resume_sends_the_webhooks_of_the_kickoff_again(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief(human_input=True, deferrable=True, step_webhook_url=TASKS, timeout=3600))
    crew.story("RUNNING")
    ti.run()
    sent = crew.kickoffs[0]
    with airflow.connected():
        again = ti.ran.hooks_again(context_of(ti))
    assert again.human_input_webhook == sent["humanInputWebhook"]
    assert again.webhooks == sent["webhooks"]
    assert again.step_webhook_url == TASKS
    assert again.inputs == {}


def test_a_sensor_asks_to_be_told_of_the_next_question_itself(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", success())
    ti = airflow.task(sensor(human_input=True))
    ti.finish()
    with airflow.connected():
        again = ti.ran.hooks_again(context_of(ti))
    claims = claims_in(again.human_input_webhook["url"])
    assert (claims.task_id, claims.purpose) == ("answer", "question")
    assert again.webhooks is again.task_webhook_url is None


@pytest.mark.parametrize(
    ("why", "name"),
    [
        ("webhook_base_url is not set", "AIRFLOW__CREWAI__WEBHOOK_BASE_URL"),
        ("secret_key is not set", "AIRFLOW__API__SECRET_KEY"),
    ],
)
def test_the_log_says_once_which_questions_the_task_does_not_see_and_why(
    airflow: Airflow, crew: ScriptedCrew, monkeypatch: pytest.MonkeyPatch, why: str, name: str
) -> None:
    monkeypatch.setenv(name, "")
    configured.cache_clear()
    outcome = airflow.task(brief(human_input=True)).finish()
    assert outcome.state == "success"
    assert outcome.text.count("What a deployed crew asks is not seen by this task") == 1
    assert why in outcome.text
    assert crew.kickoffs[0].keys() == {"inputs", "meta"}
    assert "deployed crew" not in airflow.task(brief()).finish().text


def test_the_log_says_that_the_authors_webhook_gets_the_questions(airflow: Airflow, crew: ScriptedCrew) -> None:
    outcome = airflow.task(brief(human_input=True, human_input_webhook=HUMANS)).finish()
    assert "goes to this task's human_input_webhook" in outcome.text


def test_an_address_that_is_none_fails_the_task_before_money_is_spent(
    airflow: Airflow, crew: ScriptedCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__CREWAI__WEBHOOK_BASE_URL", "airflow.example.com")
    configured.cache_clear()
    outcome = airflow.task(brief()).finish()
    assert outcome.state == "failed"
    assert "set it to a URL that begins with https://" in outcome.told
    assert crew.kickoffs == []


def context_of(ti: TaskInstance) -> Any:
    return ti._runtime().get_template_context()  # noqa: SLF001 - what a worker gives a task


def test_a_retry_shows_its_trigger_what_an_earlier_try_was_asked(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief())
    ti.finish()
    asked = Question("q-1", "Is it good?", "# Draft", ("yes", "no"))
    airflow.records[ti.key, CREW_QUESTION] = mailbox.with_question("run-1", asked, 1.0)(None)
    with airflow.connected():
        assert mailbox.questions(context_of(ti), "run-1") == (asked,)
        assert mailbox.questions(context_of(ti), "run-2") == ()
    assert [entry["task_id"] for entry in airflow.xcoms[ti.key, CREW_QUESTION]] == ["q-1"]


@pytest.mark.parametrize("broken", ["GetXCom", "GetTaskStateStore"])
def test_questions_that_cannot_be_read_are_not_taken_for_none(
    airflow: Airflow, crew: ScriptedCrew, broken: str
) -> None:
    ti = airflow.task(brief())
    ti.finish()
    airflow.broken.add(broken)
    with airflow.connected():
        assert mailbox.questions(context_of(ti), "run-1") is None


def test_a_trigger_reads_questions_without_blocking(airflow: Airflow, crew: ScriptedCrew) -> None:
    ti = airflow.task(brief())
    ti.finish()
    names = SimpleNamespace(dag_id=ti.key[0], run_id=ti.key[1], task_id=ti.key[2], map_index=ti.key[3])

    def asked() -> Any:
        return asyncio.run(mailbox.aquestions(names, "run-1"))

    kept = mailbox.with_question("run-1", Question("q-1"), 1.0)(None)
    with airflow.connected():
        assert asked() == ()
        for stored in (kept, json.dumps(kept)):  # 3.1 keeps the text
            airflow.xcoms[ti.key, CREW_QUESTION] = stored
            assert asked() == (Question("q-1"),)
        airflow.broken.add("GetXCom")
        assert asked() is None
