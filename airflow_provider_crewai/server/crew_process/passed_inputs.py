"""The inputs that a project passes when its author starts it: what `run()` in main.py gives to `kickoff`.

Only values that can be read without running the project's code count.
"""

from __future__ import annotations

import ast
import datetime as dt
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_KICKOFFS = ("kickoff", "kickoff_async", "akickoff")
_MAINS = ("run", "main", "kickoff", "<module>")
_LONGEST = 100_000
"""Characters of a main.py. Nobody writes a longer one by hand."""

_MOST_STEPS = 20

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def passed_inputs(source: Path, name: str) -> dict[str, Any]:
    """Return the inputs that the author's own start passes, as far as they are plain values.

    :param source: the file that defines the crew or flow. A main.py beside it counts too.
    :param name: what the project calls its crew or flow.
    """
    for file in dict.fromkeys((source.with_name("main.py"), source)):
        with suppress(OSError, ValueError, SyntaxError):
            text = file.read_text(encoding="utf-8")
            if len(text) <= _LONGEST and (found := _passed(ast.parse(text), name)):
                return found
    return {}


def _passed(module: ast.Module, name: str) -> dict[str, Any]:
    calls = [(scope, call) for scope in _scopes(module) for call in _kickoffs(scope)]
    about = [each for each in calls if _mentions(each[0], name)] or calls
    # run() is what `crewai run` calls. A file that kicks off this and that may mean other inputs for each.
    for main in _MAINS:
        here = [each for each in about if getattr(each[0], "name", "<module>") == main]
        if len(here) == 1:
            return _values(*here[0], module)
    return _values(*about[0], module) if len(about) == 1 else {}


def _scopes(module: ast.Module) -> Iterator[ast.Module | _Function]:
    yield from (node for node in ast.walk(module) if isinstance(node, _Function))
    yield module


def _own(scope: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a scope, without those of functions and classes in it."""
    for node in ast.iter_child_nodes(scope):
        if not isinstance(node, _Function | ast.ClassDef | ast.Lambda):
            yield node
            yield from _own(node)


def _kickoffs(scope: ast.AST) -> Iterator[ast.Call]:
    for node in _own(scope):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _KICKOFFS:
            yield node


def _mentions(scope: ast.AST, name: str) -> bool:
    return any(isinstance(node, ast.Name) and node.id == name for node in _own(scope))


def _values(scope: ast.AST, call: ast.Call, module: ast.Module) -> dict[str, Any]:
    known = _assigned(module) | _assigned(scope)
    given: ast.AST | None = next(
        (word.value for word in call.keywords if word.arg == "inputs"), call.args[0] if call.args else None
    )
    if isinstance(given, ast.Name):
        given = known.get(given.id)
    if not isinstance(given, ast.Dict):
        return {}
    found = {}
    for key, value in zip(given.keys, given.values, strict=True):
        with suppress(_Unknown):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                found[key.value] = _Value(known).of(value)
    return found


def _assigned(scope: ast.AST) -> dict[str, ast.AST]:
    """Return what names hold that are assigned once: a second assignment may depend on a condition."""
    found: dict[str, list[ast.AST]] = {}
    for node in _own(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


class _Unknown(Exception):
    """A value is not plain: it may depend on anything."""


class _Value:
    """Computes plain values: literals, texts put together, names of these, today's date, variables with a default."""

    def __init__(self, known: dict[str, ast.AST]) -> None:
        self._known = known
        self._steps = 0

    def of(self, node: ast.AST | None) -> Any:
        with suppress(ValueError, TypeError):
            return ast.literal_eval(node)  # type: ignore[arg-type]  # any other node raises
        self._steps += 1
        if self._steps > _MOST_STEPS:  # names that stand for each other
            raise _Unknown
        return self._computed(node)

    def _computed(self, node: ast.AST | None) -> Any:
        if isinstance(node, ast.Name) and node.id in self._known:
            return self.of(self._known[node.id])
        if isinstance(node, ast.JoinedStr):
            return "".join(str(self.of(part)) for part in node.values)
        if isinstance(node, ast.FormattedValue) and node.format_spec is None and node.conversion == -1:
            return self.of(node.value)
        if isinstance(node, ast.Call):
            return self._called(ast.unparse(node.func), node)
        if isinstance(node, ast.Attribute) and node.attr in ("year", "month", "day"):
            return getattr(_day(ast.unparse(node.value)), node.attr)
        raise _Unknown

    def _called(self, name: str, node: ast.Call) -> Any:
        if name == "str" and len(node.args) == 1:
            return str(self.of(node.args[0]))
        if name in ("os.getenv", "os.environ.get", "getenv", "environ.get") and node.args:
            return os.environ.get(str(self.of(node.args[0]))) or self.of(node.args[1] if node.args[1:] else None)
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("strftime", "isoformat"):
            day = _day(ast.unparse(node.func.value))
            return getattr(day, node.func.attr)(*map(self.of, node.args))
        raise _Unknown


def _day(text: str) -> dt.datetime:
    if text in (
        "datetime.now()",
        "datetime.datetime.now()",
        "datetime.today()",
        "date.today()",
        "datetime.date.today()",
    ):
        return dt.datetime.now().astimezone()
    raise _Unknown
