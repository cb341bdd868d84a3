"""The events of a run as they happen, over a real socket: each once, in order, from where a client left off."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aop_server import Server, Start
from page_server import PageServer

from airflow_provider_crewai.server.crew_process.happenings import KEPT, Happenings
from airflow_provider_crewai.server.runs import Runs

Told = dict[str, Any]


@contextmanager
def stream(server: Server, kickoff_id: str, after: int | None = None) -> Iterator[http.client.HTTPResponse]:
    headers = {"Last-Event-ID": str(after)} if after else {}
    with follow(server, f"/runs/{kickoff_id}/events", **headers) as response:
        yield response


@contextmanager
def follow(server: Server, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    with closing(http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)) as connection:
        connection.request("GET", path, headers={"Authorization": f"Bearer {server.token}"} | headers)
        yield connection.getresponse()


def told(response: http.client.HTTPResponse) -> Iterator[Told]:
    """Read events until the stream ends."""
    fields: Told = {}
    for line in response:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name:
            fields[name] = value
        elif "data" in fields:
            yield {"id": int(fields["id"]), "event": fields["event"], **json.loads(fields["data"])}
            fields = {}


def test_a_run_is_followed_to_its_end_and_again_from_where_a_client_left_off(server: Server) -> None:
    kickoff_id = server.kickoff()
    with stream(server, kickoff_id) as response:
        assert (response.status, response.headers.get_content_type()) == (200, "text/event-stream")
        events = list(told(response))
    assert [each["id"] for each in events] == [*range(1, len(events) + 1)]
    assert all(each["type"] == each["event"] and each["at"].endswith("Z") for each in events)
    states = [each["state"] for each in events if each["event"] == "state"]
    assert (states[0], states[-2:]) == ("PENDING", ["RUNNING", "SUCCESS"])
    assert [each["task"] for each in events if each["event"] == "task_completed"] == [
        "survey_task", "outline_task", "brief_task"
    ]  # fmt: skip
    with stream(server, kickoff_id, after=3) as response:
        assert list(told(response)) == events[3:]
    with stream(server, kickoff_id, after=events[-1]["id"]) as response:
        assert response.status == 204, "nothing more will come, so a browser need not ask again"
    status = server.status(kickoff_id)
    of_crewai = [each for each in events if each["event"] != "state"]
    assert status["events_count"] == sum(status["events_by_type"].values()) == len(of_crewai)
    assert status["events_by_type"]["task_completed"] == 3
    assert (status["last_event"]["type"], status["execution_origin"]) == (of_crewai[-1]["type"], "api")


def test_a_stream_does_not_keep_a_server_from_ending_and_goes_on_at_the_next(start_plain: Start) -> None:
    server = start_plain(environment={"BRIEF_SECONDS_PER_TASK": "3"})
    kickoff_id = server.kickoff()
    with stream(server, kickoff_id) as response:
        first = next(told(response))
        began = time.monotonic()
        server.restart()
        assert time.monotonic() - began < 30
    with stream(server, kickoff_id, after=first["id"]) as response:
        events = [first, *told(response)]
    assert [each["id"] for each in events] == [*range(1, len(events) + 1)]
    assert events[-1]["state"] == "SUCCESS"


def test_a_streams_run_must_exist_and_its_reader_must_have_the_token(server: Server) -> None:
    with stream(server, "made-up") as response:
        assert response.status == 404
    assert server.ask("GET", "/runs/made-up/events", headers={}).status == 401
    odd = server.ask("GET", f"/runs/{server.kickoff()}/events?last_event_id=999999999999999999999")
    assert odd.status == 200


def test_a_browser_with_a_session_follows_a_run_and_any_other_is_turned_away(tmp_path: Path) -> None:
    with PageServer(tmp_path) as page:
        run = page.run(topic="tides")
        threading.Timer(1, run.now, ("SUCCESS",)).start()
        seen = page.see(f"/runs/{run.kickoff_id}/events")
        assert [line for line in seen.splitlines() if line.startswith("id")] == ["id: 1", "id: 2"]
        assert '"state": "SUCCESS"' in seen
        assert page.ask("GET", f"/runs/{run.kickoff_id}/events", cookie="").status == 401


def test_of_a_long_run_the_last_events_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_id = runs.add({"inputs": {}})
    kept = Happenings(str(runs.path), kickoff_id)
    for number in range(KEPT + 10):
        kept.keep(Event(f"task {number}"))
    assert runs.event_counts(kickoff_id) == {"task_started": KEPT + 10}
    assert [runs.events(kickoff_id)[place].data["task"] for place in (0, -1)] == ["task 10", f"task {KEPT + 9}"]
    runs.forget([kickoff_id])
    assert (runs.events(kickoff_id), runs.event_counts(kickoff_id)) == ([], {})


@dataclass
class Event:
    task_name: str
    type: str = "task_started"
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))


def test_what_cannot_be_kept_fails_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kept = Happenings(str(runs.path), runs.add({"inputs": {}}))
    kept.keep(object())
    assert "AttributeError" in capsys.readouterr().err
