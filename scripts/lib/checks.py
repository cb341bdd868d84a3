"""`scripts/test`: everything that must hold before a commit, each part where it belongs.

The core is tested in an environment without Airflow, because it promises to need none.
"""

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
    strictly = (("mypy", "--strict", place) for place in ("scripts/lib", "tests/typing"))
    commands = (("ruff", "check"), ("ruff", "format", "--check"), ("mypy",), *strictly)
    results = [run(python, "-m", *command) for command in commands]
    return all(results)


def core() -> bool:
    """Test what must work where there is no Airflow."""
    python = CORE.make()
    return run(python, "-c", NO_AIRFLOW) and run(python, "-m", "pytest", "tests/core")


def server() -> bool:
    """Test the local server, with the newest crewai and the oldest that it promises to serve."""
    crews = {"CREW_PYTHON": str(CREW.make()), "CREW_PYTHON_OLDEST": str(OLDEST_CREW.make())}
    # Three, on two cores: half of the time goes for the import of crewai, once for each server, and half for waiting. In the
    # files' own order, since the one with the fewest tests takes longest and would come last.
    side_by_side = ("-n", "3", "--dist", "loadfile", "--no-loadscope-reorder")
    return run(AIRFLOW.make(), "-m", "pytest", *side_by_side, "tests/server", **crews)


def with_airflow(part: str) -> Callable[[], bool]:
    """Test what needs Airflow, with crews in an interpreter of their own."""
    return lambda: run(AIRFLOW.make(), "-m", "pytest", f"tests/{part}", CREW_PYTHON=str(CREW.make()))


PARTS: dict[str, Callable[[], bool]] = {
    "lint": lint,
    "core": core,
    "server": server,
    **{part: with_airflow(part) for part in ("airflow", "system")},
}


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


def main(parts: list[str]) -> int:
    """Run these parts, by default all; answer with the exit code."""
    if unknown := set(parts) - set(PARTS):
        print(f"scripts/test: no such part: {' '.join(unknown)}; there are: {' '.join(PARTS)}", file=sys.stderr)
        return 2
    stop_in_order()
    results = [timed(part) for part in parts or PARTS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
