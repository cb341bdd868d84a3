"""The virtual environments of this checkout: made on first use, made again when what they need has changed.

Standard library only: this runs before there is any environment, on any Python the project supports.
"""

import configparser
import hashlib
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE_DAGS = CHECKOUT / "example_dags"
AIRFLOW_VERSION = "3.3.2"
"""The Airflow of `.venv-airflow`, in which the checks run."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment: its folder in the checkout and the arguments of the `pip install` calls that fill it."""

    name: str
    installs: Callable[[], Sequence[Sequence[str]]]

    @property
    def folder(self) -> Path:
        """Where it lives."""
        return CHECKOUT / self.name

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.folder / "bin" / "python"

    def make(self) -> Path:
        """Make it unless it is there and still right; answer with its interpreter."""
        installs = self.installs()
        stamp, wanted = self.folder / "made-from", _fingerprint(installs)
        if not stamp.is_file() or stamp.read_text() != wanted:
            started = time.monotonic()
            print(f"making {self.name}, which is kept ...", file=sys.stderr, flush=True)
            shutil.rmtree(self.folder, ignore_errors=True)
            self._install(installs)
            stamp.write_text(wanted)
            print(f"making {self.name} took {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
        return self.python

    def _install(self, installs: Sequence[Sequence[str]]) -> None:
        if uv := shutil.which("uv"):
            _run(uv, "venv", "--quiet", "--python", sys.executable, str(self.folder))
            pip = [uv, "pip", "install", "--quiet", "--python", str(self.python), "--compile-bytecode"]
        else:
            _run(sys.executable, "-m", "venv", str(self.folder))
            pip = [str(self.python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for arguments in installs:
            _run(*pip, *arguments)


def _run(*command: str) -> None:
    """Run a step; where it fails its own words are on the screen already, a traceback of ours adds nothing."""
    if code := subprocess.run(command, cwd=CHECKOUT, check=False).returncode:
        raise SystemExit(f"{' '.join(command)}\nfailed with exit code {code}")


def _fingerprint(installs: Sequence[Sequence[str]]) -> str:
    """Answer with what an environment depends on: interpreter, place, requirements, and the project where it is one."""
    parts = [sys.version, str(CHECKOUT), repr(installs)]
    if any("--editable" in arguments for arguments in installs):
        parts.append((CHECKOUT / "setup.cfg").read_text())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _requirements(section: str, key: str) -> list[str]:
    """Read a list of requirements from setup.cfg, the one place that has them."""
    setup = configparser.ConfigParser()
    setup.read(CHECKOUT / "setup.cfg")
    return [line for line in setup[section][key].splitlines() if line]


def airflow(version: str = AIRFLOW_VERSION) -> Environment:
    """Answer with the environment that has this Airflow, the project, and what its checks and this harness need."""
    databases = ("psycopg2-binary", "asyncpg")  # Airflow wants both for PostgreSQL
    install = [f"apache-airflow=={version}", *databases, "types-psutil", "--editable", ".[dev,server]"]
    return Environment(f".venv-airflow{'' if version == AIRFLOW_VERSION else f'-{version}'}", lambda: [install])


def _core() -> list[list[str]]:
    """Leave Airflow out: what the core needs must be enough without it."""
    needed, tools = _requirements("options", "install_requires"), _requirements("options.extras_require", "dev")
    kept = [line for line in needed if not line.startswith("apache-airflow")]
    kept += [line for line in tools if line.startswith(("pytest", "hypothesis"))]
    return [kept, ["--no-deps", "--editable", "."]]


def _crew() -> list[list[str]]:
    """Install what the example crew itself asks for and the vendor's client, and nothing of this project."""
    project = tomllib.loads((CHECKOUT / "example_crew" / "pyproject.toml").read_text())
    return [[*project["project"]["dependencies"], "crewai-tools"]]


def _oldest_crew() -> list[list[str]]:
    """Install the oldest crewai that the local server promises to serve."""
    bounds = (line for line in _requirements("options.extras_require", "local") if line.startswith("crewai>="))
    version = next(bounds).removeprefix("crewai>=")
    return [[f"crewai=={version}", f"crewai-tools=={version}"]]


AIRFLOW = airflow()
CORE = Environment(".venv-core", _core)
CREW = Environment(".venv-crew", _crew)
OLDEST_CREW = Environment(".venv-crew-oldest", _oldest_crew)
