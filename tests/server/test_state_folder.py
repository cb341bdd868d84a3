"""The state folder is this user's alone: what another one has prepared, or could replace, is refused with what to do."""

from __future__ import annotations

import os
import resource
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest
from aop_server import EXAMPLE, REPOSITORY, Start

from airflow_provider_crewai.server import private, state
from airflow_provider_crewai.server.project import Project

PROJECT = Project("x", Path("/x"), "x")
NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def made(path: Path, bits: int) -> Path:
    path.mkdir(parents=True)
    path.chmod(bits)
    return path


def link(to: Path, path: Path) -> Path:
    path.symlink_to(to)
    return path


@pytest.fixture
def another() -> Callable[[Path], Path]:
    """Give a file or folder to another user, as far as the system lets us."""

    def given(path: Path) -> Path:
        if os.geteuid():
            pytest.skip("only root can give a file away")
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
        return path

    return given


def test_a_folder_is_made_for_its_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert mode(private.folder(tmp_path / "a" / "b")) == 0o700
    finally:
        os.umask(before)


@pytest.mark.parametrize("bits", [0o755, 0o711, 0o750, 0o704])
def test_an_own_folder_that_others_can_only_read_is_closed_to_them(tmp_path: Path, bits: int) -> None:
    assert mode(private.folder(made(tmp_path / "state", bits))) == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o757, 0o702, 0o773])
def test_a_folder_that_others_can_write_to_is_refused_with_what_to_do(tmp_path: Path, bits: int) -> None:
    folder = made(tmp_path / "my state", bits)
    with pytest.raises(
        OSError, match=f"Other users can write to .* \\(mode {bits:o}\\).*chmod 700 '{folder}'.*--state"
    ):
        private.folder(folder)
    assert mode(folder) == bits


@pytest.mark.parametrize("bits", [0o770, 0o720])
def test_a_folder_of_a_group_is_refused(tmp_path: Path, bits: int) -> None:
    folder = made(tmp_path / "state", bits)
    with suppress(PermissionError):
        os.chown(folder, -1, NOBODY)
    if os.geteuid() and folder.stat().st_gid != NOBODY:
        pytest.skip("this user's group may be his own")
    with pytest.raises(OSError, match="Other users can write"):
        private.folder(folder)


@pytest.mark.parametrize("bits", [0o777, 0o757])
def test_a_folder_that_others_could_replace_is_refused(tmp_path: Path, bits: int) -> None:
    parent = made(tmp_path / "parent", bits)
    for state_folder in (made(parent / "there", 0o700), parent / "to be made", parent / "there" / "deeper"):
        with pytest.raises(OSError, match=f"Other users can write to {parent} .*chmod go-w {parent}"):
            private.folder(state_folder)
    assert not (parent / "to be made").exists()


def test_a_folder_in_a_sticky_one_is_safe_since_its_owner_alone_can_replace_it(tmp_path: Path) -> None:
    assert private.folder(made(tmp_path / "like tmp", 0o1777) / "state").is_dir()


def test_another_users_folder_is_refused(tmp_path: Path, another: Callable[[Path], Path]) -> None:
    folder = another(made(made(tmp_path / "like tmp", 0o1777) / "state", 0o700))
    for named in (folder, folder / "deeper"):
        with pytest.raises(OSError, match=r"belongs to another user.*--state"):
            private.folder(named)


def test_another_users_link_is_refused_and_ones_own_is_followed(
    tmp_path: Path, another: Callable[[Path], Path]
) -> None:
    target, shared = made(tmp_path / "precious", 0o700), made(tmp_path / "like tmp", 0o1777)
    assert private.folder(link(target, shared / "mine")) == target
    planted = another(link(target, shared / "planted"))
    for named in (planted, planted / "deeper", link(planted, tmp_path / "to the planted one")):
        with pytest.raises(OSError, match=f"{planted} belongs to another user"):
            private.folder(named)
    assert list(target.iterdir()) == []


def test_a_way_through_a_link_into_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    open_to_all = made(tmp_path / "open", 0o777)
    inner = link(made(tmp_path / "mine", 0o700), open_to_all / "link")
    with pytest.raises(OSError, match=f"Other users can write to {open_to_all}"):
        private.folder(link(inner, tmp_path / "first"))


@pytest.mark.parametrize("kind", ["file", "fifo", "circle"])
def test_what_is_no_folder_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "state"
    {"file": path.touch, "fifo": lambda: os.mkfifo(path), "circle": lambda: path.symlink_to(path)}[kind]()
    with pytest.raises(OSError, match=str(path)):
        private.folder(path)


# ---- the files in it ------------------------------------------------------------------------------

PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda file, victim: file.symlink_to(victim),
    "a link to nowhere": lambda file, _: file.symlink_to("/nowhere/at/all"),
    "a hard link": lambda file, victim: file.hardlink_to(victim),
    "a FIFO": lambda file, _: os.mkfifo(file),
    "a folder": lambda file, _: file.mkdir(),
    "open to others": lambda file, _: (file.write_text("planted\n"), file.chmod(0o666)),
}


@pytest.mark.parametrize(
    "name", ["token", "port", "server.lock", "runs/runs.sqlite", "runs/runs.sqlite-wal", "runs/flows.sqlite"]
)
@pytest.mark.parametrize("how", PLANTED)
def test_a_planted_file_is_refused_and_what_it_leads_to_stays_as_it_is(tmp_path: Path, name: str, how: str) -> None:
    folder, victim = made(tmp_path / "state", 0o700), tmp_path / "victim"
    victim.write_text("precious\n")
    made(folder / "runs", 0o700)
    PLANTED[how](folder / name, victim)
    done = serve(folder)
    assert done.returncode == 2
    assert str(folder / name) in done.stderr
    assert "Traceback" not in done.stderr
    assert victim.read_text() == "precious\n"


@pytest.mark.parametrize("name", [".", "runs"])
def test_a_server_refuses_an_open_folder(tmp_path: Path, name: str) -> None:
    folder = made(tmp_path / "state", 0o700)
    (folder / name).mkdir(exist_ok=True)
    (folder / name).chmod(0o777)
    done = serve(folder)
    assert done.returncode == 2
    assert "chmod 700" in done.stderr


def serve(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "airflow_provider_crewai.server", str(EXAMPLE), "--state", str(folder)]
    outer = {name: value for name, value in os.environ.items() if name != "CREWAI_SERVER_TOKEN"}
    environment = outer | {"PYTHONPATH": str(REPOSITORY)} | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)


def test_another_users_token_is_refused(tmp_path: Path, another: Callable[[Path], Path]) -> None:
    (tmp_path / "token").write_text("planted\n")
    (tmp_path / "token").chmod(0o600)
    with pytest.raises(OSError, match="belongs to another user"):
        state.kept_token(another(tmp_path / "token"))


def test_a_token_that_others_could_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("known\n")
    file.chmod(0o644)
    with pytest.raises(OSError, match=r"may have read the token in .*token \(mode 644\)\. Delete it"):
        state.kept_token(file)


def test_a_token_that_could_not_be_written_whole_is_none(tmp_path: Path) -> None:
    file, limit = tmp_path / "token", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limit[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            state.kept_token(file)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not file.exists()
    assert state.kept_token(file) == state.kept_token(file)


def test_whatever_a_server_and_its_runs_keep_is_for_its_owner_alone(start: Start, tmp_path: Path) -> None:
    made(tmp_path / "state", 0o700)
    made(tmp_path / "state" / "runs", 0o700)
    database = tmp_path / "state" / "runs" / "runs.sqlite"
    with closing(sqlite3.connect(database)) as db:  # as an earlier version left it
        db.execute("PRAGMA journal_mode=WAL")
    database.chmod(0o644)
    server = start(token="")
    server.token = (server.state / "token").read_text().strip()
    server.wait(server.kickoff(), "SUCCESS")
    kept = [path for path in server.state.rglob("*") if not path.is_symlink() and "storage" not in path.parts]
    assert len(kept) > 8
    assert {str(path): oct(mode(path)) for path in kept if mode(path) & 0o077} == {}


def test_what_a_crew_writes_has_the_modes_that_its_user_wants(start: Start, tmp_path: Path) -> None:
    written = tmp_path / "written"
    (tmp_path / "writing.py").write_text(WRITING.format(path=str(written)))
    before = os.umask(0o027)
    try:
        server = start("writing:Writing", cwd=tmp_path)
    finally:
        os.umask(before)
    server.wait(server.kickoff({}), "SUCCESS")
    assert mode(written) == 0o640


WRITING = """
from pathlib import Path
from crewai.flow.flow import Flow, start

class Writing(Flow):
    @start()
    def write(self):
        Path({path!r}).write_text("by the crew")
        return "done"
"""


# ---- where it is by default -----------------------------------------------------------------------


def test_by_default_it_is_in_the_users_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for ignored in ("", "relative/path"):
        monkeypatch.setenv("XDG_STATE_HOME", ignored)
        assert state.default_directory(PROJECT).is_relative_to(tmp_path / ".local" / "state")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "xdg"))
    assert state.default_directory(PROJECT).is_relative_to(tmp_path / "xdg")


def test_a_user_without_a_home_is_told_to_name_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setenv("HOME", "nowhere")
    with pytest.raises(OSError, match="--state"):
        state.default_directory(PROJECT)
