"""What a crew's `@before_kickoff` hooks do with the inputs, as far as their source shows it. No hook is called."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

_ONLY_READ = ("print", "str", "repr", "len", "sorted", "list", "dict", "set", "dumps", "copy", "deepcopy")
_LOGGERS = ("log", "logger", "logging")


@dataclass
class HookSource:
    """The names that hooks use.

    :param reads: inputs that a hook reads.
    :param needs: those of them without which it raises.
    :param fills: inputs that a hook sets.
    :param may_fill_any: whether a hook may set others too, because its source is out of reach or calls other code.
    """

    reads: set[str] = field(default_factory=set)
    needs: set[str] = field(default_factory=set)
    fills: set[str] = field(default_factory=set)
    may_fill_any: bool = False

    def read(self, function: Callable[..., Any]) -> None:
        """Read one hook."""
        try:
            source = textwrap.dedent(inspect.getsource(function))
            (hook,) = ast.parse(source).body
            assert isinstance(hook, ast.FunctionDef | ast.AsyncFunctionDef)  # noqa: S101 - a lambda's line is no function
            inputs = hook.args.args[-1].arg
        except (OSError, TypeError, SyntaxError, ValueError, AssertionError, IndexError):
            self.may_fill_any = True
        else:
            _Hook(self, inputs).visit(hook)


def read_hooks(hooks: Iterable[Callable[..., Any]]) -> HookSource:
    """Read the hooks of a crew, in their order."""
    read = HookSource()
    for hook in hooks:
        read.read(_authors(hook))
    read.needs -= read.fills
    return read


def _authors(hook: Any) -> Any:
    """Return the author's own function. crewai puts one or more of its own around it."""
    for inner in _within(hook, 5):
        if not getattr(inner, "__module__", "crewai").startswith("crewai."):
            return inner
    return hook


def _within(function: Any, levels: int) -> Iterator[Any]:
    if isinstance(function, partial):
        yield from _within(function.func, levels)
    elif callable(getattr(function, "_meth", None)):  # crewai's own wrapper of a method
        yield from _within(function._meth, levels)  # noqa: SLF001 - there is no other way to the author's function
    elif inspect.isroutine(function):
        yield function
        cells = getattr(function, "__closure__", None) or ()
        for cell in cells if levels else ():
            with suppress(ValueError):  # an empty cell
                yield from _within(cell.cell_contents, levels - 1)


class _Hook(ast.NodeVisitor):
    def __init__(self, said: HookSource, inputs: str) -> None:
        self._said = said
        self._names = {inputs}

    def visit_Assign(self, node: ast.Assign) -> None:
        if self._is_copy(node.value):
            self._names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if self._is_inputs(node.target):
            self._fill_from(node.value)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        if self._is_inputs(node.value):
            name = _text(node.slice)
            if isinstance(node.ctx, ast.Load):
                self._read(name, needs=True)
            elif isinstance(node.ctx, ast.Store):
                self._fill([name])
        self.generic_visit(node)

    def visit_Compare(self, node: ast.Compare) -> None:
        # `if "topic" in inputs`: the hook does without it.
        if any(self._is_inputs(right) for right in node.comparators) and (name := _text(node.left)):
            self._said.reads.add(name)
            self._said.fills.add(name)
        self.generic_visit(node)

    def visit_Dict(self, node: ast.Dict) -> None:
        if any(key is None and self._is_inputs(value) for key, value in zip(node.keys, node.values, strict=True)):
            self._fill_from(node)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        method = node.func if isinstance(node.func, ast.Attribute) else None
        if method and self._is_inputs(method.value):
            self._method(method.attr, node)
        elif any(self._is_inputs(given) for given in [*node.args, *(word.value for word in node.keywords)]):
            self._passed_on(node)
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        value = node.value
        known = value is None or self._is_copy(value)
        self._said.may_fill_any |= not known
        self.generic_visit(node)

    def _method(self, name: str, node: ast.Call) -> None:
        first = _text(node.args[0]) if node.args else None
        if name in ("get", "pop", "setdefault"):
            self._read(first, needs=name == "pop" and len(node.args) == 1)
        if name == "setdefault":
            self._fill([first])
        if name == "update":
            self._fill([word.arg for word in node.keywords])
            for given in node.args:
                self._fill_from(given)

    def _passed_on(self, node: ast.Call) -> None:
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        if called == "dict":
            self._fill([word.arg for word in node.keywords if word.arg])
        is_logger = isinstance(owner, ast.Name) and owner.id in _LOGGERS
        self._said.may_fill_any |= called not in _ONLY_READ and not is_logger

    def _is_inputs(self, node: ast.AST | None) -> bool:
        return isinstance(node, ast.Name) and node.id in self._names

    def _is_items(self, node: ast.AST) -> bool:
        is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "items"
        return is_method and self._is_inputs(node.func.value)  # type: ignore[attr-defined]  # `is_method` has looked

    def _is_copy(self, node: ast.AST | None) -> bool:
        if isinstance(node, ast.BoolOp):
            return self._is_copy(node.values[0])
        if isinstance(node, ast.Dict):
            return None in node.keys
        if isinstance(node, ast.DictComp):  # such as each name with its value in other words
            return isinstance(node.key, ast.Name) and self._is_items(node.generators[0].iter)
        if isinstance(node, ast.Call):
            given = [*node.args, *([node.func.value] if isinstance(node.func, ast.Attribute) else [])]
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            return called in ("dict", "copy", "deepcopy") and any(self._is_inputs(one) for one in given)
        return self._is_inputs(node)

    def _read(self, name: str | None, *, needs: bool) -> None:
        if name:
            self._said.reads.add(name)
            self._said.needs |= {name} if needs else set()

    def _fill(self, names: Iterable[str | None]) -> None:
        for name in names:
            if name:
                self._said.fills.add(name)
            else:
                self._said.may_fill_any = True

    def _fill_from(self, node: ast.AST) -> None:
        if not isinstance(node, ast.Dict):
            self._said.may_fill_any = True
            return
        pairs = zip(node.keys, node.values, strict=True)
        self._fill(_text(key) for key, value in pairs if not (key is None and self._is_inputs(value)))


def _text(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
