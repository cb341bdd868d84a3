"""Who may import whom: imports point downwards only, and what must not know of each other does not."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from sys import stdlib_module_names

import pytest

import airflow_provider_crewai

PACKAGE = Path(airflow_provider_crewai.__file__).parent
ME = "airflow_provider_crewai"
# What each part may import of this package, and of what is not in the standard library.
ALLOWED = {
    "wire": ({"wire"}, set()),
    "client": ({"wire", "client", "times"}, {"requests", "urllib3", "aiohttp", "certifi", "idna", "yarl"}),
    "server": ({"wire", "server", "times"}, {"starlette", "uvicorn", "aiohttp", "yarl", "jinja2"}),
    "server/crew_process": (set(), {"crewai"}),
    "cli": ({"wire", "client", "times", "cli", "journal", "server", "hooks"}, {"airflow"}),
}
ONLY_IN = {
    "requests": {"client/proxies.py", "client/sync.py", "client/sync_sockets.py"},
    "urllib3": {"client/sync_sockets.py"},
    "aiohttp": {"client/aio.py", "server/webhooks.py"},
    "pendulum": {"times.py"},
    "crewai": {f"server/crew_process/{name}.py" for name in ("crews", "flows", "human", "listening")},
}


def files() -> Iterator[str]:
    return (str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py")))


def imported(file: str) -> set[str]:
    """The dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(file: str) -> str:
    return max((part for part in ALLOWED if file.startswith(part + "/")), key=len, default="")


@pytest.mark.parametrize("file", [file for file in files() if part_of(file)])
def test_imports_point_downwards(file: str) -> None:
    ours, others = ALLOWED[part_of(file)]
    for name in imported(file):
        top, _, rest = name.partition(".")
        if top == ME:
            assert rest.partition(".")[0] in ours, f"{file} imports {name}"
        elif top not in stdlib_module_names:
            assert top in others, f"{file} imports {name}"


def test_the_runs_own_process_imports_crewai_no_sooner_than_its_project_is_entered() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import crew_process.warm_process; print('crewai' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(PACKAGE / "server")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_where_it_belongs(library: str) -> None:
    users = {file for file in files() if any(name.partition(".")[0] == library for name in imported(file))}
    assert users == ONLY_IN[library]
