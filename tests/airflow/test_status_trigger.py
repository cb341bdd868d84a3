"""The trigger in an event loop, over a real socket."""

from __future__ import annotations

import asyncio
import inspect
import json
import time
from typing import Any

import pytest
import structlog
from airflow.sdk.execution_time.comms import GetConnection
from in_memory import Airflow, only_event
from scripted_crew import LOST, TOKEN, Answer, ScriptedCrew, error, failure, success

from airflow_provider_crewai.hooks import AsyncCrewHook
from airflow_provider_crewai.triggers import CrewStatusTrigger

FAST: dict[str, Any] = {"poll_interval": 0.001, "max_poll_interval": 0.002}


def event_of(airflow: Airflow, **arguments: Any) -> dict[str, Any]:
    """Run a trigger to its only event."""
    trigger = CrewStatusTrigger(**{"kickoff_id": "run-1", **FAST, **arguments})
    with airflow.connected():
        event: dict[str, Any] = asyncio.run(only_event(trigger))
    return event


@pytest.mark.parametrize(
    ("ended", "ending"),
    [(success(), "succeeded"), (failure("out of tokens"), "failed"), ({"state": "REVOKED"}, "stopped")],
)
def test_it_fires_one_event_when_the_run_has_ended(
    airflow: Airflow, crew: ScriptedCrew, ended: dict[str, Any], ending: str
) -> None:
    told = {"progress": {"completed": 2, "total": 3, "current": "write"}, "usage_metrics": {"total_tokens": 1234}}
    crew.now("run-1", "PENDING", "RUNNING", ended | told)
    event = event_of(airflow)
    assert abs(time.time() - event.pop("at")) < 60
    known = {"kickoff_id": "run-1", "since": None, "seen_alive": True}
    known |= {"crew_tasks_done": 2, "crew_tasks_total": 3, "tokens": 1234}
    assert event == {**known, "ending": ending, "state": ending}


def test_its_event_holds_no_result_no_error_and_no_token(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", "RUNNING", {**success("A result."), "result_json": {"title": "Tides"}})
    said = json.dumps(event_of(airflow))
    assert not any(word in said for word in ("A result.", "Tides", TOKEN, crew.url))


def test_its_arguments_survive_the_database() -> None:
    trigger = CrewStatusTrigger("run-1", "another", 1.5, 2.5, 3.0, 4.0, 5.0, True, True, "stop", "reattach", asks=True)
    path, arguments = trigger.serialize()
    stored = json.loads(json.dumps(arguments))
    assert CrewStatusTrigger(**stored).serialize() == (path, arguments)
    assert all(isinstance(value, str | int | float | bool | None) for value in stored.values())
    assert {*stored, "unknown"} == set(inspect.signature(CrewStatusTrigger).parameters)


def test_its_class_path_never_changes() -> None:
    path, _ = CrewStatusTrigger("run-1").serialize()
    assert path == "airflow_provider_crewai.triggers.CrewStatusTrigger"


def test_what_an_older_version_stored_still_makes_a_trigger() -> None:
    assert CrewStatusTrigger(kickoff_id="run-1").serialize()[1]["on_kill"] == "leave"


def test_what_a_newer_version_stored_makes_a_trigger_too_and_is_said(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", success())
    trigger = CrewStatusTrigger("run-1", **FAST, colour="red", shape=None)
    with airflow.connected(), structlog.testing.capture_logs() as written:
        asyncio.run(only_event(trigger))
    assert "this version ignores its arguments colour, shape" in "\n".join(str(line["event"]) for line in written)
    assert not {"colour", "shape"} & trigger.serialize()[1].keys()


def test_the_connection_is_looked_up_once_however_often_it_polls(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", *["RUNNING"] * 20, success())
    event_of(airflow)
    assert len(crew.looks) == 21
    assert airflow.count(GetConnection) == 1


def test_the_connection_is_looked_up_again_after_a_401(airflow: Airflow, crew: ScriptedCrew) -> None:
    def rotate(_: object) -> None:
        crew.token = "a-new-token"
        airflow.connections["crewai_default"] = crew.connection

    crew.now("run-1", *["RUNNING"] * 5, success())
    crew.once("/status", Answer(body={"state": "RUNNING"}), Answer(body={"state": "RUNNING"}), rotate)
    assert event_of(airflow)["ending"] == "succeeded"
    assert airflow.count(GetConnection) == 2


def test_a_token_that_is_refused_for_less_than_a_minute_ends_nothing(airflow: Airflow, crew: ScriptedCrew) -> None:
    denied = error(401, "Not authenticated")
    crew.now("run-1", "RUNNING", success())
    crew.once("/status", Answer(body={"state": "RUNNING"}), *[denied] * 6)
    assert event_of(airflow)["ending"] == "succeeded"
    assert airflow.count(GetConnection) == 4


def test_what_was_last_seen_of_a_run_is_told_when_the_api_falls_silent(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.once("/status", Answer(body={"state": "RUNNING"}))
    crew.always("/status", error(502, "Bad Gateway"))
    event = event_of(airflow, unreachable_timeout=0.01)
    assert (event["ending"], event["state"]) == ("unreachable", "running")
    assert event["at"] <= event["since"]


def test_no_limit_for_a_silent_api_survives_the_database() -> None:
    _, arguments = CrewStatusTrigger("run-1", unreachable_timeout=None).serialize()
    stored = json.loads(json.dumps(arguments, allow_nan=False))
    assert CrewStatusTrigger(**stored).patience.unreachable_timeout is None


def test_all_triggers_of_a_connection_share_one_http_session(airflow: Airflow, crew: ScriptedCrew) -> None:
    async def in_turn() -> None:
        async with AsyncCrewHook() as keeps_it_open:
            await keeps_it_open.get_inputs()
            for number in range(50):
                crew.now(f"run-{number}", "RUNNING", success())
                await only_event(CrewStatusTrigger(f"run-{number}", **FAST))

    with airflow.connected():
        asyncio.run(in_turn())
    assert len(crew.looks) == 100
    assert crew.connections == 1


def test_many_triggers_wait_at_once_in_one_loop(airflow: Airflow, crew: ScriptedCrew) -> None:
    for number in range(50):
        crew.now(f"run-{number}", "RUNNING", "RUNNING", "RUNNING", success())

    async def at_once() -> list[dict[str, Any]]:
        triggers = (CrewStatusTrigger(f"run-{number}", **FAST) for number in range(50))
        return list(await asyncio.gather(*map(only_event, triggers)))

    with airflow.connected():
        events = asyncio.run(at_once())
    assert [event["kickoff_id"] for event in events] == [f"run-{number}" for number in range(50)]
    assert {event["ending"] for event in events} == {"succeeded"}


def test_a_missing_connection_raises_nothing_and_is_waited_for(airflow: Airflow) -> None:
    airflow.connections.clear()
    event = event_of(airflow, unreachable_timeout=0.02)
    assert event["ending"] == "unreachable"
    assert event["since"] is not None


def test_a_connection_that_is_wrong_is_told_at_once(airflow: Airflow) -> None:
    airflow.connections["crewai_default"]["password"] = ""
    event = event_of(airflow, seen_alive=True)
    assert (event["ending"], event["since"]) == ("unwatchable", None)


def test_a_url_that_is_no_crews_is_told_at_once(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.always("/status", error(404, "Not Found"))
    assert event_of(airflow)["ending"] == "unwatchable"
    assert len(crew.looks) == 1


def test_a_connection_that_comes_back_is_used(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", success())
    lost, airflow.connections = airflow.connections, {}

    def come_back(_: object) -> None:
        if airflow.count(GetConnection) == 3:
            airflow.connections = lost

    airflow.before = come_back
    assert event_of(airflow)["ending"] == "succeeded"
    assert airflow.count(GetConnection) == 3


@pytest.mark.parametrize("silence", [LOST, error(502, "Bad Gateway"), Answer(200, b"<html>")])
def test_an_api_that_does_not_answer_raises_nothing(airflow: Airflow, crew: ScriptedCrew, silence: Answer) -> None:
    crew.now("run-1", success())
    crew.once("/status", silence, silence, silence)
    assert event_of(airflow, seen_alive=True)["ending"] == "succeeded"
    crew.always("/status", silence)
    assert event_of(airflow, seen_alive=True, unreachable_timeout=0.01)["ending"] == "unreachable"


@pytest.mark.parametrize("page", [Answer(200, b"<html>"), Answer(body={"hello": "world"}), Answer(body=[])])
def test_what_no_crew_answers_is_told_at_once_where_the_run_was_never_seen(
    airflow: Airflow, crew: ScriptedCrew, page: Answer
) -> None:
    crew.always("/status", page)
    assert event_of(airflow)["ending"] == "unwatchable"
    assert len(crew.looks) == 1


def test_it_sleeps_before_its_first_look(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", success())

    async def look_at_once() -> None:
        trigger = CrewStatusTrigger("run-1", poll_interval=60)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(only_event(trigger), timeout=0.05)

    with airflow.connected():
        asyncio.run(look_at_once())
    assert crew.asked == []


def test_cancelling_it_touches_nothing_on_the_deployment(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", "RUNNING")

    async def cancel() -> None:
        loop, looked = asyncio.get_running_loop(), asyncio.Event()
        crew.once("/status", lambda _: loop.call_soon_threadsafe(looked.set) and None)
        task = asyncio.create_task(only_event(CrewStatusTrigger("run-1", on_kill="stop", **FAST)))
        await looked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    with airflow.connected():
        asyncio.run(cancel())
    assert crew.stops == []
