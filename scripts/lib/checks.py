"""`scripts/test`: everything that must hold before a commit, each part where it belongs.

The core is tested in an environment without Airflow, because it promises to need none.
"""

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from environments import AIRFLOW, CHECKOUT, CORE, CREW, OLDEST_CREW
from stopping import stop_in_order
from watcher import MARK, new_mark, watch

NO_AIRFLOW = "import importlib.util as u; assert u.find_spec('airflow') is None, 'Airflow is importable here'"


def lint() -> bool:
    """Style, then types: all of it, so that one run shows everything there is to mend."""
    python = AIRFLOW.make()
    commands = (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",))
    results = [run(python, "-m", *command) for command in commands]
    return all(results)


def core() -> bool:
    """Test what must work where there is no Airflow."""
    python = CORE.make()
    return run(python, "-c", NO_AIRFLOW) and run(python, "-m", "pytest", *ANYWHERE, "tests/core")


def server() -> bool:
    """Test the local server, with the newest crewai and the oldest that it promises to serve."""
    crews = {"CREW_PYTHON": str(CREW.make()), "CREW_PYTHON_OLDEST": str(OLDEST_CREW.make())}
    return run(AIRFLOW.make(), "-m", "pytest", *FILE_BY_FILE, "tests/server", **crews)


def airflow() -> bool:
    """Test what needs Airflow, with crews in an interpreter of their own."""
    return run(AIRFLOW.make(), "-m", "pytest", *GROUPED, "tests/airflow", CREW_PYTHON=str(CREW.make()))


def airflow_alone() -> bool:
    """Test what needs Airflow's code, but neither its programs nor a crew."""
    return run(AIRFLOW.make(), "-m", "pytest", *GROUPED, "-m", "not slow", "tests/airflow")


def fast() -> bool:
    """Run what is worth waiting for before each commit."""
    results = [lint(), core(), airflow_alone()]
    return all(results)


def coverage() -> bool:
    """Show which lines no test runs, but for what pyproject.toml leaves out; those of a whole Airflow do not count."""
    python = AIRFLOW.make()
    os.environ["PYTEST_ADDOPTS"] = "--cov --cov-append --cov-report="
    results = [run(python, "-m", "coverage", "erase"), core(), server(), airflow()]
    return run(python, "-m", "coverage", "report") and all(results)


def system() -> bool:
    """Test a whole Airflow with a whole crew."""
    return run(AIRFLOW.make(), "-m", "pytest", "tests/system", CREW_PYTHON=str(CREW.make()))


# One more than there are cores, since much of the time is waiting.
WORKERS = str((os.cpu_count() or 1) + 1)
ANYWHERE = ("-n", WORKERS, "--dist", "worksteal")
GROUPED = ("-n", WORKERS, "--dist", "loadgroup")
# In the files' own order, since the one with the fewest tests takes longest and would come last.
FILE_BY_FILE = ("-n", WORKERS, "--dist", "loadfile", "--no-loadscope-reorder")

ALL: dict[str, Callable[[], bool]] = {
    "lint": lint,
    "core": core,
    "server": server,
    "airflow": airflow,
    "system": system,
}
PARTS = {**ALL, "fast": fast, "coverage": coverage}


def run(python: Path, *arguments: str, **variables: str) -> bool:
    """Run a command of an environment in the checkout; tell whether it succeeded."""
    # An Airflow home of its own: importing Airflow writes there.
    variables["AIRFLOW_HOME"] = str(CHECKOUT / ".test" / "airflow")
    # What tests start, and leave behind when they are cut off, ends with us.
    variables[MARK] = new_mark()
    watch(variables[MARK])
    environment = {**os.environ, **variables}
    # In a session of its own, so that Ctrl-C reaches it once: a second one keeps pytest from stopping what tests started.
    process = subprocess.Popen((python, *arguments), cwd=CHECKOUT, env=environment, start_new_session=True)
    try:
        return process.wait() == 0
    except BaseException:
        process.send_signal(signal.SIGINT)
        process.wait()
        raise


def timed(part: str) -> bool:
    """Run a part; say how it went on stderr, where it leaves pytest's own summary the last word of stdout."""
    started = time.monotonic()
    succeeded = PARTS[part]()
    verdict = "passed" if succeeded else "FAILED"
    print(f"== {part} {verdict} after {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)
    return succeeded


def asked_for(arguments: list[str]) -> list[str]:
    """Return the parts that are asked for, by default all."""
    parser = argparse.ArgumentParser(prog="scripts/test", description="Check what must hold before a commit.")
    parser.add_argument("--long", action="store_true", help="take as many random examples as CI does")
    parser.add_argument(
        "parts", nargs="*", metavar="part", help=f"one of {', '.join(PARTS)}; by default the first five"
    )
    asked = parser.parse_args(arguments)
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no such part: {' '.join(unknown)}; there are: {' '.join(PARTS)}")
    if asked.long:
        os.environ["CI"] = "true"  # which the tests read, in tests/support/effort.py
    return asked.parts or [*ALL]


def main(arguments: list[str]) -> int:
    """Run what is asked for; answer with the exit code."""
    parts = asked_for(arguments)
    stop_in_order()
    started = time.monotonic()
    results = [timed(part) for part in parts]
    print(f"== {time.monotonic() - started:.0f} s in all", file=sys.stderr)
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
