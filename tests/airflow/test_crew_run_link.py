"""The link "Crew run": there before the wait, in every ending, and nowhere but where it may lead."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.execution_time.comms import SetXCom
from crew_tasks import brief, sensor
from in_memory import Airflow, TaskInstance
from scripted_crew import ScriptedCrew, error, failure, success

from airflow_provider_crewai.in_airflow.link import CrewRunLink

if TYPE_CHECKING:
    from conftest import Clock

TEMPLATE = "https://platform.example/crews/7/runs/{kickoff_id}?tab=log"
PAGE = "https://platform.example/crews/7/runs/run-1?tab=log"


@pytest.fixture
def with_page(airflow: Airflow) -> Airflow:
    """An Airflow whose connection says where runs have their pages."""
    airflow.connections["crewai_default"]["extra"] = {"run_url": TEMPLATE}
    return airflow


def shown(ti: TaskInstance) -> Any:
    """Return the URL that Airflow shows for the task."""
    return ti.xcom(CrewRunLink().xcom_key)


def test_it_is_there_while_the_task_is_deferred(with_page: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    ti = with_page.task(brief(deferrable=True))
    assert ti.run().state == "deferred"
    assert shown(ti) == PAGE


@pytest.mark.parametrize("last", [success(), failure("no"), "STOPPED"])
def test_it_is_there_after_every_ending(with_page: Airflow, crew: ScriptedCrew, last: Any) -> None:
    crew.story("RUNNING", last)
    ti = with_page.task(brief())
    ti.finish()
    assert shown(ti) == PAGE


def test_it_is_there_where_nothing_is_waited_for(with_page: Airflow, crew: ScriptedCrew) -> None:
    ti = with_page.task(brief(wait_for_completion=False))
    assert ti.run().state == "success"
    assert shown(ti) == PAGE


def test_the_sensor_has_it_too(with_page: Airflow, crew: ScriptedCrew) -> None:
    crew.now("run-1", success())
    ti = with_page.task(sensor())
    ti.finish()
    assert shown(ti) == PAGE


def test_a_run_on_the_local_server_leads_to_its_page_there(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story(success() | {"run_page": "/runs/run-1"})
    ti = airflow.task(brief())
    ti.finish()
    assert shown(ti) == f"{crew.url}/runs/run-1"


@pytest.mark.parametrize(
    "named",
    [
        "https://evil.example/",
        "//evil.example/runs",
        "/\\evil.example",
        "javascript:alert(1)",
        "/runs/\nx",
        "/runs?next=//evil.example",
        "/" * 3,
        "/" + "a" * 400 + "!",
        "/a" * 200 + "!",
        "/" + "a" * 100_000,
        7,
        None,
        ["/runs"],
    ],
)
def test_a_deployment_names_no_page_but_a_path_of_its_own(airflow: Airflow, crew: ScriptedCrew, named: Any) -> None:
    crew.story(success() | {"run_page": named})
    ti = airflow.task(brief())
    assert ti.finish().state == "success"
    assert shown(ti).startswith("/crewai/runs/")


def test_it_stays_where_the_api_is_down_when_the_task_comes_back(
    with_page: Airflow, crew: ScriptedCrew, clock: Clock
) -> None:
    crew.story("RUNNING")
    ti = with_page.task(brief(deferrable=True, unreachable_timeout=1))
    ti.run()
    with_page.xcoms.clear()
    crew.always("/status", error(500, "away"))
    assert "The API has not answered" in ti.resume({"ending": "unreachable", "since": 1.0}).told
    assert shown(ti) == PAGE


@pytest.mark.usefixtures("clock")
def test_it_leads_into_airflow_before_there_is_a_run(airflow: Airflow, crew: ScriptedCrew) -> None:
    """So that it leads somewhere if nobody ever learns which run was started."""
    airflow.connections.clear()
    ti = airflow.task(brief())
    ti.finish()
    assert crew.kickoffs == []
    dag_id, run_id, task_id, map_index = ti.key
    assert shown(ti) == f"/crewai/runs/{dag_id}/{run_id}/{task_id}/{map_index}"


def test_it_is_pushed_once_for_each_place_that_it_leads_to(with_page: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING", success())
    with_page.task(brief()).finish()
    pushed = [each.key for each in with_page.asked if isinstance(each, SetXCom)]
    assert pushed.count(CrewRunLink().xcom_key) == 2


def test_an_id_with_odd_signs_stays_one_part_of_the_url(with_page: Airflow, crew: ScriptedCrew, clock: Clock) -> None:
    crew.now("a/../b?c", success())
    ti = with_page.task(sensor(kickoff_id="a/../b?c", poll_interval=1, max_poll_interval=10))
    ti.finish()
    assert shown(ti) == TEMPLATE.replace("{kickoff_id}", "a%2F..%2Fb%3Fc")


@pytest.mark.parametrize(
    "wrong",
    [
        "https://platform.example/runs",
        "platform.example/{kickoff_id}",
        "javascript:{kickoff_id}",
        "ftp://h/{kickoff_id}",
        "https://{kickoff_id}/",
        "https://{kickoff_id}.example/{kickoff_id}",
    ],
)
def test_a_template_that_leads_nowhere_is_refused_before_money_is_spent(
    airflow: Airflow, crew: ScriptedCrew, wrong: str
) -> None:
    airflow.connections["crewai_default"]["extra"] = {"run_url": wrong}
    outcome = airflow.task(brief()).run()
    assert "its Run page (extra.run_url)" in outcome.told
    assert crew.kickoffs == []
