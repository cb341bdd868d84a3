"""People answer crews in a real Airflow's UI: in rounds, with a flow's outcomes, many at once, and told by webhook only."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path += [str(Path(__file__).parents[1] / "server")]

from airflow_api import DagRun
from airflow_home import PrivateAirflow
from browser import on_a_laptop
from crew_server import CrewServer
from required_actions import APPROVE, CHANGES, Action, open_actions, wait_for_action

from airflow_provider_crewai.in_airflow.compat import KEEPS_FIRST_FORM

pytestmark = (
    pytest.mark.left_to_ci
)  # crewai_human_answers is answered in test_example_dags.py, and tests/airflow has the laws

SHOTS = os.environ.get("SCREENSHOTS")
"""A folder for screenshots, if somebody wants to look at them."""

DAGS = Path(__file__).parent / "asking_dags"
FLOW = Path(__file__).parents[1] / "server" / "projects" / "verdict"
ASKED = [("rounds", -1), ("outcomes", -1), ("mapped", 0), ("mapped", 1), ("mapped", 2), ("silent", -1)]
REWORKED = "Reworked as you asked: "


@pytest.fixture(scope="module")
def crews(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, CrewServer]]:
    """A crew that asks, a flow that does, and a crew whose server is as silent about it as a deployment."""

    def folder(name: str) -> Path:
        return tmp_path_factory.mktemp(name)

    asks = {"BRIEF_ASKS": "yes"}
    with ExitStack() as stack:
        yield {
            "crewai_crew": stack.enter_context(CrewServer(folder("crew"), asks, slots=4)),
            "crewai_flow": stack.enter_context(CrewServer(folder("flow"), project=FLOW)),
            "crewai_strict": stack.enter_context(CrewServer(folder("strict"), asks, strict=True)),
        }


@pytest.fixture(scope="module")
def asking_airflow(crews: dict[str, CrewServer], tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateAirflow]:
    connections = {name: crew.connection for name, crew in crews.items()}
    settings = {"crewai": {"webhook_base_url": "{url}"}}
    with PrivateAirflow(tmp_path_factory.mktemp("asking"), DAGS, connections, settings) as running:
        yield running


@pytest.fixture(scope="module")
def asking_run(asking_airflow: PrivateAirflow) -> DagRun:
    """A run whose crews all ask."""
    asking_airflow.api.wait_for_dag("crew_asks")
    run = asking_airflow.api.trigger("crew_asks")
    for task, index in ASKED:
        wait_for_action(run, task, index, patience=120)
    return run


@pytest.fixture(scope="module")
def window(asking_airflow: PrivateAirflow) -> Iterator[Any]:
    """A window of a laptop's size."""
    with on_a_laptop() as page:
        yield page


def shoot(page: Any, name: str) -> None:
    if SHOTS:
        page.wait_for_timeout(500)  # what fades in has done so
        page.screenshot(path=f"{SHOTS}/{name}-{version('apache-airflow')}.png")


def picture(page: Any, name: str) -> None:
    """Take a picture for the README: of the task alone, without the rest of Airflow."""
    if SHOTS:
        page.wait_for_timeout(500)
        page.screenshot(path=f"{SHOTS}/{name}.png", clip={"x": 352, "y": 60, "width": 1080, "height": 760})


def see(window: Any, airflow: PrivateAirflow, action: Action) -> str:
    """Open an action, and answer with all that it says."""
    window.goto(airflow.url + action.path)
    window.locator("textarea").first.wait_for()
    return str(window.inner_text("body"))


def respond(window: Any, option: str, text: str = "") -> None:
    """Respond to the action that is open in the window."""
    if text:
        window.locator("textarea").first.fill(text)
    with window.expect_response(lambda got: "hitlDetails" in got.url and got.request.method == "PATCH") as sent:
        window.click(f"button:text-is('{option}')")
    assert sent.value.ok, sent.value.text()


def answer(run: DagRun, task: str, map_index: int = -1) -> dict[str, Any]:
    """Wait for a task's end, and answer with the crew's answer."""
    ended = run.wait_for_task(task, "success", "failed", map_index=map_index)
    log = run.log(task, ended["try_number"], map_index)
    assert (ended["state"], ended["try_number"]) == ("success", 1), log
    found: dict[str, Any] = run.xcom(task, map_index=map_index)
    return found


def test_each_question_is_a_required_action_and_takes_no_slot(
    asking_airflow: PrivateAirflow, asking_run: DagRun, window: Any
) -> None:
    shown = {(action.task["task_id"], action.task["map_index"]) for action in open_actions(asking_run)}
    assert shown == set(ASKED)
    assert asking_run.count("running") == 0
    window.goto(f"{asking_airflow.url}/required_actions")
    window.locator(f"text={len(ASKED)} Required Actions").wait_for()
    shoot(window, "required-actions")


def test_a_crew_reworks_its_draft_as_the_person_wrote_and_ends_when_they_approve(
    asking_airflow: PrivateAirflow, asking_run: DagRun, window: Any
) -> None:
    said = see(window, asking_airflow, wait_for_action(asking_run, "rounds"))
    assert all(words in said for words in ("Tides comes down to", "Addressed to everybody", APPROVE, CHANGES)), said
    shoot(window, "round-1")
    picture(window, "human_answers")
    respond(window, CHANGES, "Say where the tides come in.")

    second = wait_for_action(asking_run, "rounds")
    said = see(window, asking_airflow, second)
    shoot(window, "round-2")
    if not KEEPS_FIRST_FORM:
        assert f"{REWORKED}Say where the tides come in." in said
    page = f"/crewai/runs/{asking_run.dag_id}/{asking_run.run_id}/rounds/-1"
    window.goto(asking_airflow.url + page)
    assert f"{REWORKED}Say where the tides come in." in window.inner_text("body")
    shoot(window, "round-2-page")

    see(window, asking_airflow, second)
    respond(window, APPROVE)
    assert answer(asking_run, "rounds")["text"].endswith(f"{REWORKED}Say where the tides come in.")
    shoot(window, "approved")


def test_who_is_to_be_told_of_a_question_gets_the_link_that_leads_to_it(
    asking_airflow: PrivateAirflow, asking_run: DagRun
) -> None:
    told = [json.loads(line) for line in (asking_airflow.home / "told-rounds").read_text().splitlines()]
    where = Action(asking_run, {"task_instance": asking_run.task("rounds")}).path
    assert [each["url"] for each in told] == [asking_airflow.url + where] * 2


def test_a_flow_takes_the_outcome_that_the_person_chose(
    asking_airflow: PrivateAirflow, asking_run: DagRun, window: Any
) -> None:
    said = see(window, asking_airflow, wait_for_action(asking_run, "outcomes"))
    assert all(words in said for words in ("What shall become of this draft?", "publish", "revise", "drop")), said
    shoot(window, "flow")
    respond(window, "revise", "with the moon in it")
    see(window, asking_airflow, wait_for_action(asking_run, "outcomes"))
    respond(window, "publish")
    assert answer(asking_run, "outcomes") == {"title": "Tides", "drafts": 2, "published": True}


def test_each_of_three_mapped_tasks_gets_its_own_persons_words(asking_run: DagRun) -> None:
    for index in range(3):
        wait_for_action(asking_run, "mapped", index).respond(CHANGES, f"wish {index}")
    for index in range(3):
        wait_for_action(asking_run, "mapped", index).respond(APPROVE)
    texts = [answer(asking_run, "mapped", index)["text"] for index in range(3)]
    for index, reader in enumerate(("sailors", "surfers", "swimmers")):
        assert f"Addressed to {reader}" in texts[index]
        assert texts[index].endswith(f"{REWORKED}wish {index}")


def test_a_webhook_alone_is_enough_where_the_status_hides_a_crew_that_asks(
    asking_airflow: PrivateAirflow, asking_run: DagRun, crews: dict[str, CrewServer], window: Any
) -> None:
    strict, kickoff_id = crews["crewai_strict"], asking_run.xcom("silent", "kickoff_id")
    headers = {"Authorization": f"Bearer {strict.token}"}
    status = httpx.get(f"{strict.url}/status/{kickoff_id}", headers=headers, trust_env=False).json()
    assert status["state"] == "NOT FOUND"
    said = see(window, asking_airflow, wait_for_action(asking_run, "silent"))
    assert "Addressed to nobody" in said
    shoot(window, "webhook")
    respond(window, CHANGES, "Say it to somebody.")
    wait_for_action(asking_run, "silent").respond(APPROVE)
    assert answer(asking_run, "silent")["text"].endswith(f"{REWORKED}Say it to somebody.")


def test_no_action_is_left_open(asking_run: DagRun) -> None:
    assert asking_run.wait() == "success"
    assert asking_run.api.get(f"{asking_run.path}/hitlDetails", response_received=False)["total_entries"] == 0
