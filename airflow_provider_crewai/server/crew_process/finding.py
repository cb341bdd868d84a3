"""Finds the file of a project that defines its crew or flow, without running any of it.

The search follows `crewai deploy` (crewai_cli/deploy/validate.py, 1.15.2 to 1.15.30): `[tool.crewai]` of pyproject.toml
says crew or flow and may name a definition, else the file is `src/<name of the project>/crew.py` or `main.py`. Projects
that were never packaged, and those that are written by hand, are found too.
"""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .candidates import builders, candidates, candidates_in

_MODULES = {"crew": "crew.py", "flow": "main.py"}
_DEFINITIONS = {"crew": ("crew.jsonc", "crew.json"), "flow": ("flow.yaml",)}
_MOST_NAMES = 8
_RETURN_IT = (
    "These functions build a Crew and keep it to themselves: {}. Let one return its Crew instead of kicking it off, "
    "and name it as module:attribute"
)


@dataclass(frozen=True)
class Source:
    """Where a crew or flow is defined.

    :param kind: `crew` or `flow`.
    :param path: the file.
    :param attribute: what to take of a Python file; None if only the module itself shows it.
    """

    kind: str
    path: Path
    attribute: str | None = None


def find(directory: Path) -> Source:
    """Return the file that defines a project's crew or flow.

    :raises LookupError: there is none, or more than one; the message says where it looked and what to do.
    """
    file = directory / "pyproject.toml"
    pyproject = _read_toml(file) if file.is_file() else {}
    settings = _table(_table(pyproject, "tool"), "crewai")
    kind = settings.get("type")
    if kind not in (None, *_MODULES):
        raise LookupError(f'{file}: [tool.crewai] type is {kind!r}, it must be "crew" or "flow"')
    if "definition" in settings:
        return _definition(file, kind, settings["definition"])
    kinds = [kind] if kind else [*_MODULES]
    package = directory / "src" / _package(str(_table(pyproject, "project").get("name", "")))
    named = (Source(kind, package / _MODULES[kind]) for kind in kinds)
    found = next((source for source in named if source.path.is_file()), None)
    return _by_hand(found or _only_source(directory, kinds), directory)


def _read_toml(file: Path) -> dict[str, Any]:
    # tomllib is in the standard library since 3.11. On 3.10 crewai depends on tomli.
    toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    try:
        read: dict[str, Any] = toml.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LookupError(f"{file} is not TOML: {error}") from error
    return read


def _table(parent: dict[str, Any], key: str) -> dict[str, Any]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _package(project: str) -> str:
    # As crewai_cli.utils.normalize_package_name does.
    return re.sub(r"[^a-zA-Z0-9_]", "", project.replace(" ", "_").replace("-", "_").lower())


def _definition(file: Path, kind: str | None, definition: Any) -> Source:
    path = (file.parent / str(definition).strip()).resolve()
    if kind and path.is_relative_to(file.parent) and path.is_file():
        return Source(kind, path)
    wrong = "is not a file of the project" if kind else 'needs type = "crew" or type = "flow" beside it'
    raise LookupError(f"{file}: [tool.crewai] definition = {definition!r} {wrong}")


def _only_source(directory: Path, kinds: list[str]) -> Source:
    found = [Source(kind, path) for kind in kinds for path in _usual_files(directory, kind)]
    # A crew's project has a main.py too, so main.py counts as a flow only if nothing else is there.
    found = [source for source in found if source.path.name != _MODULES["flow"]] or found
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(source.path.relative_to(directory)) for source in found)
        raise LookupError(f"{directory} has more than one crew or flow: {several}. {name_one(directory)}")
    return _somewhere(directory, kinds)


def _somewhere(directory: Path, kinds: list[str]) -> Source:
    found = [each for each in candidates(directory) if each.kind in kinds]
    if len(found) == 1 and not _inner_projects(directory):
        return Source(found[0].kind, found[0].path, found[0].attribute)
    names = " or ".join(name for kind in kinds for name in (_MODULES[kind], *_DEFINITIONS[kind]))
    raise LookupError(
        f"no {' or '.join(kinds)} in {directory}: neither it nor a package in it or in its src has {names}, "
        f"and no pyproject.toml has [tool.crewai] with a definition. {name_one(directory)}"
    )


def _by_hand(source: Source, directory: Path) -> Source:
    """Look for a crew elsewhere if the only file is a main.py without a flow of its own."""
    if source.path.name != _MODULES["flow"]:
        return source
    here = candidates_in(source.path, directory)
    if any(each.kind == "flow" for each in here):
        return source
    found = here or candidates(directory)
    if not found and builders(directory):
        raise LookupError(f"{directory} has no crew or flow that can be served. {name_one(directory)}")
    if len(found) > 1:
        raise LookupError(f"{directory} has more than one crew or flow. {name_one(directory)}")
    return Source(found[0].kind, found[0].path, found[0].attribute) if found else source


def name_one(directory: Path) -> str:
    """Say what to name instead: a folder in this one, `module:attribute`, or a function that should return its Crew."""
    if inner := ", ".join(str(each) for each in _inner_projects(directory)):
        return f"It holds other projects. Start the server with one of these folders as its PROJECT: {inner}"
    if seen := _names(directory):
        return f"Name one as module:attribute, from that folder: {seen}"
    kept = ", ".join(builders(directory)[:_MOST_NAMES])
    return _RETURN_IT.format(kept) if kept else "Name yours as module:attribute"


def _names(directory: Path) -> str:
    found = [str(each) for each in candidates(directory)]
    more = f" and {len(found) - _MOST_NAMES} more" if len(found) > _MOST_NAMES else ""
    return ", ".join(found[:_MOST_NAMES]) + more


def _inner_projects(directory: Path) -> list[Path]:
    files = sorted(each for levels in ("*", "*/*", "*/*/*") for each in directory.glob(f"{levels}/pyproject.toml"))
    return [file.parent for file in files[:_MOST_NAMES] if "[tool.crewai]" in file.read_text(errors="replace")]


def _usual_files(directory: Path, kind: str) -> Iterator[Path]:
    for place in (directory, *_packages(directory), *_packages(directory / "src")):
        if (module := place / _MODULES[kind]).is_file():
            yield module
        # The first one: crewai prefers crew.jsonc, too (project/json_loader.py).
        yield from [path for name in _DEFINITIONS[kind] if (path := place / name).is_file()][:1]


def _packages(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*/") if path.name.isidentifier())
