"""The state directory: where it is, which server holds it, and the token and the port that it keeps."""

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
    """Return the state directory of a project: one per project, outside the project's files.

    :raises OSError: the user has no home directory.
    """
    digest = hashlib.sha256(f"{project.directory}\0{project.target}".encode()).hexdigest()[:8]
    return _home() / "airflow-provider-crewai" / f"{project.name.replace(':', '.')}-{digest}"


def _home() -> Path:
    # XDG_STATE_HOME must be absolute, else it is ignored (XDG Base Directory Specification 0.8).
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    try:
        home = given if given.is_absolute() else Path.home() / ".local" / "state"
    except RuntimeError:
        home = Path()
    if not home.is_absolute():
        raise OSError("This user has no home directory. Name a folder for the server's state with --state.")
    return home


def occupy(directory: Path) -> Path:
    """Hold the state directory until this process ends. It is created if it is missing.

    :returns: its path, with all links resolved.
    :raises OSError: another server holds it, or it is not this user's alone.
    """
    directory = private.folder(directory)
    lock = private.opened(directory / "server.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OSError(f"another server uses the state directory {directory}") from None
    return directory


def kept_token(file: Path) -> str:
    """Return the token that a file keeps, for its owner alone. If there is no file, create it with a new token.

    :raises OSError: others can read the file, or it cannot be read.
    """
    kept, mode = _kept(file)
    if not kept:
        kept = secrets.token_urlsafe(32)
        private.write(file, kept + "\n")
    elif mode & 0o077:
        raise OSError(f"Other users may have read the token in {file} (mode {mode:o}). Delete it for a new one.")
    return kept


def kept_port(file: Path) -> int:
    """Return the port that a file keeps; 0, for any port, if there is no file or no valid port in it.

    :raises OSError: the file cannot be read.
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
