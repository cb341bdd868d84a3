"""Every example Dag, run by the real scheduler, triggerer, api-server and dag-processor against a real crew."""

from airflow_api import DagRun, Json
from airflow_home import PrivateAirflow

CREW_OPERATORS = ("CrewKickoffOperator", "CrewStatusSensor", "CrewBatchOperator", "@task.crew")


def crew_tasks(run: DagRun) -> list[Json]:
    return [task for task in run.tasks() if task["operator_name"] in CREW_OPERATORS]


def log(run: DagRun, task: Json) -> str:
    return run.log(task["task_id"], task["try_number"], task["map_index"])


def test_it_succeeds_at_the_first_try(run: DagRun) -> None:
    wanted = [task for task in run.tasks() if task["state"] != "skipped"]  # the branch that an answer did not take
    unhappy = [task for task in wanted if (task["state"], task["try_number"]) != ("success", 1)]
    assert not unhappy, "\n\n".join(log(run, task) for task in unhappy)
    assert run.state() == "success"


def test_the_kickoff_id_and_the_answer_are_in_xcom(run: DagRun) -> None:
    xcoms = [run.xcoms(task["task_id"], task["map_index"]) for task in crew_tasks(run)]
    assert any(each.get("kickoff_id") or each.get("crew_batch_id") for each in xcoms)
    assert all(each.get("return_value") for each in xcoms), xcoms


def test_the_link_leads_to_the_page_of_the_run(run: DagRun) -> None:
    for task in crew_tasks(run):
        left = run.xcoms(task["task_id"], task["map_index"]).get("crew_run")
        if left is None:  # it did not wait, and only a look shows where the local server has the page
            continue
        links = run.links(task["task_id"], task["map_index"])
        assert links == {"Crew run": f"{left['crew']}/runs/{left['kickoff_id']}"}


def test_its_crew_is_awaited_without_a_worker_slot(run: DagRun) -> None:
    logs = [log(run, task) for task in crew_tasks(run)]
    assert any("Pausing task as DEFERRED" in text for text in logs), "\n\n".join(logs)


def test_yesterdays_flow_goes_on_where_it_ended(airflow: PrivateAirflow, runs: dict[str, DagRun]) -> None:
    runs["crewai_yesterdays_flow"].wait()
    today = airflow.api.trigger("crewai_yesterdays_flow")
    today.wait()
    (task,) = crew_tasks(today)
    assert today.xcoms("count")["return_value"] > 1, log(today, task)


def test_a_large_answer_is_in_object_storage_and_the_manifest_in_xcom(
    airflow: PrivateAirflow, runs: dict[str, DagRun]
) -> None:
    run = runs["crewai_large_answer"]
    run.wait()
    manifest = run.xcoms("brief")["return_value"]
    file = airflow.home / "answers" / run.run_id / f"{manifest['kickoff_id']}.json"
    assert manifest["path"] == f"file://{file}"
    assert "oceanographers" in file.read_text()
