"""Whatever a deployment says, log and error of the task are printable lines without the token, and XComs are as they came."""

from __future__ import annotations

from typing import Any

import pytest
from crew_tasks import brief
from in_memory import Airflow, Outcome
from scripted_crew import Answer, ScriptedCrew, success
from support.hostile import PAYLOADS, TOKEN, faults

EVERY_PAYLOAD = pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
BOTH_WAYS = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


@pytest.fixture
def crew(crew: ScriptedCrew) -> ScriptedCrew:
    """A crew whose token is worth finding."""
    crew.token = TOKEN
    return crew


def check(outcome: Outcome) -> None:
    ours = [line for line in outcome.log if not line.startswith("::")]  # Airflow's own groups
    for line in ours:
        assert len(line.splitlines()) == 1, line[:300]
        assert len(line) < 1_000, line[:300]
    assert not [*faults("\n".join([*ours, str(outcome.error or "")]))]


def goes_on(payload: str) -> list[dict[str, Any]]:
    """States of a run whose every word is the payload."""
    progress = {"completed": 1, "total": 2, "current": payload, "current_agent": payload}
    asked = {"task_id": "t-1", "message": payload, "output": payload}
    return [
        {"state": "RUNNING", "status": payload, "progress": progress, "usage_metrics": {payload: 1}},
        {"state": "PAUSED", "status": payload, "human_input": asked},
        {"state": payload, "status": payload},
    ]


@BOTH_WAYS
@EVERY_PAYLOAD
def test_a_run_is_told_of_in_clean_lines(airflow: Airflow, crew: ScriptedCrew, payload: str, deferrable: bool) -> None:
    crew.story(*goes_on(payload), success("A brief."))
    ti = airflow.task(brief(deferrable=deferrable))
    outcome = ti.finish()
    assert (outcome.state, ti.answer) == ("success", "A brief.")
    check(outcome)


@BOTH_WAYS
@EVERY_PAYLOAD
def test_a_failure_is_told_of_in_clean_lines(
    airflow: Airflow, crew: ScriptedCrew, payload: str, deferrable: bool
) -> None:
    crew.story("RUNNING", {"state": "FAILED", "status": payload, "error": payload, "result": payload})
    outcome = airflow.task(brief(deferrable=deferrable)).finish()
    assert outcome.state == "failed"
    check(outcome)


@pytest.mark.parametrize("place", ["/inputs", "/kickoff", "/status"])
@pytest.mark.parametrize("status", [200, 302, 401, 404, 422, 500])
@EVERY_PAYLOAD
def test_an_error_is_told_of_in_clean_lines(
    airflow: Airflow, crew: ScriptedCrew, place: str, status: int, payload: str
) -> None:
    said = payload.encode("utf-8", "replace").decode()
    header = "".join(sign for sign in said if " " < sign < "\x7f")[:1_000]
    headers = {"Location": f"https://x.example/{header}"}
    crew.always(place, Answer(status, {"detail": said, "error": [said], "details": {said: said}}, headers))
    outcome = airflow.task(brief(timeout=0.5, unreachable_timeout=0)).finish()
    assert outcome.state == "failed" or place == "/inputs"
    check(outcome)


@BOTH_WAYS
@EVERY_PAYLOAD
def test_an_answer_is_as_it_came_but_for_what_nobody_can_store(
    airflow: Airflow, crew: ScriptedCrew, payload: str, deferrable: bool
) -> None:
    came: dict[str, Any] = {"said": [payload], payload: 1}
    crew.story("RUNNING", success(payload, came))
    ti = airflow.task(brief(deferrable=deferrable))
    outcome = ti.finish()
    stored = payload.replace("\0", "\ufffd").replace("\ud800", "\ufffd")
    assert ti.answer == {"said": [stored], stored: 1}
    check(outcome)
    said = "\n".join(outcome.log)
    assert ("holds a secret" in said) is ("token" in [*PAYLOADS][[*PAYLOADS.values()].index(payload)])
    assert ("no database can hold" in said) is (stored != payload)


@EVERY_PAYLOAD
def test_a_kickoff_id_is_as_it_came_or_the_run_is_told_of_as_one_that_nobody_can_name(
    airflow: Airflow, crew: ScriptedCrew, payload: str
) -> None:
    crew.once("/kickoff", Answer(body={"kickoff_id": payload}))
    ti = airflow.task(brief(wait_for_completion=False))
    outcome = ti.finish()
    if outcome.state == "success":
        assert ti.answer == ti.xcom("kickoff_id") == payload
        assert payload.isprintable()
        assert len(payload) <= 256
    else:
        assert "paid run may have started" in outcome.told
        check(outcome)
