"""What stands in for crewai does what crewai does, as far as anybody who asks the server can see."""

from __future__ import annotations

from typing import Any

from aop_server import PLAIN, Server, Start
from receiver import receiving

OWN = {
    "kickoff_id",
    "run_page",
    "meta",
    "started_at",
    "updated_at",
    "duration_seconds",
    "last_event",
    "events_count",
    "events_by_type",
    "usage_metrics",
    "token_usage",
}
"""What differs from run to run, and what crewai counts."""


def seen(server: Server) -> list[Any]:
    """What a run of the plain crew tells, without its ids and times."""
    with receiving() as tasks, receiving() as crews:
        kickoff_id = server.kickoff(taskWebhookUrl=tasks.url, crewWebhookUrl=crews.url)
        status = server.wait(kickoff_id, "SUCCESS")
        told = [one.json() for one in (*tasks.wait_for(3), *crews.wait_for(1))]
    return [without_own(answer) for answer in (server.ask("GET", "/inputs").json(), status, *told)]


def without_own(answer: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in answer.items() if name not in OWN}
    return {name: without_own(value) if isinstance(value, dict) else value for name, value in kept.items()}


def test_a_plain_crew_looks_the_same_with_crewai_and_with_what_stands_in_for_it(
    start: Start, start_plain: Start
) -> None:
    with_crewai = start(str(PLAIN))
    expected = seen(with_crewai)
    with_crewai.end()
    assert seen(start_plain()) == expected
