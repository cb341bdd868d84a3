"""Which Python interpreter runs a project: one that exists, or one that uv makes for it (`--with-crewai`)."""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from airflow_provider_crewai.server.project import Project, ProjectError

LATEST = "latest"
"""The value of `--with-crewai` without a version."""

_PYTHONS = ">=3.10,<3.14"
"""The Pythons that crewai supports (1.15.2 to 1.15.30)."""

_OLDEST = "1.15.2"
_LEVELS = 4
"""How many folders are searched for what the project needs: a crew may be a folder in a larger repository."""

_WITHIN = 900.0
"""Seconds for uv. A crewai with its tools is hundreds of megabytes."""

log = logging.getLogger(__name__)


def interpreter(project: Project, python: str | None, with_crewai: str | None, folder: Path) -> str:
    """Return the interpreter for a project, and make it if that is wanted and it is not made yet.

    :param python: the interpreter that the user names.
    :param with_crewai: the version of crewai to make one with, `latest`, or None.
    :param folder: where environments are kept, one for each version and set of other packages.
    :raises ProjectError: uv is missing, or could not make the environment; the message says what to do.
    """
    if with_crewai is None:
        return python or project.python()
    wanted = _wanted(project.directory, with_crewai)
    home = folder / hashlib.sha256(json.dumps([python, *wanted]).encode()).hexdigest()[:12]
    made = home / "bin" / "python"
    if not (home / "complete").exists():
        _make(home, python, wanted)
        (home / "complete").touch()
    return str(made)


def _make(home: Path, python: str | None, wanted: Sequence[str]) -> None:
    uv = shutil.which("uv", path=None) or _beside(Path(sys.executable))
    if uv is None:
        raise ProjectError("--with-crewai needs uv, which is not on the PATH: install it, or use --python")
    log.info("uv makes an environment with %s; this takes some minutes the first time", wanted[0])
    shutil.rmtree(home, ignore_errors=True)
    _run(uv, "venv", "--quiet", "--no-project", "--python", python or _PYTHONS, str(home))
    # An override wins over what the project, or a package of it, pins.
    overrides = home / "overrides.txt"
    overrides.write_text(wanted[0] + "\n", encoding="utf-8")
    install = (uv, "pip", "install", "--quiet", "--python", str(home), "--override", str(overrides))
    try:
        _run(*install, *wanted)
    except ProjectError as error:
        # A frozen list pins what an older crewai needed.
        loose = [wanted[0], *(re.sub(r"==[^;]*", "", each) for each in wanted[1:])]
        if loose == [*wanted]:
            raise
        log.warning("%s; now without the versions that the project pins", error)
        _run(*install, *loose)


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_WITHIN)  # noqa: S603 - the user's uv
    except subprocess.CalledProcessError as error:
        said = " ".join(error.stderr.split())[-1500:]
        raise ProjectError(
            f"uv could not make an environment for --with-crewai: {said} "
            "(loosen what the project pins, name another version, or name an interpreter of your own with --python)"
        ) from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ProjectError(f"uv could not make an environment for --with-crewai: {error}") from None


def _beside(python: Path) -> str | None:
    uv = python.with_name("uv")
    return str(uv) if uv.exists() else None


# ---- what the project needs -----------------------------------------------------------------------


def _wanted(directory: Path, version: str) -> list[str]:
    """Return crewai as it is wanted, with the extras that the project asks for, then the project's other packages."""
    needed = next((found for folder in _to_the_top(directory) if (found := _dependencies(folder))), ["crewai[tools]"])
    own = [each for each in needed if _name(each) == "crewai"]
    extras = sorted({extra.strip() for each in own for extra in _extras(each)} - {""})
    bound = f">={_OLDEST}" if version == LATEST else f"=={version}"
    crewai = f"crewai[{','.join(extras)}]{bound}" if extras else f"crewai{bound}"
    return [crewai, *(each for each in needed if _name(each) not in ("crewai", "crewai-tools")), *_tools(needed)]


def _to_the_top(directory: Path) -> list[Path]:
    """Return the folders from the project's to the top of its repository."""
    folders = [directory, *directory.parents][:_LEVELS]
    top = next((number for number, folder in enumerate(folders) if (folder / ".git").exists()), 0)
    return folders[: top + 1]


def _tools(needed: Sequence[str]) -> list[str]:
    # crewai and its tools are released together, so a pin of the tools would hold crewai back.
    return ["crewai-tools"] if any(_name(each) == "crewai-tools" for each in needed) else []


def _dependencies(directory: Path) -> list[str]:
    with suppress(OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        pyproject = tomllib.loads((directory / "pyproject.toml").read_text(encoding="utf-8"))
        if isinstance(found := pyproject.get("project", {}).get("dependencies"), list):
            sources = pyproject.get("tool", {}).get("uv", {}).get("sources", {})
            return [_from_its_source(str(each).strip(), sources, directory) for each in found if str(each).strip()]
    with suppress(OSError, UnicodeDecodeError):
        lines = (directory / "requirements.txt").read_text(encoding="utf-8").splitlines()
        bare = (line.partition(" #")[0].strip() for line in lines)
        return [line for line in bare if line and not line.startswith(("#", "-"))]
    return []


def _from_its_source(requirement: str, sources: dict[str, Any], directory: Path) -> str:
    """Return a requirement with where its author gets it from: the package index may have another one of its name."""
    name = _name(requirement)
    source = next((each for key, each in sources.items() if _name(key) == name and isinstance(each, dict)), {})
    if "workspace" in source:
        raise ProjectError(
            f"--with-crewai cannot install {name}, which {directory} takes from its workspace: run `uv sync` there and "
            "name the interpreter of that environment with --python"
        )
    if "path" in source:
        path = (directory / source["path"]).resolve()
        return f"--editable={path}" if path.is_dir() else f"{name} @ {path.as_uri()}"
    if "git" in source:
        revision = next((f"@{source[key]}" for key in ("rev", "tag", "branch") if key in source), "")
        inside = f"#subdirectory={source['subdirectory']}" if "subdirectory" in source else ""
        return f"{name} @ git+{source['git']}{revision}{inside}"
    return requirement


def _name(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[._-]+", "-", found[0]).lower() if found else ""


def _extras(requirement: str) -> list[str]:
    found = re.match(r"[A-Za-z0-9._-]+\s*\[([^\]]*)\]", requirement)
    return found[1].split(",") if found else []
