"""What is in the wheel that a user installs."""

from __future__ import annotations

import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from building import archive

from airflow_provider_crewai import __version__

DIST_INFO = f"airflow_provider_crewai-{__version__}.dist-info"


@pytest.fixture(scope="module")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(archive("wheel", checkout, tmp_path_factory.mktemp("wheels")))


def test_airflow_will_find_the_provider(wheel: zipfile.ZipFile) -> None:
    points = wheel.read(f"{DIST_INFO}/entry_points.txt").decode()
    assert "[apache_airflow_provider]" in points
    assert "airflow_provider_crewai.provider_info:get_provider_info" in points


@pytest.mark.parametrize(
    "file",
    [
        "py.typed",
        "operators.py",
        "client/watch.py",
        "wire/codec.py",
        "server/__main__.py",
        "server/crew_process/__main__.py",
        "run_page/templates/run.html",
        "run_page/static/page.css",
        "server/page/templates/run.html",
        "server/page/static/door.js",
        "example_dags/__init__.py",
    ],
)
def test_it_holds_what_it_needs(wheel: zipfile.ZipFile, file: str) -> None:
    assert f"airflow_provider_crewai/{file}" in wheel.namelist()


def test_it_holds_every_module_and_every_example_dag(wheel: zipfile.ZipFile, checkout: Path) -> None:
    package = checkout / "airflow_provider_crewai"
    wanted = {file.relative_to(checkout).as_posix() for file in package.rglob("*.py")}
    examples = {
        f"airflow_provider_crewai/example_dags/{file.name}" for file in (checkout / "example_dags").glob("*.py")
    }
    assert len(examples) > 1
    assert wanted | examples <= set(wheel.namelist())


def test_it_holds_nothing_else(wheel: zipfile.ZipFile) -> None:
    assert {name.split("/")[0] for name in wheel.namelist()} == {"airflow_provider_crewai", DIST_INFO}


def test_its_metadata_say_what_it_is_for(wheel: zipfile.ZipFile) -> None:
    metadata = Parser().parsestr(wheel.read(f"{DIST_INFO}/METADATA").decode())
    assert metadata["Name"] == "airflow-provider-crewai"
    assert metadata["Version"] == __version__
    assert set(metadata["Requires-Python"].split(",")) == {">=3.11"}
    assert "Framework :: Apache Airflow :: Provider" in metadata.get_all("Classifier", [])
    assert "Your first Dag" in metadata.get_payload()
    assert any(name.endswith("LICENSE") for name in wheel.namelist())
