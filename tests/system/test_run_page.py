"""The page of a task's run inside a real Airflow: who may see it, what it says in each state, and in two clicks."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

sys.path += [str(Path(__file__).parents[1] / "server"), str(Path(__file__).parent)]

from airflow_api import DagRun
from airflow_home import PrivateAirflow
from browser import on_a_laptop
from topic_crew import TopicCrew

from airflow_provider_crewai.in_airflow.compat import HAS_TABS_OF_OWN

pytestmark = (
    pytest.mark.left_to_ci
)  # tests/airflow/test_run_page_in_airflow.py asks a real api-server for the same pages

SHOTS = os.environ.get("SCREENSHOTS")
"""A folder for screenshots, if somebody wants to look at them."""

DAGS = Path(__file__).parent / "run_page_dags"
STATES = {
    "fails": "failed",
    "runs": "deferred",
    "asks": "deferred",
    "succeeds": "success",
    "vanishes": "failed",
    "hostile": "failed",
    "forgotten": "success",
    "late": "failed",
    "batch_runs": "deferred",
    "batch_fails": "failed",
}


@pytest.fixture(scope="module")
def pages_crew() -> Iterator[TopicCrew]:
    with TopicCrew() as crew:
        yield crew


@pytest.fixture(scope="module")
def pages_airflow(pages_crew: TopicCrew, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateAirflow]:
    home = tmp_path_factory.mktemp("pages")
    with PrivateAirflow(home, DAGS, {"crewai_default": pages_crew.connection}) as running:
        yield running


@pytest.fixture(scope="module")
def pages_run(pages_airflow: PrivateAirflow) -> DagRun:
    pages_airflow.api.wait_for_dag("crew_pages")
    run = pages_airflow.api.trigger("crew_pages")
    for task, state in STATES.items():
        run.wait_for_task(task, state, patience=120)
    run.wait_for_task("mapped", "failed", map_index=1)
    return run


def path(run: DagRun, task: str, map_index: int = -1) -> str:
    return f"/crewai/runs/{run.dag_id}/{run.run_id}/{task}/{map_index}"


def see(airflow: PrivateAirflow, where: str, **headers: str) -> httpx.Response:
    token = httpx.get(f"{airflow.url}/auth/token", trust_env=False).json()["access_token"]
    given = {"authorization": f"Bearer {token}"} | headers
    return httpx.get(airflow.url + where, headers=given, trust_env=False, timeout=30)


def words(airflow: PrivateAirflow, where: str) -> str:
    answer = see(airflow, where)
    assert answer.status_code == 200, answer.text
    return answer.text


@pytest.mark.parametrize(
    ("task", "state", "said"),
    [
        ("fails", "Failed", ["failed in crew task 2 of 3: write (Writer)", "no tides on Mars", "starts a new run"]),
        (
            "runs",
            "Running",
            ["1 of 3 done, now write (Writer)", "It goes on and costs", "A retry takes this run up again"],
        ),
        ("asks", "Waiting for an answer", ["Is the brief good enough?", "<h3>Tides</h3>", "It goes on and costs"]),
        ("succeeds", "Succeeded", ["<em>sea</em>", "The run is over", "1,200"]),
        ("vanishes", "May have started", ["A paid run may have started", "The task is not retried"]),
        ("late", "Running", ["did not end in time", "probably goes on and costs", "A retry takes this run up again"]),
    ],
)
def test_it_says_what_happened_whether_it_costs_and_what_comes_next(
    pages_airflow: PrivateAirflow, pages_run: DagRun, task: str, state: str, said: list[str]
) -> None:
    html = words(pages_airflow, path(pages_run, task))
    assert f"<title>{state}: {task} of crew_pages</title>" in html
    assert all(each in html for each in said), html
    assert "sk-do-not-show" not in html
    assert "a-token-for-pages" not in html


def test_a_batch_says_how_far_it_is_and_which_items_have_no_answer(
    pages_airflow: PrivateAirflow, pages_run: DagRun
) -> None:
    html = words(pages_airflow, path(pages_run, "batch_fails"))
    assert "<title>Failed: batch_fails of crew_pages</title>" in html
    for said in (
        "2 of 3 items have no answer",
        "Item 1",
        "no tides on Mars",
        "A retry keeps 1 answer",
    ):
        assert said in html, html
    assert "sk-do-not-show" not in html


def test_a_mapped_task_has_a_page_for_each_of_its_instances(pages_airflow: PrivateAirflow, pages_run: DagRun) -> None:
    assert "<title>Running" in words(pages_airflow, path(pages_run, "mapped", 0))
    assert "<title>Failed" in words(pages_airflow, path(pages_run, "mapped", 1))


def test_it_shows_what_the_task_left_behind_when_the_deployment_has_forgotten_the_run(
    pages_airflow: PrivateAirflow, pages_run: DagRun, pages_crew: TopicCrew
) -> None:
    pages_crew.forgets.add("forgotten")
    html = words(pages_airflow, path(pages_run, "forgotten"))
    assert "<title>Succeeded" in html
    assert "What is left behind." in html
    assert "The deployment does not know the run" in html


def test_all_viewers_share_one_look(pages_airflow: PrivateAirflow, pages_run: DagRun, pages_crew: TopicCrew) -> None:
    words(pages_airflow, path(pages_run, "succeeds"))
    looks = pages_crew.looks["succeeds"]
    for _ in range(10):
        words(pages_airflow, path(pages_run, "succeeds"))
    assert pages_crew.looks["succeeds"] - looks < 10


def test_what_runs_no_crew_has_no_page(pages_airflow: PrivateAirflow, pages_run: DagRun) -> None:
    assert see(pages_airflow, path(pages_run, "not_ours")).status_code == 404
    assert see(pages_airflow, path(pages_run, "no_such_task")).status_code == 404


# ---- in a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def window(pages_airflow: PrivateAirflow) -> Iterator[Any]:
    """A window of a laptop's size, with Airflow's grid of the Dag."""
    with on_a_laptop() as page:
        yield page


def shoot(page: Any, name: str) -> None:
    if SHOTS:
        page.screenshot(path=f"{SHOTS}/{name}-{version('apache-airflow')}.png")


@pytest.mark.parametrize(
    ("task", "first_screen", "second_screen"),
    [
        ("fails", ["failed in crew task 2 of 3", "no tides on Mars", "The run is over", "starts a new run"], "Failed"),
        ("late", ["did not end in time", "It probably goes on", "A retry takes this run up again"], "Running"),
        ("runs", ["running, 1 of 3 done, now write (Writer)", "A retry takes this run up again"], "Running"),
        ("asks", ["Is the brief good enough?", "A retry takes this run up again"], "Waiting for an answer"),
        ("vanishes", ["A paid run may have started", "The task is not retried"], "May have started"),
        ("batch_fails", ["2 of 3 items have no answer", "no tides on Mars", "No run goes on"], "Failed"),
    ],
)
def test_two_clicks_lead_from_the_grid_to_what_happened_and_to_the_runs_page(
    pages_airflow: PrivateAirflow,
    pages_run: DagRun,
    window: Any,
    task: str,
    first_screen: list[str],
    second_screen: str,
) -> None:
    window.goto(f"{pages_airflow.url}/dags/crew_pages")
    window.click(f"a[href*='/runs/'][href$='/tasks/{task}']")
    for said in first_screen:
        line = window.locator(f"text={said}").first
        line.wait_for()
        assert line.bounding_box()["y"] < 900, f"{said!r} is below the first screen"
    shoot(window, f"log-{task}")
    with window.context.expect_page() as opened:
        window.click("a[href*='/crewai/runs/']")
    page = opened.value
    assert page.title() == f"{second_screen}: {task} of crew_pages"
    shoot(page, f"page-{task}")
    page.close()


@pytest.mark.parametrize(("task", "where"), [("hostile", "#outcome"), ("batch_fails", "#without")])
def test_what_a_crew_writes_never_runs(
    pages_airflow: PrivateAirflow, pages_run: DagRun, window: Any, task: str, where: str
) -> None:
    page = window.context.new_page()
    heard: list[str] = []
    page.on("dialog", lambda dialog: heard.append(dialog.message))
    page.on("console", lambda message: heard.append(message.text))
    page.goto(pages_airflow.url + path(pages_run, task))
    assert "<img src=x onerror=alert(1)>" in page.inner_text(where)
    assert page.locator("img, script:not([src$='page.js']), a[href^=javascript]").count() == 0
    assert heard == []
    page.close()


@pytest.mark.skipif(not HAS_TABS_OF_OWN, reason="from Airflow 3.4 on")
def test_the_tab_is_on_our_tasks_and_on_no_others(
    pages_airflow: PrivateAirflow, pages_run: DagRun, window: Any
) -> None:
    tasks = f"{pages_airflow.url}/dags/crew_pages/runs/{pages_run.run_id}/tasks"
    window.goto(f"{tasks}/runs")
    window.click("a[href$='/plugin/crew_run']")
    shown = window.frame_locator("iframe")
    shown.locator("h1", has_text="runs of crew_pages").wait_for()
    shoot(window, "tab-runs")
    window.goto(f"{tasks}/not_ours")
    window.locator("text=EmptyOperator").first.wait_for()
    assert window.locator("a[href$='/plugin/crew_run']").count() == 0


def test_the_link_stands_among_the_tasks_details(pages_airflow: PrivateAirflow, pages_run: DagRun, window: Any) -> None:
    window.goto(f"{pages_airflow.url}/dags/crew_pages/runs/{pages_run.run_id}/tasks/vanishes/details")
    link = window.locator("a", has_text="Crew run").last
    link.wait_for()
    shoot(window, "link-vanishes")
    assert link.get_attribute("href") == pages_airflow.url + path(pages_run, "vanishes").replace("+", "%2B").replace(
        ":", "%3A"
    )


def test_the_connection_form_says_what_goes_where_and_what_its_test_needs(
    pages_airflow: PrivateAirflow, window: Any
) -> None:
    window.goto(f"{pages_airflow.url}/connections")
    window.click("button:has-text('Add Connection')")
    kind = window.locator("[role=dialog] [role=combobox]").first
    kind.click()
    kind.type("CrewAI")
    window.keyboard.press("Enter")
    dialog = window.locator("[role=dialog]")
    dialog.locator("text=Crew URL").first.wait_for()
    shoot(window, "form")
    assert dialog.locator("input[placeholder*='https://my-crew']").count() == 1
    assert dialog.locator("input[placeholder*='test_connection = Enabled']").count() == 1
