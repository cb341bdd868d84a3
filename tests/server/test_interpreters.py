"""`--with-crewai`: uv makes an interpreter for a project, whatever the project pins of crewai."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from aop_server import REPOSITORY, Start
from loader import write

UV = """#!/bin/sh
echo "$@" >> {log}
[ -e {pins} ] && case "$*" in *tokenizers==*) echo "no solution" >&2; exit 2;; esac
[ -e {fail} ] && echo "no version of crewai==9" >&2 && exit 2
if [ "$1" = venv ]; then for last; do :; done; mkdir -p "$last/bin"; ln -s {python} "$last/bin/python"; fi
"""
SOURCES = """[project]
dependencies = ["crewai", "our_shapes>=1", "ways"]
[tool.uv.sources]
our-shapes = { path = "../shapes", editable = true }
ways = { git = "https://git.example/ways", tag = "v2", subdirectory = "py" }
"""
CREW = (REPOSITORY / "tests" / "server" / "projects" / "plain" / "crew.py").read_text()


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that stands in for uv, and writes down what it was told."""
    program, log = tmp_path / "bin" / "uv", tmp_path / "uv.log"
    write(
        tmp_path,
        **{"bin/uv": UV.format(log=log, pins=tmp_path / "pins", fail=tmp_path / "fail", python=sys.executable)},
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    return log


def served(start_plain: Start, project: Path, *options: str) -> list[str]:
    server = start_plain(str(project), *options)
    assert server.ask("GET", "/inputs").status == 200
    server.end()
    return server.arguments


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({"pyproject__toml": '[project]\ndependencies = ["crewai[tools,litellm]==0.95.0", "pandas>=2"]'}, "crewai[litellm,tools]>=1.15.2 pandas>=2"),
        ({"requirements__txt": "# what it needs\ncrewai==0.28.8\ncrewai_tools==0.1.6\n-r other.txt\nrequests # to ask\n"}, "crewai>=1.15.2 requests crewai-tools"),
        ({"../requirements.txt": "crewai\npandas\n", "../.git/HEAD": ""}, "crewai>=1.15.2 pandas"),
        ({"pyproject__toml": SOURCES, "../shapes/x": ""}, "crewai>=1.15.2 --editable={here}/shapes ways @ git+https://git.example/ways@v2#subdirectory=py"),
        ({}, "crewai[tools]>=1.15.2"),
    ],
)  # fmt: skip
def test_an_environment_has_a_new_crewai_and_the_projects_other_packages(
    uv: Path, start_plain: Start, tmp_path: Path, files: dict[str, str], wanted: str
) -> None:
    project = write(tmp_path / "desk", crew__py=CREW, **files)
    served(start_plain, project, "--with-crewai")
    venv, install = uv.read_text().splitlines()
    assert "--python" in venv
    assert install.startswith("pip install")
    assert install.endswith(wanted.format(here=tmp_path))


def test_an_environment_is_made_once_for_each_version(uv: Path, start_plain: Start, tmp_path: Path) -> None:
    project = write(tmp_path / "desk", crew__py=CREW)
    for version, calls in (("1.15.30", 2), ("1.15.30", 2), ("1.15.2", 4)):
        served(start_plain, project, "--with-crewai", version)
        assert len(uv.read_text().splitlines()) == calls
    assert uv.read_text().splitlines()[-1].endswith("crewai[tools]==1.15.2")


def test_pins_that_do_not_fit_the_new_crewai_are_loosened(uv: Path, start_plain: Start, tmp_path: Path) -> None:
    (tmp_path / "pins").touch()
    served(
        start_plain,
        write(tmp_path / "desk", crew__py=CREW, requirements__txt="crewai==0.28\ntokenizers==0.19.1\n"),
        "--with-crewai",
    )
    assert uv.read_text().splitlines()[-1].endswith("crewai>=1.15.2 tokenizers")


def refusal(project: Path, state: Path, *options: str) -> str:
    command = [sys.executable, "-m", "airflow_provider_crewai.server", str(project), "--state", str(state), *options]
    run = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    return run.stderr


def test_what_uv_says_is_told(uv: Path, tmp_path: Path) -> None:
    (uv.parent / "fail").touch()
    project = write(tmp_path / "desk", crew__py=CREW)
    said = refusal(project, tmp_path / "state", "--with-crewai", "9")
    assert "uv could not make an environment for --with-crewai: no version of crewai==9" in said


def test_a_package_of_the_projects_workspace_is_not_asked_of_the_index(uv: Path, tmp_path: Path) -> None:
    pyproject = SOURCES + "[tool.uv.sources.crewai]\nworkspace = true\n"
    project = write(tmp_path / "desk", crew__py=CREW, pyproject__toml=pyproject)
    said = refusal(project, tmp_path / "state", "--with-crewai")
    assert "cannot install crewai" in said
    assert "run `uv sync` there and name the interpreter" in said
    assert not uv.exists()


def test_a_version_is_a_version(tmp_path: Path) -> None:
    said = refusal(write(tmp_path / "desk", crew__py=CREW), tmp_path / "state", "--with-crewai", "newest")
    assert "newest is not a version of crewai" in said
