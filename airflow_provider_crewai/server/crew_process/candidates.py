"""Finds crews and flows in a project's source without running it, for projects that are written by hand."""

from __future__ import annotations

import ast
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NOT_THE_PROJECT = {"__pycache__", "node_modules", "site-packages", "venv", "env", "tests", "test", "build", "dist"}
_MOST_FILES = 300
_LARGEST = 500_000

_Function = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class Candidate:
    """What may be a crew or a flow.

    :param kind: `crew` or `flow`.
    :param path: the file that defines it.
    :param module: the dotted name of the file's module.
    :param attribute: its name there.
    """

    kind: str
    path: Path
    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


def candidates(directory: Path) -> list[Candidate]:
    """Return what the Python files of a project may serve, outermost files first."""
    return [found for file in _files(directory) for found in candidates_in(file, directory)]


def candidates_in(file: Path, directory: Path) -> list[Candidate]:
    """Return what one file may serve."""
    root = directory / "src" if file.is_relative_to(directory / "src") else directory
    *folders, stem = file.relative_to(root).with_suffix("").parts
    module = ".".join((*folders, stem) if stem != "__init__" else folders)
    return [Candidate(kind, file, module, name) for name, kind in _named(_read(file)).items()]


def builders(directory: Path) -> list[str]:
    """Return the places of functions that build a Crew and keep it to themselves, such as `trip.py:12 (main)`."""
    found = []
    for file in _files(directory):
        functions = [node for node in ast.walk(_read(file)) if isinstance(node, _Function)]
        places = [
            (node.lineno, node.name) for node in functions if any(_is_call(each, "Crew") for each in ast.walk(node))
        ]
        found += [f"{file.relative_to(directory)}:{line} ({name})" for line, name in sorted(places)]
    return found


def _files(directory: Path) -> list[Path]:
    return sorted(_python_files(directory), key=lambda file: (len(file.parts), file))[:_MOST_FILES]


def _read(file: Path) -> ast.Module:
    """Return a file's syntax tree, which is empty if the file cannot be read."""
    with suppress(OSError, SyntaxError, ValueError, RecursionError):
        if file.stat().st_size <= _LARGEST:
            return ast.parse(file.read_text(encoding="utf-8"))
    return ast.Module([], [])


def _python_files(directory: Path) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if name not in _NOT_THE_PROJECT and not name.startswith(".")]
        yield from (Path(folder) / name for name in files if name.endswith(".py"))


def _named(module: ast.Module) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in module.body:
        if isinstance(node, (ast.ClassDef, *_Function)) and (kind := _kind_of(node)):
            found[node.name] = kind
        elif isinstance(node, ast.Assign) and _is_call(node.value, "Crew"):
            found |= {target.id: "crew" for target in node.targets if isinstance(target, ast.Name)}
    return found


def _kind_of(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    if not isinstance(node, ast.ClassDef):
        return _returned(node)
    if any(_last(base) == "Flow" for base in node.bases):
        return "flow"
    if any(_last(decorator) == "CrewBase" for decorator in node.decorator_list):
        return "crew"
    methods = [each for each in node.body if isinstance(each, _Function) and each.name == "crew"]
    return "crew" if any(_returned(method) for method in methods) else None


def _returned(function: ast.FunctionDef | ast.AsyncFunctionDef) -> str | None:
    """Return "crew" if a function builds a Crew and returns it, alone or with more, but not its kickoff's result."""
    if function.returns is not None and _last(function.returns) == "Crew":
        return "crew"
    nodes = [*ast.walk(function)]
    crews = {
        target.id
        for node in nodes
        if isinstance(node, ast.Assign) and _is_call(node.value, "Crew")
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    returned = [node.value for node in nodes if isinstance(node, ast.Return)]
    values = [part for value in returned for part in (value.elts if isinstance(value, ast.Tuple) else [value])]
    is_crew = any(_is_call(value, "Crew") or (isinstance(value, ast.Name) and value.id in crews) for value in values)
    return "crew" if is_crew else None


def _is_call(node: ast.AST | None, name: str) -> bool:
    return isinstance(node, ast.Call) and _last(node.func) == name


def _last(node: ast.AST) -> str:
    """Return the last name of `crewai.Flow`, `Flow[State]`, `CrewBase()` or `"Crew"`."""
    if isinstance(node, ast.Subscript):
        return _last(node.value)
    if isinstance(node, ast.Call):
        return _last(node.func)
    if isinstance(node, ast.Constant):
        return str(node.value).rpartition(".")[2]
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
