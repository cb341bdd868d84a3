"""One cell of `scripts/matrix`: whether the provider runs real tasks on this interpreter's Airflow.

The project's own server serves the example crew, and `dag.test()` runs tests/matrix/dags: a kickoff that waits in its
worker and expects a type, one that defers and keeps its answer in a file, a deferred sensor, a kickoff that crashes once
its run has started and is retried, and a batch that defers. An import or a `db migrate` would not do: some releases
pass both with dependencies under which every task fails.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from checkout import CHECKOUT
from crew_server import CrewServer

DAG = CHECKOUT / "tests" / "matrix" / "dags" / "crewai_matrix.py"
PATIENCE = 300.0
ANSWER = "Matrices"


def main(home: Path) -> int:
    """Run the Dag in a fresh Airflow home and print which checks held; answer with the exit code."""
    shutil.rmtree(home, ignore_errors=True)
    (home / "dags").mkdir(parents=True)
    seen = run(Path(shutil.copy(DAG, home / "dags")), home)
    checks = {**judge(seen), "provider": knows_provider(home)}
    print(
        json.dumps(seen, indent=2),
        *(f"{name}: {'ok' if held else 'FAILED'}" for name, held in checks.items()),
        sep="\n",
    )
    return 0 if all(checks.values()) else 1


def run(dag: Path, home: Path) -> dict[str, Any]:
    """Serve the crew and run the Dag; answer with what its tasks saw."""
    seen = home / "seen.json"
    in_airflow(home, "-m", "airflow", "db", "migrate")
    # A run that has ended before the first look is not deferred: slow enough, each is.
    with CrewServer(home, {"BRIEF_SECONDS_PER_TASK": "1"}) as crew:
        in_airflow(home, str(dag), str(seen), AIRFLOW_CONN_CREWAI_DEFAULT=json.dumps(crew.connection))
    return dict(json.loads(seen.read_text()))


def judge(seen: Mapping[str, Any]) -> dict[str, bool]:
    """Tell which answers came, whether the deferrals were real, and whether the retry took the first try's run up."""
    answered = {task: ANSWER in str(seen[task]) for task in ("sync", "deferrable", "sensor", "recovery")}
    results = seen["batch"] or []
    answered["batch"] = [result["state"] for result in results] == ["succeeded"] * 3 and ANSWER in str(results)
    for task in ("deferrable", "sensor", "batch"):
        answered[task] &= bool(seen[f"{task} came back"])
    answered["sync"] &= isinstance(seen["sync"], dict)
    answered["deferrable"] &= bool(seen["deferrable is in a file"])
    answered["recovery"] &= len(seen["tries"]) > 1 and len(set(seen["tries"])) == 1
    return answered


KNOWS = """
from airflow.providers_manager import ProvidersManager
manager = ProvidersManager()
assert "airflow-provider-crewai" in manager.providers
assert manager.hooks["crewai"].hook_name == "CrewAI"
"""


def knows_provider(home: Path) -> bool:
    """Tell whether Airflow finds the provider by its entry point, and its connection type with a hook that loads."""
    try:
        in_airflow(home, "-c", KNOWS)
    except subprocess.CalledProcessError:
        return False
    return True


def in_airflow(home: Path, *arguments: str, **variables: str) -> None:
    """Run this Python with an Airflow home, and with nothing that would lead it to another."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    kept |= {"AIRFLOW_HOME": str(home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    kept |= {"AIRFLOW__CREWAI__LEDGER_PATH": f"file://{home}/ledger"}
    subprocess.run((sys.executable, *arguments), check=True, env=kept | variables, timeout=PATIENCE)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
