"""The README is run: each of its blocks, and each row of its tables has a proof. What is new there fails here."""

from __future__ import annotations

import ast
import configparser
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from in_memory import LOGICAL_DATE, Airflow
from scripted_crew import Answer, ScriptedCrew, success

from airflow_provider_crewai.hooks import CrewHook
from airflow_provider_crewai.in_airflow.config import configured
from airflow_provider_crewai.operators import CrewKickoffOperator
from airflow_provider_crewai.provider_info import get_provider_info

CHECKOUT = Path(__file__).parents[2]
README = (CHECKOUT / "README.md").read_text()


@dataclass(frozen=True)
class Block:
    """A fenced block, and the heading above it."""

    language: str
    text: str
    heading: str

    def __str__(self) -> str:
        return f"{self.heading}-{self.language}"


def blocks() -> Iterator[Block]:
    heading, lines, language = "", [], None
    for line in README.splitlines():
        fence = re.match(r"\s*(```+|~~~+)\s*(\w*)", line)
        if fence and language is None:
            lines, language = [], fence[2]
        elif fence and language is not None:
            yield Block(language, "\n".join(lines) + "\n", heading)
            language = None
        elif language is not None:
            lines.append(line)
        elif line.startswith("#"):
            heading = line.lstrip("# ")


BLOCKS = list(blocks())


def the(language: str, *words: str) -> Block:
    """Return the only block of a language that holds these words."""
    (block,) = [each for each in BLOCKS if each.language == language and all(word in each.text for word in words)]
    return block


# ---- blocks ----------------------------------------------------------------------------------------

PROVEN = {
    "test_pip_install_installs_the_provider": the("sh", "pip install"),
    "test_the_demo_exists_and_is_tested": the("sh", "scripts/demo"),
    "test_the_first_dag_runs": the("python", "with DAG("),
    "test_airflow_connections_add_adds_a_usable_connection": the("sh", "airflow connections add"),
    "test_the_json_is_a_usable_connection": the("json"),
    "test_the_decorated_function_runs": the("python", "@task.crew("),
    "test_the_batch_runs_and_its_results_are_joined_to_the_rows": the("python", "CrewBatchOperator("),
    "test_the_function_that_returns_a_list_runs": the("python", "@task.crew_batch("),
    "test_the_place_of_the_record_is_the_options_example": the("ini", "ledger_path"),
    "test_the_address_for_calls_is_the_options_example": the("ini", "webhook_base_url"),
    "test_the_defaults_of_an_admin_are_taken": the("ini", "on_kill"),
    "test_the_task_with_a_retry_policy_runs": the("python", "retry_policy="),
    "test_the_task_that_asks_people_opens_an_action": the("python", "human_input="),
    "test_the_typed_answer_is_read": the("python", "output_type="),
    "test_a_failed_task_ends_its_log_like_this": the("log"),
    "test_the_hook_does_what_is_printed": the("python", "CrewHook("),
    "test_the_crew_on_ones_own_machine_answers_the_command_line": the("sh", "kickoff"),
    "test_the_crew_on_ones_own_machine_is_served": the("sh", "serve example_crew"),
    "test_the_test_command_is_what_ci_runs": the("sh", "scripts/test"),
}


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_every_block_is_run(block: Block) -> None:
    proofs = [name for name, proven in PROVEN.items() if proven == block]
    assert proofs, (
        f"README: the {block.language} block under {block.heading!r} is new; run it in a test and name it in PROVEN"
    )
    assert all(callable(globals().get(name)) for name in proofs)


def sh(block: Block, bin_folder: Path, cwd: Path, **environment: str) -> None:
    """Run a block as a reader would, with an environment's programs first on PATH."""
    path = f"{bin_folder}{os.pathsep}{os.environ['PATH']}"
    command = ["sh", "-euc", block.text]
    finished = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PATH": path, **environment}, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.mark.slow
def test_pip_install_installs_the_provider(checkout: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    # Without its dependencies, which are Airflow's half a gigabyte and tested by every environment of scripts/test.
    sh(the("sh", "pip install"), environment / "bin", checkout, PIP_NO_DEPS="1", PIP_DISABLE_PIP_VERSION_CHECK="1")
    ask = "import importlib.metadata as m; print(*m.entry_points(group='apache_airflow_provider'))"
    command = [str(environment / "bin" / "python"), "-c", ask]
    found = subprocess.run(command, cwd=environment, capture_output=True, text=True, check=True).stdout
    assert "airflow_provider_crewai.provider_info:get_provider_info" in found


def test_the_demo_exists_and_is_tested() -> None:
    (command,) = the("sh", "scripts/demo").text.split()
    assert os.access(CHECKOUT / command, os.X_OK)
    system = "".join(file.read_text() for file in (CHECKOUT / "tests" / "system").glob("*.py"))
    assert "demo" in system, "no test in tests/system runs scripts/demo --exit"
    assert "--exit" in system, "no test in tests/system runs scripts/demo --exit"


def test_the_test_command_is_what_ci_runs() -> None:
    (command,) = the("sh", "scripts/test").text.split()
    assert os.access(CHECKOUT / command, os.X_OK)
    assert re.search(rf"(^|\s){command}$", (CHECKOUT / ".ci" / "run").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Serve what the README serves; what is named here alone is where crewai is and where runs are kept."""
    command = [sys.executable, *the("sh", "serve example_crew").text.split()[1:]]
    options = ["--python", os.environ["CREW_PYTHON"], "--state", str(tmp_path_factory.mktemp("state"))]
    environment = os.environ | {"CREWAI_SERVER_TOKEN": "a-token", "PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [*command, *options], cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        yield {"CREW_URL": server.stdout.readline().split()[-1], "CREWAI_TOKEN": "a-token"}
        server.terminate()


def test_the_crew_on_ones_own_machine_is_served(served: dict[str, str]) -> None:
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", served["CREW_URL"])


def test_the_crew_on_ones_own_machine_answers_the_command_line(served: dict[str, str], tmp_path: Path) -> None:
    sh(the("sh", "kickoff"), Path(sys.executable).parent, tmp_path, PYTHONPATH=str(CHECKOUT), **served)


def test_the_first_dag_runs(
    crew: ScriptedCrew,
    default_connection: Callable[[dict[str, Any]], None],
    deploy: Callable[[str, str], Any],
) -> None:
    default_connection(crew.connection)
    crew.story("RUNNING", success("A brief on tides."))
    run = deploy("first_dag.py", the("python", "with DAG(").text).test()
    assert str(run.state) == "success"
    assert crew.kickoffs[0]["inputs"] == {"topic": "tides", "audience": "the data team"}


@pytest.mark.parametrize("logical_date", [None, LOGICAL_DATE])
def test_the_first_dag_runs_by_every_kind_of_trigger(
    airflow: Airflow, crew: ScriptedCrew, logical_date: datetime | None
) -> None:
    made: dict[str, Any] = {}
    exec(the("python", "with DAG(").text.replace("\n):\n", "\n) as dag:\n"), made)  # noqa: S102 - our own README
    (task,) = made["dag"].tasks
    assert airflow.task(task, logical_date=logical_date, conf={"topic": "ebb"}).finish().state == "success"
    assert crew.kickoffs[0]["inputs"]["topic"] == "ebb"


def test_airflow_connections_add_adds_a_usable_connection(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = the("sh", "airflow connections add")
    sh(block, Path(sys.executable).parent, tmp_path, AIRFLOW_HOME=str(database))
    # Where Airflow itself runs, connections are read from its database.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    settings = CrewHook("crewai_default").settings()
    assert settings.base_url in block.text
    assert settings.token in block.text


def test_the_json_is_a_usable_connection(default_connection: Callable[[dict[str, Any]], None]) -> None:
    said = json.loads(the("json").text)
    default_connection(said)
    settings = CrewHook().settings()
    assert (settings.base_url, settings.token) == (said["host"], said["password"])
    assert settings.timeout == said["extra"]["timeout"]


def ini(block: Block) -> dict[str, str]:
    """Return the options of our section."""
    file = configparser.ConfigParser()
    file.read_string(block.text)
    assert file.sections() == ["crewai"]
    return dict(file["crewai"])


def test_the_place_of_the_record_is_the_options_example() -> None:
    options = get_provider_info()["config"]["crewai"]["options"]
    assert ini(the("ini", "ledger_path")) == {"ledger_path": options["ledger_path"]["example"]}


def test_the_address_for_calls_is_the_options_example() -> None:
    options = get_provider_info()["config"]["crewai"]["options"]
    assert ini(the("ini", "webhook_base_url")) == {"webhook_base_url": options["webhook_base_url"]["example"]}


def test_the_defaults_of_an_admin_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in ini(the("ini", "on_kill")).items():
        monkeypatch.setenv(f"AIRFLOW__CREWAI__{name.upper()}", text)
    configured.cache_clear()
    task = CrewKickoffOperator(task_id="brief")
    configured.cache_clear()
    assert (task.timeout, task.unreachable_timeout, task.kill_policy) == (7200, None, "leave")


def run_python(block: Block, airflow: Airflow) -> tuple[list[Any], str]:
    """Run a block that is no Dag file of its own; return the tasks that it made, and what it printed."""
    printed = io.StringIO()
    with airflow.connected(), redirect_stdout(printed), DAG("readme", schedule=None, start_date=LOGICAL_DATE) as dag:
        exec(compile(block.text, "README.md", "exec"), {"__name__": "readme"})  # noqa: S102 - what our own README says
    return list(dag.tasks), printed.getvalue()


def test_the_decorated_function_runs(airflow: Airflow, crew: ScriptedCrew) -> None:
    (task,), _ = run_python(the("python", "@task.crew("), airflow)
    assert task.deferrable
    assert airflow.task(task).finish().state == "success"
    assert crew.kickoffs[0]["inputs"] == {"topic": "Tides in Brittany", "audience": "sailors"}


def test_the_batch_runs_and_its_results_are_joined_to_the_rows(airflow: Airflow, crew: ScriptedCrew) -> None:
    (briefs, save), _ = run_python(the("python", "CrewBatchOperator("), airflow)
    ti = airflow.task(briefs)
    assert ti.finish().state == "success"
    assert [kickoff["inputs"]["topic"] for kickoff in crew.kickoffs] == ["Tides in Brest", "Tides in Dover"]
    printed = io.StringIO()
    with redirect_stdout(printed):
        save.python_callable(ti.answer)
    assert printed.getvalue() == "1 succeeded A brief on tides.\n2 succeeded A brief on tides.\n"


def test_the_function_that_returns_a_list_runs(airflow: Airflow, crew: ScriptedCrew) -> None:
    (task,), _ = run_python(the("python", "@task.crew_batch("), airflow)
    ti = airflow.task(task)
    assert ti.finish().state == "success"
    assert [kickoff["inputs"]["topic"] for kickoff in crew.kickoffs] == ["Tides in Brest", "Tides in Dover"]


def test_the_typed_answer_is_read(airflow: Airflow, crew: ScriptedCrew) -> None:
    (brief, publish), _ = run_python(the("python", "output_type="), airflow)
    crew.story(success("A text.", {"title": "Ebb and flow", "text": "…"}))
    ti = airflow.task(brief)
    assert ti.finish().state == "success"
    printed = io.StringIO()
    with redirect_stdout(printed):
        publish.python_callable(ti.answer)
    assert printed.getvalue() == "Ebb and flow\n"


def test_the_task_with_a_retry_policy_runs(airflow: Airflow, crew: ScriptedCrew) -> None:
    (task,), _ = run_python(the("python", "retry_policy="), airflow)
    assert airflow.task(task).finish().state == "success"
    crew.story({"state": "FAILED", "status": "RateLimitError: rate limit reached"})
    assert airflow.task(task, run_id="manual__2").finish().state == "up_for_retry"
    crew.story({"state": "FAILED", "status": "ValueError"})
    assert airflow.task(task, run_id="manual__3").finish().state == "failed"


def test_the_task_that_asks_people_opens_an_action(airflow: Airflow, crew: ScriptedCrew) -> None:
    (task,), _ = run_python(the("python", "human_input="), airflow)
    crew.story("RUNNING", {"state": "PAUSED", "human_input": {"task_id": "q-1", "output": "A draft."}})
    ti = airflow.task(task)
    ti.run()
    while ti.action is None:
        ti.resume(ti.fire())
    assert "A draft." in ti.form.body
    assert [user.id for user in ti.form.assigned_users] == ["anna"]


def test_a_failed_task_ends_its_log_like_this(
    airflow: Airflow, crew: ScriptedCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
    at = {"completed": 1, "total": 3, "current": "write the weekly brief", "current_agent": "Senior Writer"}
    crew.once("/kickoff", Answer(body={"kickoff_id": "0" * 36}))
    failed = {"state": "FAILED", "error": "RateLimitError: too many tokens per minute", "progress": at}
    crew.now("0" * 36, failed | {"usage_metrics": {"total_tokens": 18_250}})
    verdict = airflow.task(CrewKickoffOperator(task_id="brief")).finish().verdict
    printed = [line.removeprefix("ERROR - ") for line in the("log").text.splitlines()]
    for said, shown in zip(verdict, printed, strict=True):
        assert re.split(r", |runs/", said)[0] == re.split(r", |runs/", shown)[0]


def test_the_hook_does_what_is_printed(airflow: Airflow, crew: ScriptedCrew) -> None:
    crew.story("RUNNING")
    _, printed = run_python(the("python", "CrewHook("), airflow)
    assert printed.splitlines() == ["('topic', 'audience')", "running"]
    assert crew.kickoffs == [{"inputs": {"topic": "Tides", "audience": "sailors"}}]


# ---- tables ----------------------------------------------------------------------------------------


def rows(heading: str) -> list[tuple[str, ...]]:
    """Return the rows of the first table under a heading."""
    under = README.split(f"\n{heading}\n", 1)[1]
    table = re.search(r"(?:^\|.*\n)+", under, re.MULTILINE)
    assert table, heading
    lines = table[0].splitlines()[2:]
    return [tuple(cell.strip() for cell in line.strip().split("|")[1:-1]) for line in lines]


TRIES, ENDINGS, KILLING = "test_operator_tries", "test_operator_endings", "test_operator_killing"
RESUMING, INPUTS, CHAOS = "test_operator_resuming", "test_operator_inputs", "chaos"
ASKING, BATCH = "test_asking_people", "test_batch_operator"
LIVES, AT_SIZE, HOME = "test_operator_lives", "test_killing_at_size", "test_calls_home"
RENDERED, IN_XCOM, TYPED = "test_rendered_inputs", "test_answers_in_xcom", "test_output_type"
WHAT_HAPPENS: dict[str, tuple[str, ...]] = {
    "the worker is killed while waiting": (
        f"{TRIES}::test_killed_while_waiting_the_retry_takes_the_same_run_up",
        f"{LIVES}::test_killed_anywhere_it_starts_one_run_and_ends_in_the_truth",
        f"{CHAOS}::worker killed while waiting",
        f"{CHAOS}::its machine lost while waiting",
    ),
    "the worker is killed between the kickoff and our record of it, and the run [calls home](#calls-from-the-deployment)": (
        f"{HOME}::test_a_retry_takes_up_the_run_that_called_home_after_the_worker_died",
        f"{CHAOS}::webhook: killed between POST and record",
    ),
    "the same, and no run calls home": (
        f"{TRIES}::test_killed_between_the_kickoff_and_its_record_the_retry_refuses_and_says_where_to_look",
        f"{TRIES}::test_an_orphaned_kickoff_is_run_again_where_the_author_says_so",
        f"{TRIES}::test_after_an_orphaned_kickoff_a_clear_starts_anew",
        f"{CHAOS}::killed between POST and record",
        f"{CHAOS}::the same, on_orphaned_kickoff=rerun",
    ),
    "the worker is killed between the record and the deferral, or when the task comes back": (
        f"{TRIES}::test_killed_between_the_record_and_the_deferral_the_retry_takes_the_same_run_up",
        f"{TRIES}::test_killed_on_coming_back_the_retry_takes_the_same_run_up",
        f"{CHAOS}::killed between record and defer",
        f"{CHAOS}::killed in execute_complete",
    ),
    "the triggerer, the scheduler or the api-server dies while the task is deferred": (
        f"{CHAOS}::triggerer killed while deferred",
        f"{CHAOS}::scheduler killed while deferred",
        f"{CHAOS}::api-server restarted while deferred",
    ),
    "the worker's machine shuts down, its pod is evicted, or it can no longer reach Airflow": (
        f"{KILLING}::test_a_worker_whose_machine_goes_down_leaves_the_run_to_the_retry",
        f"{KILLING}::test_a_task_that_cannot_ask_airflow_what_became_of_it_leaves_the_run_to_the_retry",
        f"{KILLING}::test_a_worker_whose_machine_goes_down_stops_the_run_that_no_retry_takes_up",
        f"{CHAOS}::its pod evicted while waiting",
    ),
    "the trigger moves to another triggerer, also with an XCom backend that stores references": (
        f"{KILLING}::test_a_trigger_that_moves_to_another_triggerer_stops_nothing",
        f"{KILLING}::test_a_task_that_was_woken_and_comes_back_for_its_run_stops_nothing",
        f"{KILLING}::test_what_an_xcom_backend_stores_in_place_of_an_id_is_no_proof_that_the_task_moved_on",
        f"{CHAOS}::trigger moved, first triggerer wakes",
        f"{CHAOS}::trigger moved, with an XCom backend that stores references",
    ),
    "the trigger itself fails, or Airflow times it out": (
        f"{RESUMING}::test_a_run_that_ended_is_returned_although_its_trigger_failed",
        f"{RESUMING}::test_a_run_that_goes_on_is_waited_for_in_the_worker",
    ),
    "the Dag's file is deleted while the task is deferred": (f"{CHAOS}::Dag file deleted while deferred",),
    "a user ends or clears the task while it waits in a worker": (
        f"{KILLING}::test_a_task_that_a_user_ends_stops_its_run",
        f"{KILLING}::test_where_a_deployment_cannot_stop_runs_the_log_shouts_it",
        f"{KILLING}::test_a_task_that_a_user_clears_stops_its_run",
        f"{KILLING}::test_a_task_that_a_user_clears_to_reattach_keeps_its_run",
        f"{KILLING}::test_a_task_that_is_killed_leaves_its_run_where_the_author_says_so",
        f"{CHAOS}::marked failed while waiting in a worker",
        f"{CHAOS}::cleared while waiting in a worker",
    ),
    "… before the run is started": (
        f"{KILLING}::test_a_task_that_is_killed_before_it_kicks_off_starts_nothing",
        f"{KILLING}::test_a_task_that_was_ended_before_its_kickoff_starts_nothing",
    ),
    "… between the kickoff and the deferral": (
        f"{KILLING}::test_a_task_that_was_ended_before_it_could_defer_stops_its_run",
        f"{KILLING}::test_a_task_that_was_ended_before_it_could_defer_leaves_its_run_where_the_author_says_so",
        f"{CHAOS}::marked failed between kickoff and deferral",
    ),
    "a user marks the deferred task failed or successful": (
        f"{KILLING}::test_a_deferred_task_that_a_user_ends_stops_its_run",
        f"{KILLING}::test_a_trigger_that_is_cancelled_over_and_over_stops_its_run_all_the_same",
        f"{KILLING}::test_a_deployment_that_cannot_stop_runs_is_told_of_in_the_triggerer_too",
        f"{KILLING}::test_a_deferred_run_is_left_where_the_author_says_so",
        f"{CHAOS}::marked failed while deferred",
        f"{CHAOS}::marked success while deferred",
        f"{CHAOS}::marked failed, on_kill=leave",
    ),
    "a user ends or clears many deferred tasks at once": (
        f"{AT_SIZE}::test_a_thousand_runs_are_stopped_within_airflows_patience",
        f"{AT_SIZE}::test_what_a_slow_deployment_leaves_over_is_the_rest_and_not_all_and_is_named",
        f"{CHAOS}::500 deferred, Dag run marked failed",
        f"{CHAOS}::500 deferred, cleared",
    ),
    "a user clears the deferred task, or a task that gave up while its run goes on": (
        f"{KILLING}::test_a_deferred_task_that_is_cleared_stops_its_run",
        f"{KILLING}::test_a_cleared_task_that_reattaches_keeps_its_run",
        f"{KILLING}::test_a_cleared_task_whose_next_try_waits_for_a_worker_stops_its_run_at_once",
        f"{TRIES}::test_clearing_a_deferred_task_stops_its_run_and_starts_a_new_one",
        f"{TRIES}::test_clearing_a_task_whose_run_is_left_starts_a_new_run_and_warns_of_the_old_one",
        f"{TRIES}::test_clearing_a_task_that_timed_out_stops_its_run",
        f"{TRIES}::test_clearing_a_deferred_task_with_reattach_takes_the_same_run_up",
        f"{CHAOS}::cleared while deferred",
        f"{CHAOS}::cleared while deferred, on_clear=reattach",
    ),
    "a user clears a task that succeeded": (
        f"{TRIES}::test_clearing_a_task_that_succeeded_starts_a_new_run",
        f"{TRIES}::test_clearing_with_reattach_returns_the_old_answer",
        f"{CHAOS}::cleared after success",
        f"{CHAOS}::cleared after success, on_clear=reattach, with ledger_path",
    ),
    '… with `on_clear="reattach"`, and Airflow has discarded the record': (
        f"{TRIES}::test_a_task_that_shall_reattach_says_that_its_record_was_discarded_after_its_success",
        f"{TRIES}::test_a_record_in_the_ledger_path_outlives_a_clear_that_empties_the_task_state_store",
        f"{CHAOS}::cleared after success, reattach, clear_on_success",
    ),
    "a Dag run is deleted and created again with the same run_id": (
        f"{TRIES}::test_a_dag_run_made_anew_under_its_run_id_starts_anew",
        f"{TRIES}::test_the_run_of_a_deleted_dag_run_is_stopped_where_it_still_goes_on",
    ),
    "the inputs differ between two tries: somebody edited them, or a template renders differently in each try, such as "
    "`{{ macros.datetime.now() }}` or `{{ ti.try_number }}`": (
        f"{TRIES}::test_a_template_that_renders_anew_for_each_try_starts_a_new_run",
        f"{TRIES}::test_inputs_that_were_edited_between_tries_start_a_new_run_and_stop_the_old_one",
        f"{TRIES}::test_edited_inputs_are_refused_where_the_author_says_so",
        f"{CHAOS}::inputs edited between tries",
        f"{CHAOS}::the same, on_changed_inputs=fail",
    ),
    "the crew is asleep when the task wants to start a run": (
        f"{ENDINGS}::test_a_crew_that_wakes_within_two_minutes_is_started_once",
        f"{ENDINGS}::test_a_crew_that_fails_to_tell_its_inputs_is_kicked_off_all_the_same",
    ),
    "the answer to the kickoff is lost, or is a 500, 502, 503 or 504, and the run calls home within a minute": (
        f"{HOME}::test_a_run_whose_kickoff_got_no_answer_is_the_one_that_calls_home",
        f"{CHAOS}::webhook: answer to the POST lost",
    ),
    "the answer is lost in such a way, and no run calls home in time": (
        f"{HOME}::test_after_the_time_that_is_documented_silence_leaves_it_open_whether_a_run_has_started",
        f"{TRIES}::test_a_kickoff_whose_answer_is_lost_is_never_sent_again_by_itself",
        f"{ENDINGS}::test_a_bare_503_to_the_kickoff_may_have_started_a_run_and_is_not_sent_again",
        f"{CHAOS}::answer to the POST lost",
        f"{CHAOS}::bare 503 to the kickoff",
    ),
    "the host name does not resolve, or the API is down, when the task wants to start a run": (
        f"{ENDINGS}::test_a_crew_that_is_down_at_the_kickoff_is_tried_for_two_minutes_and_again_by_the_retry",
        f"{ENDINGS}::test_a_crew_that_wakes_within_two_minutes_is_started_once",
    ),
    "the deadline passes before the run is started": (
        f"{ENDINGS}::test_no_kickoff_is_sent_after_the_deadline_and_a_retry_tries_again",
        f"{ENDINGS}::test_a_deadline_that_passes_while_the_crew_wakes_up_keeps_the_kickoff_from_being_sent",
        f"{ENDINGS}::test_a_deadline_that_passes_while_the_intent_is_written_leaves_nothing_on_record",
    ),
    "the API is down, slow, or answers 429, HTML, broken JSON or a redirect while the task waits": (
        f"{ENDINGS}::test_an_api_that_gives_no_usable_answer_for_a_while_is_waited_for",
        f"{ENDINGS}::test_an_answer_that_drips_is_given_up_after_the_timeout_of_a_request",
        f"{CHAOS}::API out for 12 s while deferred",
        f"{CHAOS}::429 with Retry-After",
        f"{CHAOS}::HTML 502 storm",
        f"{CHAOS}::truncated JSON",
        f"{CHAOS}::redirect to another host",
    ),
    "… for longer than that": (
        f"{ENDINGS}::test_an_api_that_gives_none_for_longer_fails_the_task_and_not_the_run",
        f"{TRIES}::test_each_try_takes_up_the_run_of_the_one_before",
        f"{CHAOS}::API out for longer than unreachable_timeout",
    ),
    "the task saw the run end, but then cannot fetch its answer": (
        f"{ENDINGS}::test_a_run_that_was_seen_to_end_is_never_said_to_go_on_and_a_retry_fetches_its_answer",
        f"{CHAOS}::login lost after the run was seen to end",
    ),
    "the deadline passes (`timeout`, `execution_timeout`), also while deferred": (
        f"{ENDINGS}::test_the_shorter_of_timeout_and_execution_timeout_counts_from_the_trys_start",
        f"{ENDINGS}::test_at_the_deadline_it_looks_once_more_and_believes_that",
        f"{ENDINGS}::test_a_deadline_that_passed_while_deferred_is_noticed_on_coming_back",
        f"{TRIES}::test_a_run_that_timed_out_is_taken_up_by_the_retry",
    ),
    "the token is rotated": (
        f"{ENDINGS}::test_a_token_that_was_rotated_is_read_again",
        f"{CHAOS}::token rotated while deferred",
    ),
    "the token stops working": (
        f"{ENDINGS}::test_a_token_that_is_refused_for_a_minute_fails_the_task_and_the_retry_takes_the_run_up",
        f"{ENDINGS}::test_a_token_that_is_refused_for_less_than_a_minute_is_read_anew_at_each_look",
    ),
    "the connection cannot be read": (
        f"{RESUMING}::test_a_connection_that_is_gone_on_coming_back_loses_no_run",
        f"{CHAOS}::100 deferred or starting, secrets backend away",
        f"{ENDINGS}::test_a_crew_that_is_not_started_costs_nothing_and_leaves_no_record",
    ),
    "the crew ends with an error": (
        f"{ENDINGS}::test_a_run_that_does_not_succeed_fails_the_task_with_the_whole_truth",
        f"{TRIES}::test_a_run_that_ended_badly_is_started_again",
    ),
    "the crew's answer does not fit `output_type`": (
        f"{TYPED}::test_a_mismatch_names_the_fields_keeps_the_answer_and_is_not_retried",
        f"{TYPED}::test_the_crew_runs_again_where_the_author_says_so",
    ),
    "a large answer cannot be written to `result_path`": (
        "test_result_path::test_an_answer_that_cannot_be_written_is_kept_and_a_retry_writes_it_without_paying_again",
    ),
    "the deployment does not know the run, or no longer knows it": (
        f"{ENDINGS}::test_a_run_that_is_out_of_sight_for_a_while_is_waited_for",
        f"{ENDINGS}::test_a_run_that_stays_out_of_sight_is_lost",
        f"{ENDINGS}::test_a_run_out_of_sight_that_may_wait_for_a_human_is_waited_for",
        f"{CHAOS}::NOT FOUND for a while",
    ),
    "the crew asks a person, with `human_input=True`": (
        f"{ASKING}::test_a_question_becomes_an_action_and_the_response_goes_to_the_crew",
        f"{CHAOS}::a person asks for changes, then approves",
        f"{CHAOS}::webhook: a person asks for changes, then approves",
    ),
    "… and the worker is killed when it is about to send the response": (
        f"{ASKING}::test_a_worker_that_dies_anywhere_sends_a_response_at_most_once",
        f"{ASKING}::test_what_a_person_said_is_sent_on_a_retry_to_a_run_that_hides_what_it_asks",
        f"{CHAOS}::worker killed between feedback's record and POST",
        f"{CHAOS}::worker killed between feedback's POST and answer",
    ),
    "… and the triggerer or the api-server dies meanwhile": (
        f"{CHAOS}::triggerer killed while a person is asked",
        f"{CHAOS}::approved while no triggerer runs",
        f"{CHAOS}::api-server restarted while a person is asked",
        f"{CHAOS}::webhook: api-server restarted while a person is asked",
        f"{CHAOS}::webhook: triggerer killed while a person is asked",
    ),
    "… and somebody answers elsewhere, also at the same moment": (
        f"{ASKING}::test_an_answer_given_elsewhere_closes_the_action",
        f"{ASKING}::test_a_response_that_comes_after_an_answer_elsewhere_is_not_sent",
        f"{CHAOS}::approved in Airflow and at the server at once",
        f"{CHAOS}::approved at the server only",
    ),
    "… and a user ends or clears the task meanwhile": (
        f"{ASKING}::test_a_user_who_ends_or_clears_the_task_stops_the_run_and_closes_the_action",
        f"{CHAOS}::marked failed while a person is asked",
        f"{CHAOS}::marked success while a person is asked",
        f"{CHAOS}::cleared while a person is asked",
    ),
    "… and nobody responds within `human_timeout`": (
        f"{ASKING}::test_a_question_that_nobody_answers_in_time_fails_the_task_and_not_the_run",
        f"{ASKING}::test_an_option_may_be_chosen_when_nobody_answers_in_time",
    ),
    "… and *Ask for changes* has no text, or the crew refuses the response": (
        f"{ASKING}::test_changes_without_a_text_are_not_sent_and_the_person_is_asked_again",
        f"{ASKING}::test_a_response_that_the_crew_refuses_is_asked_for_again",
    ),
    "… and the deployment's call arrives three times, or before the answer to the kickoff": (
        f"{CHAOS}::webhook delivered three times",
        f"{CHAOS}::webhook before the kickoff's own answer",
    ),
    "the worker is killed in the middle of a batch": (
        f"{BATCH}::test_a_worker_that_dies_at_any_write_of_the_record_starts_no_item_twice",
    ),
    "some items of a batch fail": (
        f"{BATCH}::test_a_retry_runs_the_failed_items_alone_and_keeps_the_answers",
        f"{BATCH}::test_allowed_failures_do_not_fail_the_task",
    ),
    '… with `on_item_failure="fail_fast"`': (
        f"{BATCH}::test_fail_fast_starts_no_other_run_and_stops_or_leaves_the_rest",
    ),
    "the answer to one kickoff of a batch is lost": (
        f"{BATCH}::test_a_lost_answer_to_a_kickoff_costs_its_item_and_no_other",
    ),
    "the crew refuses the inputs of one item": (f"{BATCH}::test_a_refused_item_costs_nothing_and_is_told",),
    "the deployment answers the kickoffs of a batch with 429, or its quota is used up": (
        f"{BATCH}::test_a_rate_limit_slows_the_batch_down_and_fails_no_item",
        f"{BATCH}::test_a_quota_that_stays_used_up_is_told_when_the_time_is_up",
    ),
    "the API is down while a batch waits, or the time is up": (
        f"{BATCH}::test_an_outage_ends_the_waiting_and_no_run",
        f"{BATCH}::test_when_the_time_is_up_the_task_says_what_goes_on_and_a_retry_takes_it_up",
    ),
    "the list of a batch changes between two tries": (
        f"{BATCH}::test_a_list_that_changed_runs_what_is_new_and_keeps_what_is_done",
        f"{BATCH}::test_a_run_of_an_item_that_is_gone_is_stopped_or_left",
    ),
    "a user ends a batch": (
        "test_batch_trigger::test_a_batch_whose_task_a_user_ends_or_clears_stops_all_its_runs",
        "test_batch_trigger::test_runs_are_left_where_the_author_says_so_and_each_is_named",
        "test_batch_trigger::test_a_run_that_cannot_be_stopped_gets_a_line_of_its_own",
    ),
    "a user clears a batch": (
        f"{BATCH}::test_a_clear_starts_all_again_or_keeps_all",
        "test_batch_trigger::test_a_cleared_task_that_reattaches_keeps_its_runs",
    ),
    "the deployment reports an unknown state": (
        "test_operator_answers::test_the_log_says_each_change_once_and_never_the_token",
        f"{CHAOS}::unknown state",
    ),
    "fifty mapped tasks wait at once": (
        "test_status_trigger::test_many_triggers_wait_at_once_in_one_loop",
        f"{CHAOS}::50 mapped tasks at once",
    ),
    'a template renders to nothing (None, "", "None")': (
        f"{RENDERED}::test_inputs_that_rendered_to_nothing_are_refused",
        f"{RENDERED}::test_nothing_in_an_optional_field_is_absent",
        f"{RENDERED}::test_no_other_connection_is_taken_where_none_is_named",
    ),
    "a list or object inside the inputs is rendered as Python writes it": (
        f"{RENDERED}::test_a_text_inside_the_inputs_that_a_template_was_hardly_meant_to_give_is_sent_with_a_warning",
    ),
    "the crew's answer holds something that Airflow cannot keep as JSON: keys of its serialiser, more than 64 levels, "
    "numbers beyond 64 bits, NUL": (
        f"{IN_XCOM}::test_any_json_answer_arrives_in_the_next_task_as_that_json_or_as_its_text",
        f"{IN_XCOM}::test_a_task_that_was_answered_an_order_succeeds_and_says_how_to_read_it",
    ),
    "inputs are not JSON, or the crew refuses them, or they are misspelt with `validate_inputs=True`; the token is "
    "refused; the URL is not a crew's": (
        f"{INPUTS}::test_inputs_that_the_crew_refuses_cost_nothing_and_are_not_retried",
        f"{INPUTS}::test_validation_refuses_a_misspelt_name_and_says_which_was_meant",
        f"{INPUTS}::test_what_json_cannot_hold_is_refused_by_name_before_anything_is_sent",
        f"{ENDINGS}::test_a_crew_that_is_not_started_costs_nothing_and_leaves_no_record",
    ),
}
HOW_IT_DECIDES: dict[tuple[str, str, str], tuple[str, ...]] = {
    ("none", "", ""): ("test_operator_answers::test_only_a_question_a_kickoff_and_looks_are_sent",),
    ("cannot be read", "", ""): (f"{TRIES}::test_a_record_that_cannot_be_read_is_not_no_record",),
    ("any", "the Dag run was deleted and created again", ""): (
        f"{TRIES}::test_a_dag_run_made_anew_under_its_run_id_starts_anew",
    ),
    ("intent without id", "its run has called home", ""): (
        f"{HOME}::test_a_retry_takes_up_the_run_that_called_home_after_the_worker_died",
        f"{HOME}::test_a_run_that_called_home_is_stopped_before_a_clear_starts_another",
    ),
    ("intent without id", "the task was cleared", ""): (
        f"{TRIES}::test_after_an_orphaned_kickoff_a_clear_starts_anew",
    ),
    ("intent without id", "", ""): (
        f"{TRIES}::test_killed_between_the_kickoff_and_its_record_the_retry_refuses_and_says_where_to_look",
        f"{TRIES}::test_an_orphaned_kickoff_is_run_again_where_the_author_says_so",
    ),
    ("kickoff_id", "the task was cleared", "any"): (
        f"{TRIES}::test_clearing_a_deferred_task_stops_its_run_and_starts_a_new_one",
        f"{TRIES}::test_clearing_a_task_whose_run_is_left_starts_a_new_run_and_warns_of_the_old_one",
        f"{TRIES}::test_clearing_a_task_that_succeeded_starts_a_new_run",
        f"{TRIES}::test_clearing_with_reattach_returns_the_old_answer",
    ),
    ("kickoff_id", "crew or inputs changed", ""): (
        f"{TRIES}::test_inputs_that_were_edited_between_tries_start_a_new_run_and_stop_the_old_one",
        f"{TRIES}::test_edited_inputs_are_refused_where_the_author_says_so",
        f"{TRIES}::test_edited_inputs_are_not_refused_once_the_old_run_is_over",
        f"{TRIES}::test_another_crew_is_a_change_too",
    ),
    ("kickoff_id", "", "failed or stopped, and nobody has read why"): (
        f"{ENDINGS}::test_a_run_that_was_seen_to_end_is_never_said_to_go_on_and_a_retry_fetches_its_answer",
    ),
    ("kickoff_id", "", "failed, stopped"): (f"{TRIES}::test_a_run_that_failed_while_nobody_looked_is_started_again",),
    ("kickoff_id", "its answer did not fit `output_type`", ""): (
        f"{TYPED}::test_a_retry_policy_sees_the_mismatch_and_pays_no_second_time_by_itself",
        f"{TYPED}::test_the_crew_runs_again_where_the_author_says_so",
    ),
    ("kickoff_id", "", "succeeded"): (f"{TRIES}::test_a_run_that_ended_meanwhile_is_returned_at_once",),
    ("kickoff_id", "", "anything else"): (
        f"{TRIES}::test_killed_while_waiting_the_retry_takes_the_same_run_up",
        f"{TRIES}::test_a_run_that_cannot_be_looked_at_is_taken_up_all_the_same",
    ),
}


def test_every_row_of_what_happens_when_has_a_proof() -> None:
    said = [row[0] for row in rows("## What happens when…")]
    unproven = [row for row in said if row not in WHAT_HAPPENS]
    assert not unproven, f"README promises {unproven}; write the test and name it in WHAT_HAPPENS"
    assert list(WHAT_HAPPENS) == said, "WHAT_HAPPENS proves what the README no longer says"


def test_every_row_of_how_a_task_decides_has_a_proof() -> None:
    said = [row[:3] for row in rows("### How a task decides whether to start")]
    assert list(HOW_IT_DECIDES) == said


def functions(module: str) -> set[str]:
    tree = ast.parse((Path(__file__).parent / f"{module}.py").read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def scenarios() -> set[str]:
    """Return the names of the rows of `scripts/chaos`."""
    files = [
        CHECKOUT / "scripts" / "lib" / name
        for name in ("chaos_rows.py", "chaos_people.py", "chaos_batch.py", "chaos_at_size.py")
    ]
    calls = [node for file in files for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Row"]
    return {call.args[0].value for call in made if isinstance(call.args[0], ast.Constant)}  # type: ignore[misc]


PROOFS = sorted({proof for table in (WHAT_HAPPENS, HOW_IT_DECIDES) for proofs in table.values() for proof in proofs})


@pytest.mark.parametrize("proof", PROOFS)
def test_every_proof_exists(proof: str) -> None:
    module, _, name = proof.partition("::")
    assert name in (scenarios() if module == CHAOS else functions(module))
