"""The state directory: where it is, whose it is, and the token and the port kept in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import stat
from pathlib import Path

from airflow_provider_crewai.server import private
from airflow_provider_crewai.server.project import Project

LAST_PORT = 65535
_LONGEST = 4096


def default_directory(project: Project) -> Path:
    """Return the state directory of a project: outside its sources, one per project.

    :raises OSError: the user has no home.
    """
    digest = hashlib.sha256(f"{project.directory}\0{project.target}".encode()).hexdigest()[:8]
    return _home() / "airflow-provider-crewai" / f"{project.name.replace(':', '.')}-{digest}"


def _home() -> Path:
    # A relative path there is invalid, and ignored (XDG Base Directory Specification 0.8).
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        home = given if given.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        raise OSError("This user has no home directory. Name a folder for the server's state with --state.")
    return home


def occupy(directory: Path) -> Path:
    """Hold the state directory until this process ends; it is made where there is none.

    :returns: its path, with all links resolved.
    :raises OSError: another server holds it, or it is not this user's alone.
    """
    directory = private.folder(directory)
    lock = private.opened(directory / "server.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OSError(f"another server is at work on the state directory {directory}") from None
    return directory


def kept_token(file: Path) -> str:
    """Return the token kept in a file that only its owner can read; a new one where there is none.

    :raises OSError: others can read it, or it cannot be read.
    """
    kept, mode = _kept(file)
    if not kept:
        kept = secrets.token_urlsafe(32)
        private.write(file, kept + "\n")
    elif mode & 0o077:
        raise OSError(f"Other users may have read the token in {file} (mode {mode:o}). Delete it for a new one.")
    return kept


def kept_port(file: Path) -> int:
    """Return the port kept in a file; 0, which stands for any, where there is none.

    :raises OSError: it cannot be read.
    """
    kept, _ = _kept(file)
    port = int(kept) if kept.isdecimal() and len(kept) <= len(str(LAST_PORT)) else 0
    return port if port <= LAST_PORT else 0


def _kept(file: Path) -> tuple[str, int]:
    try:
        descriptor = private.opened(file, os.O_RDONLY)
    except FileNotFoundError:
        return "", 0
    with os.fdopen(descriptor, encoding="utf-8", errors="replace") as reading:
        return reading.read(_LONGEST).strip(), stat.S_IMODE(os.fstat(descriptor).st_mode)
