"""Who may import whom: imports point downwards only, and what must not know of each other does not."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from sys import stdlib_module_names

import pytest

import airflow_provider_crewai

PACKAGE = Path(airflow_provider_crewai.__file__).parent
ME = "airflow_provider_crewai"
FLOORS: dict[str, tuple[str, str]] = {
    "__init__": ("", ""),
    "wire": ("", "pendulum"),
    "client": ("wire", "requests urllib3 aiohttp certifi idna yarl"),
    "run_page": ("wire", "jinja2 markupsafe markdown_it"),
    "server/crew_process": ("", "crewai"),
    "server": ("wire run_page server/crew_process", "starlette uvicorn aiohttp yarl"),
    "in_airflow": ("wire client", "airflow flask_appbuilder wtforms pydantic attrs openlineage"),
    "answers": ("wire in_airflow", ""),
    "provider_info": ("__init__ in_airflow", ""),
    "hooks": ("wire client in_airflow", ""),
    "retries": ("wire client in_airflow", ""),
    "triggering": ("client in_airflow hooks", "airflow"),
    "batch_trigger": ("wire client in_airflow triggering", "airflow"),
    "triggers": ("wire client in_airflow hooks triggering batch_trigger", "airflow"),
    "polling": ("client in_airflow hooks", ""),
    "awaiting": ("wire client in_airflow hooks triggers polling", ""),
    "starting": ("wire client in_airflow polling", ""),
    "sensors": ("wire client in_airflow awaiting", ""),
    "resuming": ("wire client in_airflow hooks", ""),
    "batches": ("wire client in_airflow starting triggers", ""),
    "operators": ("wire client in_airflow awaiting starting resuming batches", ""),
    "decorators": ("wire client in_airflow operators", "airflow"),
    "in_airflow/api_server": ("wire client run_page hooks in_airflow", "airflow fastapi starlette httpx sqlalchemy"),
    "cli": ("__init__ wire client server hooks in_airflow", "airflow"),
    "__main__": ("cli", ""),
}
"""The floors of the house, from the ground up: for each room (a folder, or a module of the top level) the rooms below
that it may import from beside itself, and the libraries."""

ONLY_IN = {
    "requests": {"client/proxies.py", "client/sync.py", "client/sync_sockets.py"},
    "urllib3": {"client/sync_sockets.py"},
    "aiohttp": {"client/aio.py", "server/outbox.py"},
    "pendulum": {"wire/times.py"},
    "pydantic": {"in_airflow/output_type.py"},
    "openlineage": {"in_airflow/lineage.py"},
    "markdown_it": {"run_page/markdown.py"},
    "crewai": {
        f"server/crew_process/{name}.py" for name in ("chatting", "crew_run", "flow_run", "human", "listeners", "usage")
    },
}


def files() -> list[str]:
    return [str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py"))]


def imported(file: str) -> set[str]:
    """The dotted names that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / file).read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room_of(file: str) -> str:
    """The innermost room that a file stands in."""
    path = Path(file).with_suffix("")
    return next((str(room) for room in (path, *path.parents) if str(room) in FLOORS), "")


def room_of_name(name: str) -> str:
    """The room of a dotted name of this package."""
    return room_of(name.removeprefix(ME).strip(".").replace(".", "/") or "__init__") or "__init__"


def test_a_floor_rests_on_lower_ones_only() -> None:
    rooms = list(FLOORS)
    for number, (room, (below, _)) in enumerate(FLOORS.items()):
        assert set(below.split()) <= set(rooms[:number]), room


@pytest.mark.parametrize("file", files())
def test_every_module_has_its_floor(file: str) -> None:
    assert room_of(file), f"{file} stands on no floor: add its room to FLOORS"


@pytest.mark.parametrize("file", files())
def test_imports_point_downwards(file: str) -> None:
    assert not refused(file, imported(file))


def refused(file: str, names: set[str]) -> set[str]:
    """Those of the imported names that a file may not import."""
    below, libraries = FLOORS[room_of(file)]
    rooms = {room_of(file), *below.split()}
    ours = {name for name in names if name.partition(".")[0] == ME}
    known = {*stdlib_module_names, *libraries.split()}
    others = {name for name in names - ours if name.partition(".")[0] not in known}
    return {name for name in ours if room_of_name(name) not in rooms} | others


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("hooks.py", f"{ME}.operators.CrewKickoffOperator"),
        ("triggers.py", f"{ME}.server.app"),
        ("triggers.py", f"{ME}.awaiting.AwaitsRun"),
        ("wire/times.py", "airflow.utils.timezone"),
        ("client/watch.py", f"{ME}.in_airflow.compat"),
        ("in_airflow/failing.py", f"{ME}.hooks.CrewHook"),
        ("server/runs.py", f"{ME}.client.flows"),
        ("server/crew_process/flows.py", f"{ME}.wire.model"),
        ("cli/acts.py", f"{ME}.operators"),
        ("wire/model.py", f"{ME}.__version__"),
    ],
)
def test_an_import_that_points_upwards_is_refused(file: str, name: str) -> None:
    assert refused(file, {name}) == {name}


def test_the_runs_own_process_imports_crewai_no_sooner_than_its_project_is_entered() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import crew_process.fork_server; print('crewai' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(PACKAGE / "server")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "False\n"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_where_it_belongs(library: str) -> None:
    users = {file for file in files() if any(name.partition(".")[0] == library for name in imported(file))}
    assert users == ONLY_IN[library]


@pytest.mark.parametrize("room", ["", "wire", "client", "in_airflow", "in_airflow/api_server", "run_page", "cli"])
def test_each_module_stands_in_the_table_of_its_package(room: str) -> None:
    """So that a reader finds the file for a question."""
    own = PACKAGE / room / "__init__.py"
    has_table = room in ("cli", "run_page", "in_airflow/api_server")
    table = ast.get_docstring(ast.parse((own if has_table else PACKAGE / "__init__.py").read_text())) or ""
    words = set(re.findall(r"\w+", table))
    modules = {path.stem for path in (PACKAGE / room).glob("*.py")} - {"__init__", "__main__"}
    assert modules <= words, modules - words
