"""`scripts/chaos`: real faults against a real Airflow and real crews, and what came of them.

Each row breaks something, lets Airflow go on, and then counts how many kickoffs the server saw. The table says
row, kickoffs, stops, ending and seconds; a row that is not as the README promises fails the program.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path

from airflow_acts import give_connection
from airflow_home import PrivateAirflow, Settings
from chaos_at_size import ROWS_AT_SIZE
from chaos_batch import ROWS_WITH_BATCHES
from chaos_people import ROWS_WITH_PEOPLE
from chaos_rows import ROWS as ROWS_WITHOUT_PEOPLE
from chaos_stage import HEADER, LOGS, Row, Setup, Stage
from checkout import CHECKOUT
from crew_server import CrewServer
from fault_proxy import FaultProxy
from paper_crew import PaperCrew
from postgres import Postgres
from stopping import stop_in_order

ROWS = (*ROWS_WITHOUT_PEOPLE, *ROWS_WITH_PEOPLE, *ROWS_WITH_BATCHES)
TESTS = CHECKOUT / "tests" / "chaos"
# Airflow's own patience, shortened: a lost worker is noticed after ten seconds instead of five minutes. Much less
# would not do: a triggerer that looks up its first connection is busy for seconds, and must not pass for lost.
# And a task that is told to end has five seconds, as on 3.3: with 3.4's sixty it would be lost before it is killed, and
# 3.4.0b2's scheduler falls over a cleared task that is lost.
SETTINGS: Settings = {
    "core": {"killed_task_cleanup_time": "5"},
    "scheduler": {
        "scheduler_idle_sleep_time": "0.1",
        "task_instance_heartbeat_timeout": "10",
        "task_instance_heartbeat_timeout_detection_interval": "2",
    },
    "workers": {"missing_dag_retry_delay": "5"},
    "triggerer": {"triggerer_health_check_threshold": "20", "job_heartbeat_sec": "1"},
}
# Many at once keep a small machine busy, and a busy worker or triggerer must not pass for lost.
SETTINGS_AT_SIZE: Settings = {
    **SETTINGS,
    "core": {**SETTINGS["core"], "parallelism": "8", "max_active_tasks_per_dag": "8"},
    "scheduler": {"scheduler_idle_sleep_time": "0.1", "task_instance_heartbeat_timeout": "120"},
    "triggerer": {"triggerer_health_check_threshold": "60", "job_heartbeat_sec": "1"},
}


def main() -> int:
    """Play the rows that are asked for; answer with the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("words", nargs="*", metavar="WORD", help="play the rows whose name holds one of these")
    parser.add_argument("--large", action="store_true", help="what shows only at size; needs PostgreSQL")
    parser.add_argument("--list", action="store_true", help="print the names of the rows instead")
    options = parser.parse_args()
    stop_in_order()
    chosen = rows_with(options.words, ROWS_AT_SIZE if options.large else ROWS)
    if not chosen:
        print(f"scripts/chaos: no row's name holds {' or '.join(map(repr, options.words))}", file=sys.stderr)
        return 2
    if options.list:
        print(*(row.name for row in chosen), sep="\n")
        return 0
    results = play_all(chosen)
    print(f"{sum(results)} of {len(results)} as promised on Airflow {version('apache-airflow')}", flush=True)
    return 0 if all(results) and len(results) == len(chosen) else 1


def rows_with(words: Sequence[str], rows: Sequence[Row]) -> list[Row]:
    """Choose the rows that can be played on this Airflow and whose name holds one of the words, by default all."""
    airflow = running_airflow()
    named = [row for row in rows if not words or any(word in row.name for word in words)]
    return [row for row in named if airflow >= row.since]


def running_airflow() -> tuple[int, int]:
    """Answer with the Airflow of this interpreter, as far as rows are told apart by it."""
    major, minor = version("apache-airflow").split(".")[:2]
    return int(major), int(minor)


def play_all(rows: Sequence[Row]) -> list[bool]:
    """Play rows in turn, those of one setup on one Airflow, and print the table; answer with which were as promised."""
    print(HEADER, flush=True)
    results = []
    for setup in dict.fromkeys(row.setup for row in rows):
        ours = [row for row in rows if row.setup == setup]
        with staged(setup, sorted({f"chaos_{row.dag}" for row in ours})) as stage:
            results += [stage.play(row) for row in ours]
    return results


@contextmanager
def staged(setup: Setup, dags: Sequence[str]) -> Iterator[Stage]:
    """Start what a setup asks for, and end it."""
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="crewai-chaos-", ignore_cleanup_errors=True))
        )
        crew = crew_of(setup, folder)
        stack.enter_context(crew)
        proxy = stack.enter_context(FaultProxy(crew.url, crew.token))
        files = Path(shutil.copytree(TESTS / "dags", folder / "dags"))  # one of the files is deleted
        airflow = stack.enter_context(airflow_of(setup, folder, files, stack))
        proxy.airflow = airflow.url
        stage = Stage(airflow, proxy, running_airflow(), folder / "secrets.json")
        give_connection(stage, secrets=setup.secrets)
        for dag in dags:
            airflow.api.wait_for_dag(dag)
        try:
            yield stage
        finally:
            shutil.copytree(airflow.logs, LOGS / setup.name.replace(" ", "-"), dirs_exist_ok=True)


def crew_of(setup: Setup, folder: Path) -> CrewServer | PaperCrew:
    """Answer with a real crew, or with one on paper where hundreds run at once."""
    if setup.at_size:
        return PaperCrew()
    asking = {"BRIEF_SECONDS_PER_TASK": "1", "BRIEF_ASKS": "yes"}
    variables = asking if setup.asks else {"BRIEF_SECONDS_PER_TASK": "4"}
    return CrewServer(folder, variables, slots=8, strict=setup.strict)


def airflow_of(setup: Setup, folder: Path, dags: Path, stack: ExitStack) -> PrivateAirflow:
    """Answer with an Airflow, not yet started, that is set up so; and with a database of its own where many write."""
    settings = merged(SETTINGS_AT_SIZE if setup.at_size else SETTINGS, setup.settings, str(folder))
    if setup.at_size:
        settings = merged(settings, {"database": {"sql_alchemy_conn": stack.enter_context(Postgres()).url}})
    return PrivateAirflow(folder / "airflow", dags, settings=settings, modules=TESTS / "modules")


def merged(base: Settings, more: Settings, folder: str = "") -> Settings:
    """Lay settings on top of others; `{folder}` in them becomes a folder."""
    sections = {**dict.fromkeys(base), **dict.fromkeys(more)}
    both = {name: {**base.get(name, {}), **more.get(name, {})} for name in sections}
    return {name: {key: text.replace("{folder}", folder) for key, text in each.items()} for name, each in both.items()}


if __name__ == "__main__":
    sys.exit(main())
