"""The parts of `scripts/test`, the cells of `scripts/matrix`, and the environments that both need.

nox runs them, and makes the environments with uv. All parts run even where one fails, and the last lines say how each
part went and how long it took. An environment is kept below `.nox/` until what it needs changes.
"""

import argparse
import configparser
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts" / "lib"))

from checkout import AIRFLOW_VERSION, CHECKOUT, folder_of, python_of
from watcher import MARK, new_mark, watch

nox.needs_version = ">=2026.2.9"
nox.options.default_venv_backend = "uv"
nox.options.download_python = "never"
# A Python that was asked for by name must be there; of all others those are taken that the machine has.
nox.options.error_on_missing_interpreters = "--python" in sys.argv
nox.options.sessions = ["all"]

# What the sessions start ends with nox, however nox ends.
family = new_mark()
watch(family)
# Importing Airflow writes to its home.
os.environ |= {MARK: family, "AIRFLOW_HOME": str(CHECKOUT / ".test" / "airflow")}

# ---- environments ----------------------------------------------------------------------------------------------

SETUP = CHECKOUT / "setup.cfg"


def environment(name: str, *installs: Sequence[str]) -> tuple[str, str]:
    """Declare the session that makes an environment by some `pip install` calls; return its name and its Python.

    The environment is made again when these calls, setup.cfg, the Python or the checkout's place have changed.
    """
    made_from = folder_of(name) / "made-from"
    wanted = "\n".join((sys.version, str(CHECKOUT), repr(installs), SETUP.read_text()))
    is_current = made_from.is_file() and made_from.read_text() == wanted

    @nox.session(name=name, reuse_venv=is_current)
    def make(session: nox.Session) -> None:
        if not made_from.is_file():  # nox has just made the environment
            for arguments in installs:
                session.install("--compile-bytecode", *arguments)
            made_from.write_text(wanted)

    return name, python_of(name)


def requirements(extra: str = "") -> list[str]:
    """Read what the project needs from setup.cfg, or what one of its extras adds."""
    setup = configparser.ConfigParser()
    setup.read(SETUP)
    lines = setup["options.extras_require"][extra] if extra else setup["options"]["install_requires"]
    return [line for line in lines.splitlines() if line]


def core_requirements() -> list[str]:
    """Leave Airflow out, and of the tools all but pytest's."""
    needed = [line for line in requirements() if not line.startswith("apache-airflow")]
    return needed + [line for line in requirements("dev") if line.startswith(("pytest", "hypothesis"))]


def oldest_crewai() -> str:
    """Read the oldest crewai that the local server promises to serve."""
    return next(line for line in requirements("local") if line.startswith("crewai>=")).removeprefix("crewai>=")


def example_crew() -> list[str]:
    """Read what the example crew itself asks for."""
    project = tomllib.loads((CHECKOUT / "example_crew" / "pyproject.toml").read_text())["project"]
    return list(project["dependencies"])


DATABASES = ("psycopg2-binary", "asyncpg")  # Airflow wants both for PostgreSQL
AIRFLOW, IN_AIRFLOW = environment(
    f"env-airflow-{AIRFLOW_VERSION}",
    [f"apache-airflow=={AIRFLOW_VERSION}", *DATABASES, "types-psutil", "--editable", ".[dev,server]"],
)
CORE, IN_CORE = environment("env-core", core_requirements(), ["--no-deps", "--editable", "."])
# The vendor's tools beside it, and nothing of this project.
CREW, IN_CREW = environment("env-crew", [*example_crew(), "crewai-tools"])
OLDEST = oldest_crewai()
OLDEST_CREW, IN_OLDEST_CREW = environment("env-crew-oldest", [f"crewai=={OLDEST}", f"crewai-tools=={OLDEST}"])
# CI sets it, and so does `scripts/test --long`.
LONG = os.environ.get("CI", "false") not in ("", "false")
CREWS = {"CREW_PYTHON": IN_CREW} | ({"CREW_PYTHON_OLDEST": IN_OLDEST_CREW} if LONG else {})
CREW_ENVIRONMENTS = [CREW, OLDEST_CREW] if LONG else [CREW]

# ---- parts -----------------------------------------------------------------------------------------------------

CORES = os.cpu_count() or 1
# One more than there are cores, since much of the time is waiting; no more than that where two parts run side by side.
PARALLEL = ("-n", os.environ.get("TEST_WORKERS", str(CORES + 1)), "--dist")
NO_AIRFLOW = "import importlib.util as u; assert u.find_spec('airflow') is None, 'Airflow is importable here'"
NO_STACK = ("-m", "not slow")
NOX = (sys.executable, "-m", "nox", "--noxfile", __file__, "--session")
PATIENCE = 10.0
"""Seconds for which tests may tidy up after Ctrl-C."""


def run(session: nox.Session, *command: str, **variables: str) -> None:
    """Run a command; the session fails if the command does."""
    session.run(*command, env=variables, interrupt_timeout=PATIENCE)


def pytest(session: nox.Session, python: str, *arguments: str, **variables: str) -> None:
    """Run pytest, with what stands after `--` on the command line too."""
    run(session, python, "-m", "pytest", *arguments, *session.posargs, **variables)


@nox.session(venv_backend="none", requires=[AIRFLOW])
@nox.parametrize("tool", ["ruff check", "ruff format --check", "mypy"])
def lint(session: nox.Session, tool: str) -> None:
    """Check style and types."""
    run(session, IN_AIRFLOW, "-m", *tool.split())


@nox.session(venv_backend="none", requires=[CORE])
def core(session: nox.Session) -> None:
    """Test what must work where there is no Airflow."""
    run(session, IN_CORE, "-c", NO_AIRFLOW)
    pytest(session, IN_CORE, *PARALLEL, "worksteal", "tests/core")


@nox.session(venv_backend="none", requires=[AIRFLOW, *CREW_ENVIRONMENTS])
def server(session: nox.Session) -> None:
    """Test the local server, with the newest crewai, and with --long also with the oldest that it promises to serve."""
    # In the files' own order, since the one with the fewest tests takes longest and would come last.
    pytest(session, IN_AIRFLOW, *PARALLEL, "loadfile", "--no-loadscope-reorder", "tests/server", **CREWS)


@nox.session(venv_backend="none", requires=[AIRFLOW, CREW])
def airflow(session: nox.Session) -> None:
    """Test what needs Airflow, with crews in an interpreter of their own."""
    pytest(session, IN_AIRFLOW, *PARALLEL, "loadgroup", "tests/airflow", CREW_PYTHON=IN_CREW)


@nox.session(venv_backend="none", requires=[AIRFLOW], name="airflow-alone")
def airflow_alone(session: nox.Session) -> None:
    """Test what needs Airflow's code, but neither its programs nor a crew."""
    pytest(session, IN_AIRFLOW, *PARALLEL, "worksteal", *NO_STACK, "tests/airflow")


@nox.session(venv_backend="none", requires=[AIRFLOW, CREW])
def system(session: nox.Session) -> None:
    """Test a whole Airflow with a whole crew."""
    pytest(session, IN_AIRFLOW, "tests/system", CREW_PYTHON=IN_CREW)


def side_by_side(session: nox.Session, *parts: str) -> None:
    """Run parts, two at a time since much of their time is waiting; print what each has said when it has ended."""
    with ThreadPoolExecutor(max_workers=2) as pool:
        ends = [*pool.map(partial(to_its_end, session), parts)]
    for part, (ok, seconds) in zip(parts, ends, strict=True):
        session.log(f"{part}: {'success' if ok else 'FAILED'}, took {seconds:.0f} s")
    if not all(ok for ok, _ in ends):
        session.error("not all is well")


def to_its_end(session: nox.Session, part: str) -> tuple[bool, float]:
    """Run a part; return whether it went well, and its seconds."""
    began, command = time.monotonic(), (*NOX, part, "--", *session.posargs)
    fewer = {**os.environ, "TEST_WORKERS": str(CORES)}
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=fewer, text=True, check=False)  # noqa: S603 - ours
    sys.stdout.write(done.stdout)
    sys.stdout.flush()
    return done.returncode == 0, time.monotonic() - began


@nox.session(venv_backend="none", requires=[AIRFLOW, CORE, *CREW_ENVIRONMENTS], name="all")
def everything(session: nox.Session) -> None:
    """Run what must hold."""
    # The longest come first: what waits for Airflow beside what computes.
    side_by_side(session, "system", "server", "airflow", "core", "lint")


@nox.session(venv_backend="none", requires=[AIRFLOW, CORE])
def fast(session: nox.Session) -> None:
    """Run what is worth waiting for before each commit."""
    side_by_side(session, "airflow-alone", "core", "lint")


@nox.session(venv_backend="none", requires=[AIRFLOW, CORE, *CREW_ENVIRONMENTS])
def coverage(session: nox.Session) -> None:
    """Show which lines no test runs, except those that pyproject.toml leaves out."""
    run(session, IN_AIRFLOW, "-m", "coverage", "erase")
    os.environ["PYTEST_ADDOPTS"] = "--cov --cov-append --cov-report="
    for part in ("core", "server", "airflow", "coverage-report"):
        session.notify(part)


@nox.session(venv_backend="none", requires=[AIRFLOW], name="coverage-report")
def coverage_report(session: nox.Session) -> None:
    """Show what the last `coverage` found."""
    run(session, IN_AIRFLOW, "-m", "coverage", "report")


# ---- packages and the matrix -----------------------------------------------------------------------------------

UV_BUILD = (sys.executable, "-m", "uv", "build", "--quiet")
MATRIX = CHECKOUT / ".matrix"
AIRFLOWS = {
    "2.11.2": [],
    "3.0.6": ["fastapi<0.118", "universal-pathlib<0.3"],
    "3.1.8": [],
    "3.2.2": ["fastapi<0.137", "svcs<26"],
    "3.3.2": [],
    "3.4.0b2": [],
}
"""Each supported minor's last release, with the bounds that its own dependencies need for tasks to run."""
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
NOT_ON_3_14 = ("2.11.2", "3.0.6", "3.1.8")
"""Airflows that refuse Python 3.14, or whose dependencies cannot be installed there."""
OURS = "airflow-provider-crewai"
LOWEST = "lowest"
"""The cell with our own lowest bounds, on the oldest Airflow and Python: newer ones ask for more themselves."""
CELLS = {
    f"airflow-{version}-python-{python}": (python, version)
    for version in AIRFLOWS
    for python in PYTHONS
    if python != "3.14" or version not in NOT_ON_3_14
} | {LOWEST: (PYTHONS[0], LOWEST)}


@nox.session(venv_backend="none")
def build(session: nox.Session) -> None:
    """Build the sdist, and the wheel from it, in `dist/`."""
    run(session, *UV_BUILD, "--out-dir", "dist")


@nox.session(venv_backend="none")
def matrix(session: nox.Session) -> None:
    """Run real tasks on each Airflow and Python that the provider is for: `scripts/matrix`."""
    parser = argparse.ArgumentParser(prog="scripts/matrix")
    parser.add_argument("--airflow", nargs="+", choices=AIRFLOWS, default=[*AIRFLOWS], metavar="VERSION")
    parser.add_argument("--python", nargs="+", choices=PYTHONS, default=PYTHONS, metavar="VERSION")
    parser.add_argument("--no-lowest", action="store_true", help="leave out the cell with the lowest bounds")
    parser.add_argument("--keep", action="store_true", help="use environments that are there already")
    asked = parser.parse_args(session.posargs)
    versions = asked.airflow if asked.no_lowest else [*asked.airflow, LOWEST]
    shutil.rmtree(MATRIX, ignore_errors=True)
    run(session, *UV_BUILD, "--wheel", "--out-dir", str(MATRIX))
    if "CREW_PYTHON" not in os.environ:
        session.notify(CREW)
    for name, (python, version) in CELLS.items():
        if version in versions and (python in asked.python or version == LOWEST):
            session.notify(f"cell({name})")


@nox.session(reuse_venv="--keep" in sys.argv)
@nox.parametrize("python,version", [*CELLS.values()], ids=[*CELLS])
def cell(session: nox.Session, version: str) -> None:
    """Install the wheel beside one Airflow, as a user would, and run `scripts/lib/matrix_cell.py` there."""
    wheel, home = next(MATRIX.glob("*.whl")), MATRIX / f"airflow-{version}-python-{session.python}"
    pins = lowest_bounds() if version == LOWEST else [f"apache-airflow=={version}", *AIRFLOWS[version]]
    with Path(f"{home}.log").open("w") as log:
        session.log(f"its output goes to {log.name}")
        session.install("--compile-bytecode", "--reinstall-package", OURS, f"{wheel}[server]", *pins)
        crew = os.environ.get("CREW_PYTHON") or IN_CREW
        command = ("python", "scripts/lib/matrix_cell.py", str(home))
        session.run(*command, env={"CREW_PYTHON": crew}, stdout=log, interrupt_timeout=PATIENCE)


def lowest_bounds() -> list[str]:
    """Hold each of our own dependencies at its lowest version, and Airflow at the last release of its oldest minor."""
    pairs = [line.split(">=") for line in requirements() + requirements("server") if not line.startswith("#")]
    return [f"{name}=={bound}.*" for name, bound in pairs]
