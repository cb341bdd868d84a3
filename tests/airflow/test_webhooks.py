"""Who is told of what: refused before money is spent where it cannot work, and with secrets that stand in no Dag."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException
from airflow.sdk.execution_time.comms import SetRenderedFields
from crew_tasks import brief
from in_memory import Airflow
from scripted_crew import ScriptedCrew

URL = "https://me.example/answers?key=hidden-in-the-url"
TOKEN = "the-token-of-the-webhook"


@pytest.fixture
def told(airflow: Airflow) -> Airflow:
    """An Airflow that also has connections of webhooks."""
    airflow.connections |= {
        "bearer": {"conn_type": "http", "host": URL, "password": TOKEN},
        "basic": {"conn_type": "http", "host": URL, "login": "me", "password": TOKEN},
        "plain": {"conn_type": "http", "host": URL},
        "hostname": {"conn_type": "http", "host": "me.example"},
        "port": {"conn_type": "http", "host": URL, "port": 8443},
        "path": {"conn_type": "http", "host": URL, "schema": "answers"},
        "headers": {"conn_type": "http", "host": URL, "extra": '{"X-Key": "hidden-in-the-url"}'},
        "untouched": {"conn_type": "http", "host": URL, "schema": "https", "port": 0, "extra": '{"a": null}'},
    }
    return airflow


BEARER = {"strategy": "bearer", "token": TOKEN}
BASIC = {"strategy": "basic", "username": "me", "password": TOKEN}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        ({"human_input_webhook": "conn://bearer"}, {"humanInputWebhook": {"url": URL, "authentication": BEARER}}),
        ({"human_input_webhook": "conn://plain"}, {"humanInputWebhookUrl": URL}),
        ({"human_input_webhook": "conn://untouched"}, {"humanInputWebhookUrl": URL}),
        (
            {"human_input_webhook": {"url": "conn://{{ 'basic' }}"}},
            {"humanInputWebhook": {"url": URL, "authentication": BASIC}},
        ),
        ({"human_input_webhook": '{"url": "conn://plain"}'}, {"humanInputWebhook": {"url": URL}}),
        (
            {"webhooks": {"events": ["x"], "url": "conn://bearer"}},
            {"webhooks": {"url": URL, "events": ["x"], "authentication": BEARER}},
        ),
        (
            {"task_webhook_url": "conn://plain", "crew_webhook_url": "conn://plain"},
            {"taskWebhookUrl": URL, "crewWebhookUrl": URL},
        ),
    ],
    ids=["bearer", "no credentials", "untouched fields", "basic", "text of an object", "events", "urls"],
)
def test_a_webhook_may_be_a_connection_which_is_read_just_before_the_kickoff(
    told: Airflow, crew: ScriptedCrew, arguments: dict[str, Any], sent: dict[str, Any]
) -> None:
    ti = told.task(brief(deferrable=True, **arguments))
    crew.story("RUNNING", {"state": "SUCCESS", "result": "done"})
    outcome = ti.run()
    assert outcome.state == "deferred", outcome
    body = crew.kickoffs[0]
    assert {key: value for key, value in body.items() if key not in ("inputs", "meta")} == sent
    kept = [outcome.text, repr(outcome.message), repr(ti.record), repr(told.xcoms)]
    kept += [repr(message) for message in told.asked if isinstance(message, SetRenderedFields)]
    assert not any(secret in words for secret in (TOKEN, "hidden-in-the-url") for words in kept)


def test_a_run_is_taken_up_without_reading_the_connection_of_its_webhook(told: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = told.task(brief(deferrable=True, retries=1, human_input_webhook="conn://bearer"))
    ti.run()
    del told.connections["bearer"]
    crew.now("run-1", {"state": "SUCCESS", "result": "done"})
    assert ti.run().state == "success"
    assert len(crew.kickoffs) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"human_input_webhook": "conn://hostname"}, "'hostname' must be the webhook's whole URL"),
        ({"human_input_webhook": "conn://port"}, "'port' of a webhook holds a port"),
        ({"task_webhook_url": "conn://path"}, "'path' of a webhook holds a schema"),
        ({"webhooks": {"url": "conn://headers"}}, "'headers' of a webhook holds an extra"),
        ({"task_webhook_url": "conn://bearer"}, "task_webhook_url cannot carry credentials, but connection 'bearer'"),
        ({"task_webhook_url": "me.example"}, "task_webhook_url is not a URL"),
        ({"human_input_webhook": "ftp://me.example"}, "human_input_webhook is not a URL"),
        ({"human_input_webhook": {"authentication": BEARER}}, "human_input_webhook has no 'url'"),
        ({"human_input_webhook": {"url": URL, "authentication": {"strategy": "Bearer"}}}, "needs a 'strategy'"),
        ({"human_input_webhook": {"url": URL, "authentication": {"strategy": "bearer"}}}, "has no 'token'"),
        ({"human_input_webhook": {"url": URL, "authentication": {**BASIC, "password": ""}}}, "has no 'password'"),
        (
            {"human_input_webhook": {"url": URL, "authentification": BEARER}},
            "'authentication' instead of 'authentification'",
        ),
        ({"webhooks": {"url": URL, "event": ["x"]}}, "'events' instead of 'event'"),
        ({"webhooks": {"url": URL, "events": "x"}}, "webhooks['events'] is not a list of texts"),
        ({"webhooks": {"url": URL, "events": [], "realtime": "yes"}}, "webhooks['realtime'] is neither True nor False"),
        ({"webhooks": "a text"}, "webhooks is a text that is not JSON"),
        ({"meta": "a text"}, "meta is a text that is not JSON"),
    ],
)
def test_what_cannot_be_called_is_refused_before_money_is_spent(
    told: Airflow, crew: ScriptedCrew, arguments: dict[str, Any], words: str
) -> None:
    ti = told.task(brief(retries=2, **arguments))
    outcome = ti.finish()
    assert outcome.state == "failed"
    assert isinstance(outcome.error, AirflowFailException)
    assert words in outcome.told
    assert crew.kickoffs == []
    assert ti.record is None
    assert TOKEN not in outcome.text


def test_a_connection_that_cannot_be_read_is_named_and_tried_again(told: Airflow, crew: ScriptedCrew) -> None:
    ti = told.task(brief(retries=2, human_input_webhook="conn://missing"))
    outcome = ti.finish()
    assert outcome.state == "up_for_retry"
    assert "Connection 'missing' cannot be read" in outcome.told
    assert "the webhook's whole URL as host" in outcome.told
    assert crew.kickoffs == []
    assert ti.record is None


def test_what_the_api_may_know_and_we_do_not_is_sent(airflow: Airflow, crew: ScriptedCrew) -> None:
    airflow.task(brief(webhooks={"url": URL, "events": ["x"], "batch": 7})).finish()
    assert crew.kickoffs[0]["webhooks"] == {"url": URL, "events": ["x"], "batch": 7}


def test_credentials_that_stand_in_a_dag_are_masked_in_its_rendered_fields(
    airflow: Airflow, crew: ScriptedCrew
) -> None:
    hook = {"url": "https://me.example", "authentication": BEARER}
    airflow.task(brief(human_input_webhook=hook, webhooks={**hook, "authentication": BASIC})).finish()
    (shown,) = [message.rendered_fields for message in airflow.asked if isinstance(message, SetRenderedFields)][:1]
    assert TOKEN not in json.dumps(shown)
