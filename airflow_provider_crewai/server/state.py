"""The state directory: where it is, whose it is, and the token and the port kept in it."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
from contextlib import suppress
from pathlib import Path

from airflow_provider_crewai.server.project import Project

LAST_PORT = 65535


def default_directory(project: Project) -> Path:
    """Return the state directory of a project: outside its sources, one per project."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    digest = hashlib.sha256(f"{project.directory}\0{project.target}".encode()).hexdigest()[:8]
    return home / "airflow-provider-crewai" / f"{project.name.replace(':', '.')}-{digest}"


def occupy(directory: Path) -> None:
    """Create the state directory where needed and hold it until this process ends.

    :raises OSError: another server holds it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(directory / "server.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise OSError(f"another server is at work on the state directory {directory}") from None


def kept_token(file: Path) -> str:
    """Return the token kept in a file that only its owner can read; a new one where there is none."""
    with suppress(FileNotFoundError):
        if kept := file.read_text(encoding="utf-8").strip():
            return kept
    # Under another name until it is whole: a full disk, say, would leave an empty one.
    new, token = file.with_name(f"{file.name}.new"), secrets.token_urlsafe(32)
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as writing:
        writing.write(token + "\n")
    new.replace(file)
    return token


def kept_port(file: Path) -> int:
    """Return the port kept in a file; 0, which stands for any, where there is none."""
    try:
        port = int(file.read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return 0
    return port if 0 < port <= LAST_PORT else 0
