"""What is in the archives that are published: what git tracks and nothing else, whatever lies about in the checkout."""

from __future__ import annotations

import shutil
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from building import archive, build

CHECKOUT = Path(__file__).parents[2]
PLANTED = (
    ".env",
    "secrets.json",
    "scratch.py",
    "operators.py~",
    ".operators.py.swp",
    "__pycache__/x.cpython-311.pyc",
    ".venv/key.py",
    "id_rsa",
)
SECRET = "a-key-that-lay-about"


def git(checkout: Path, *arguments: str) -> list[str]:
    command = ["git", "-c", "safe.directory=*", *arguments]
    done = subprocess.run(command, cwd=checkout, check=True, capture_output=True, text=True)
    return [name for name in done.stdout.split("\0") if name]


def plant(folder: Path) -> None:
    for name in PLANTED:
        file = folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"key = '{SECRET}'\n")


@pytest.fixture(scope="module")
def untidy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of its own of what is tracked here, as it is now, with all sorts of things in each of its folders."""
    if not (CHECKOUT / ".git").exists() or not shutil.which("git"):
        pytest.skip("this is no checkout: what git tracks is not known")
    copy = tmp_path_factory.mktemp("checkout")
    for name in git(CHECKOUT, "ls-files", "-z"):
        if (CHECKOUT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(CHECKOUT / name, copy / name)
    git(copy, "init", "--quiet")
    git(copy, "add", "--force", "--all")
    for folder in {(copy / name).parent for name in git(copy, "ls-files", "-z")}:
        plant(folder)
    return copy


@pytest.fixture(scope="module")
def built(untidy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the archives: an sdist and the wheel from the checkout itself."""
    folder = tmp_path_factory.mktemp("archives")
    for kind in ("sdist", "wheel"):
        archive(kind, untidy, folder)
    return folder


@pytest.fixture(scope="module")
def sdist(built: Path) -> Iterator[tarfile.TarFile]:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as archive:
        yield archive


def test_an_sdist_holds_what_git_tracks_and_nothing_else(untidy: Path, sdist: tarfile.TarFile) -> None:
    names = {each.name.partition("/")[2] for each in sdist.getmembers() if not each.isdir()}
    made = {name for name in names if name.startswith("airflow_provider_crewai.egg-info/")} | {"PKG-INFO"}
    assert names - made == {*git(untidy, "ls-files", "-z")}


def test_no_archive_holds_what_lay_about(built: Path, sdist: tarfile.TarFile) -> None:
    for each in sdist.getmembers():
        if (file := sdist.extractfile(each)) and not each.name.endswith("test_sdist.py"):
            assert SECRET.encode() not in file.read(), each.name
    (file_name,) = built.glob("*.whl")
    with zipfile.ZipFile(file_name) as wheel:
        modules = [name for name in wheel.namelist() if name.endswith(".py")]
        assert len(modules) > 40
        for name in wheel.namelist():
            assert SECRET.encode() not in wheel.read(name), name


def test_a_wheel_of_the_unpacked_sdist_is_the_same(built: Path, sdist: tarfile.TarFile, tmp_path: Path) -> None:
    sdist.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    (one,), other = built.glob("*.whl"), archive("wheel", folder, tmp_path)
    with zipfile.ZipFile(one) as first, zipfile.ZipFile(other) as second:
        assert sorted(first.namelist()) == sorted(second.namelist())


def test_a_checkout_whose_git_cannot_be_asked_is_not_packed(untidy: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(untidy, broken, ignore=shutil.ignore_patterns(".git"))
    (broken / ".git").mkdir()
    done = build("sdist", broken, tmp_path / "out")
    assert done.returncode != 0
    assert "git does not say which files belong into a build" in done.stdout + done.stderr
