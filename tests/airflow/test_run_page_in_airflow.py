"""The run page inside Airflow: its own api-server, over a real socket, with a crew on the other side."""

from __future__ import annotations

import html
import json
import threading
from collections.abc import Callable
from typing import Any

import pytest
from api_server import BEGAN, Api, token_of
from scripted_crew import ScriptedCrew, failure, success

HOSTILE = "<script>window.pwned=1</script><img src=x onerror=alert(1)>\"'&"
FIELDS = {"inputs": {"topic": "tides", "api_key": "hunter2"}, "crewai_conn_id": "crewai_default"}
SAID = ["What happened.", "A retry takes this run up again.", "Look: http://elsewhere/"]
LEFT = {
    "kickoff_id": "run-1",
    "crew": "https://crew.example",
    "ending": None,
    "state": "running",
    "said": SAID,
    "started_at": "2026-01-05T12:00:01.000+00:00",
    "ended_at": None,
    "deadline": "2026-01-06T12:00:00.000+00:00",
    "usage": {"total_tokens": 4711},
    "try_number": 1,
}
RECORD = {"kickoff_id": "run-1", "crew": "https://crew.example", "at": BEGAN.timestamp() + 1, "try_number": 1}


@pytest.fixture
def asked(crew: ScriptedCrew, default_connection: Callable[[dict[str, Any]], None]) -> ScriptedCrew:
    """The crew that the api-server asks. Each test has another one, on a port of its own."""
    default_connection(crew.connection)
    return crew


@pytest.fixture(autouse=True)
def no_look_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_crewai.client.lookups import Lookups
    from airflow_provider_crewai.in_airflow.api_server import deployment

    monkeypatch.setattr(deployment, "_looks", Lookups(deployment.KEPT))


def test_who_is_not_logged_in_gets_401_and_a_browser_is_led_to_the_login(api: Api) -> None:
    path = api.task(fields=FIELDS)
    for each in (path, f"{path}/text/inputs"):
        refused = api.get(each, "")
        assert refused.status_code == 401
        assert "tides" not in refused.text
    led = api.get(path, "", accept="text/html")
    assert (led.status_code, led.headers["location"].partition("?")[0]) == (307, "/api/v2/auth/login")
    followed = api.get(led.headers["location"], "")
    assert followed.status_code == 307


def test_who_may_not_read_the_task_instance_gets_403(api: Api) -> None:
    path = api.task(fields=FIELDS)
    for each in (path, f"{path}/text/inputs"):
        refused = api.get(each, None)
        assert refused.status_code == 403
        assert "tides" not in refused.text


def test_who_may_not_read_xcoms_is_not_told_what_they_hold(
    api: Api, asked: ScriptedCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
    from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager

    allowed = SimpleAuthManager.is_authorized_dag

    def all_but_xcoms(self: Any, *, access_entity: Any = None, **rest: Any) -> bool:
        return access_entity is not DagAccessEntity.XCOM and allowed(self, access_entity=access_entity, **rest)

    asked.now("run-1", success("the answer"))
    path = api.task(fields=FIELDS, xcoms={"crew_run": LEFT}, record=RECORD)
    monkeypatch.setattr(SimpleAuthManager, "is_authorized_dag", all_but_xcoms)
    for each in (path, f"{path}/text/result"):
        refused = api.get(each)
        assert refused.status_code == 403
        assert "the answer" not in refused.text
    assert asked.looks == []


def test_a_token_of_the_api_opens_it_too(api: Api) -> None:
    path = api.task(fields=FIELDS, xcoms={"crew_run": LEFT | {"kickoff_id": None}})
    assert api.get(path, "", authorization=f"Bearer {token_of('viewer')}").status_code == 200
    assert api.get(path, "viewer", authorization=f"Bearer {token_of(None)}").status_code == 403
    assert api.get(path, "", authorization="Bearer made.up.token").status_code == 403


def test_it_is_sent_with_a_strict_policy_that_lets_airflow_alone_frame_it(api: Api) -> None:
    path = api.task(fields=FIELDS)
    for each in (api.get(path), api.get("/crewai/assets/page.css"), api.get(path, "")):
        policy = each.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self'" in policy
        assert "frame-ancestors 'self'" in policy
        assert each.headers["x-content-type-options"] == "nosniff"


def test_it_shows_what_the_crew_says_now(api: Api, asked: ScriptedCrew) -> None:
    progress = {"completed": 1, "total": 3, "current": "write", "current_agent": "Writer"}
    asked.now("run-1", {"state": "RUNNING", "progress": progress})
    page = api.page(api.task(fields=FIELDS, xcoms={"crew_run": LEFT}, record=RECORD))
    for words in ("Running", "write", "Writer", "What happened.", "tides", "4,711", "data-refresh"):
        assert words in page
    assert "Look: " not in page
    assert "hunter2" not in page


@pytest.mark.parametrize(
    ("state", "left", "says", "words"),
    [
        ("success", {"ending": "succeeded", "state": "succeeded"}, success("A *fine* brief"), ["Succeeded", "fine"]),
        ("failed", {"ending": "failed", "state": "failed"}, failure("no tide tables"), ["Failed", "no tide tables"]),
        ("failed", {"ending": "timed_out"}, "RUNNING", ["Running", "still costs money"]),
        ("failed", {"ending": "timed_out"}, success("late"), ["Succeeded", "costs no more", "late"]),
        ("deferred", {"state": "paused"}, "PAUSED", ["Waiting for an answer"]),
        ("failed", {"ending": "failed", "state": "failed"}, "NOT FOUND", ["Failed", "does not know the run"]),
        ("up_for_retry", {"ending": "failed", "state": "failed"}, failure("no"), ["Failed", "up for retry"]),
    ],
)
def test_each_state_has_its_page(
    api: Api, asked: ScriptedCrew, state: str, left: dict[str, Any], says: Any, words: list[str]
) -> None:
    asked.now("run-1", says)
    page = api.page(api.task(state, fields=FIELDS, xcoms={"crew_run": LEFT | left}, record=RECORD))
    for each in (*words, *SAID[:2]):
        assert each in page


@pytest.mark.parametrize(
    ("state", "more", "words"),
    [
        ("running", {}, ["No run yet", "has begun no run yet"]),
        ("failed", {}, ["No run yet", "as far as is known"]),
        ("failed", {"record": RECORD | {"kickoff_id": None}}, ["May have started", "a paid run may be going on"]),
        (
            "failed",
            {"xcoms": {"crew_run": LEFT | {"kickoff_id": None, "ending": "may_have_started", "state": "unknown"}}},
            ["May have started", *SAID[:2]],
        ),
        (
            "failed",
            {"xcoms": {"crew_run": LEFT | {"kickoff_id": None, "ending": "not_started", "state": "unknown"}}},
            ["Not started", *SAID[:2]],
        ),
        (None, {"record": RECORD, "earlier": ("failed",)}, ["run-1", "run-1"]),
    ],
)
def test_each_state_without_a_run_has_its_page(
    api: Api, asked: ScriptedCrew, state: str | None, more: dict[str, Any], words: list[str]
) -> None:
    asked.always("/status", lambda _: None)
    page = api.page(api.task(state, fields=FIELDS, **more))
    for each in words:
        assert each in page


def test_what_a_crew_writes_never_becomes_markup(api: Api, asked: ScriptedCrew) -> None:
    text = HOSTILE
    progress = {"completed": 0, "total": 1, "current": text, "current_agent": text}
    usage = {text: 3}
    left = LEFT | {"said": [text], "crew": text, "usage": usage, "error": text, "last_crew_task": text}
    for state in ({"state": "RUNNING", "progress": progress}, failure(text), success(text, {text: text})):
        asked.now("run-1", state)
        fields = FIELDS | {"inputs": {text: text}}
        page = api.page(api.task(fields=fields, xcoms={"crew_run": left, "return_value": text}, record=RECORD))
        assert "<script>window" not in page
        assert "<img src=x" not in page
        assert html.escape("<script>window") in page


@pytest.mark.parametrize("inputs", [{"api_key": "hunter2"}, '{"topic": {"api_key": "hunter2"}}'])
def test_inputs_are_masked_by_their_names(api: Api, inputs: Any) -> None:
    path = api.task(fields=FIELDS | {"inputs": inputs})
    assert "***" in api.page(path)
    assert "hunter2" not in api.page(path)
    assert "hunter2" not in api.get(f"{path}/text/inputs").text


def test_a_link_of_a_crew_leads_to_the_web_alone(api: Api, asked: ScriptedCrew) -> None:
    asked.now("run-1", "RUNNING")
    page = api.page(api.task(fields=FIELDS, xcoms={"crew_run": LEFT, "_link_CrewRunLink": "javascript:alert(1)"}))
    assert 'href="javascript' not in page


def test_a_crew_that_is_away_leaves_what_the_task_left_behind(
    api: Api, default_connection: Callable[[dict[str, Any]], None]
) -> None:
    default_connection({"conn_type": "crewai", "host": "http://127.0.0.1:9", "password": "secret-token"})
    done = LEFT | {"ending": "succeeded", "state": "succeeded"}
    page = api.page(api.task("success", fields=FIELDS, xcoms={"crew_run": done, "return_value": "The answer."}))
    for words in ("cannot be asked just now", "Succeeded", "The answer.", "4,711"):
        assert words in page
    assert "secret-token" not in page


def test_a_refused_token_is_said(api: Api, asked: ScriptedCrew) -> None:
    from scripted_crew import error

    asked.always("/status", error(401, "Not authenticated"))
    page = api.page(api.task(fields=FIELDS, xcoms={"crew_run": LEFT}))
    assert "Not authenticated" in page
    assert "What happened." in page


def test_many_viewers_cost_one_look(api: Api, asked: ScriptedCrew) -> None:
    asked.now("run-1", "RUNNING")
    path = api.task(fields=FIELDS, xcoms={"crew_run": LEFT})
    viewers = [threading.Thread(target=api.page, args=(path,)) for _ in range(30)]
    for each in viewers:
        each.start()
    for each in viewers:
        each.join()
    assert asked.looks == ["run-1"]


def test_an_unmapped_task_is_found_as_the_tab_asks_and_a_mapped_one_by_its_index(api: Api) -> None:
    path = api.task(fields=FIELDS)
    assert api.get(path.replace("/-1", "/{MAP_INDEX}")).status_code == 200
    mapped = api.task(fields=FIELDS, map_index=3)
    assert api.get(mapped).status_code == 200
    assert api.get(mapped.removesuffix("3") + "4").status_code == 404


def test_the_story_tells_of_its_clears_and_of_no_others(api: Api) -> None:
    from airflow.models.log import Log
    from airflow.utils.session import create_session

    path = api.task("failed", fields=FIELDS, earlier=("failed",), record=RECORD)
    task_id = api.made[-1]
    with create_session() as session:
        for who, tasks in (("Ada", [task_id]), ("Bob", ["another"]), ("Cy", [[task_id, -1]])):
            asked = json.dumps({"dry_run": False, "dag_run_id": "r", "task_ids": tasks})
            told = Log(event="post_clear_task_instances", owner=who, dag_id="d", extra=asked)
            session.add(told)
    page = api.page(path)
    for words in ("Ada cleared the task.", "Cy cleared the task."):
        assert words in page
    assert "Bob" not in page


def test_what_is_to_be_judged_is_shown_as_it_was_written(api: Api, asked: ScriptedCrew) -> None:
    output = "# Tides\n\n**Ebb** and flow."
    asked.now("run-1", {"state": "PAUSED", "human_input": {"task_id": "q", "message": "Good?", "output": output}})
    assert "<strong>Ebb</strong> and flow." in api.page(api.task(fields=FIELDS, xcoms={"crew_run": LEFT}))


def test_what_only_a_webhook_brought_is_shown_while_the_deployment_hides_the_run(api: Api, asked: ScriptedCrew) -> None:
    question = {"id": "q", "message": "Good?", "output": "**Ebb** and flow.", "options": [], "crew_task": ""}
    xcoms = {"crew_run": LEFT | {"question": question}}
    asked.now("run-1", "NOT FOUND")
    assert "<strong>Ebb</strong> and flow." in api.page(api.task("deferred", fields=FIELDS, xcoms=xcoms))
    assert "Ebb" not in api.page(api.task("failed", fields=FIELDS, xcoms=xcoms))


def test_a_task_that_runs_no_crew_has_no_page(api: Api) -> None:
    assert api.get(api.task(fields={"bash_command": "date"}, xcoms={"return_value": "secret"})).status_code == 404


def test_a_text_is_sent_in_full_as_plain_text(api: Api, asked: ScriptedCrew) -> None:
    asked.now("run-1", success("x" * 50_000 + HOSTILE))
    path = api.task("success", fields=FIELDS, xcoms={"crew_run": LEFT})
    text = api.get(f"{path}/text/result")
    assert text.headers["content-type"].startswith("text/plain")
    assert len(text.text) == 50_000 + len(HOSTILE)
    assert api.get(f"{path}/text/nothing").status_code == 404


def test_airflow_lists_the_plugin_once(api: Api) -> None:
    listed = api.get("/api/v2/plugins", "admin").json()["plugins"]
    (ours,) = [each for each in listed if each["name"] == "crewai"]
    assert [each["url_prefix"] for each in ours["fastapi_apps"]] == ["/crewai"]
