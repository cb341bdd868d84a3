"""Picks the crew or flow that an imported module defines."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from .candidates import candidates_in
from .finding import name_one
from .making import crew_class, flow_class

_WHAT = {"crew": "@CrewBase class, Crew, or function that returns a Crew", "flow": "Flow"}


def pick(module: ModuleType, kind: str, directory: Path) -> tuple[str, Any]:
    """Return the name and the value of the one crew or flow in a module.

    :raises LookupError: there is none, or more than one; the message says what to do.
    """
    found = _flows(module) if kind == "flow" else _crews(module)
    return _only(module, kind, found or _by_hand(module, kind, directory), directory)


def crews_and_flows(module: ModuleType) -> list[str]:
    """Return the names of all crews and flows in a module."""
    return [*_all(module, lambda value: _is_crew(value) or _is_flow(value))]


def leads_to_flow(found: Any) -> bool:
    """Return whether a value is a flow, its class, or a function that says it returns one."""
    made = found if isinstance(found, type) else _returned(found)
    return isinstance(found, flow_class()) or (isinstance(made, type) and issubclass(made, flow_class()))


def _crews(module: ModuleType) -> dict[str, Any]:
    return _leaves(_all(module, _is_crew_class)) or _all(module, _is_crew)


def _flows(module: ModuleType) -> dict[str, Any]:
    found = _leaves(_all(module, _is_flow_class)) or _all(module, _is_flow)
    code = getattr(getattr(module, "kickoff", None), "__code__", None)
    used = {name: value for name, value in found.items() if code and name in code.co_names}
    return used if len(used) == 1 else found


def _by_hand(module: ModuleType, kind: str, directory: Path) -> dict[str, Any]:
    """Return what only the module's source shows: a plain class with `crew()`, a function without annotations."""
    seen = candidates_in(Path(module.__file__ or ""), directory)
    return {each.attribute: getattr(module, each.attribute, None) for each in seen if each.kind == kind}


def _only(module: ModuleType, kind: str, found: dict[str, Any], directory: Path) -> tuple[str, Any]:
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        one = f"module:attribute, such as {module.__name__}:{next(iter(found))}"
        raise LookupError(f"{module.__file__} has more than one {kind}: {', '.join(found)}. Name one as {one}")
    raise LookupError(f"{module.__file__} has no {_WHAT[kind]}. {name_one(directory)}")


def _all(module: ModuleType, wanted: Callable[[Any], bool]) -> dict[str, Any]:
    # Imported names count only if the module defines none itself.
    found = {name: value for name, value in vars(module).items() if wanted(value)}
    own = {name: value for name, value in found.items() if getattr(value, "__module__", None) == module.__name__}
    return own or found


def _leaves(classes: dict[str, Any]) -> dict[str, Any]:
    def is_base(one: Any) -> bool:
        return any(other is not one and issubclass(other, one) for other in classes.values())

    return {name: value for name, value in classes.items() if not is_base(value)}


def _is_crew_class(value: Any) -> bool:
    return isinstance(value, type) and bool(getattr(value, "is_crew_class", False))


def _is_flow_class(value: Any) -> bool:
    # But neither Flow itself nor another class of crewai that the module imports.
    return isinstance(value, type) and issubclass(value, flow_class()) and not value.__module__.startswith("crewai.")


def _is_crew(value: Any) -> bool:
    return _is_crew_class(value) or isinstance(value, crew_class()) or _returned(value) is crew_class()


def _is_flow(value: Any) -> bool:
    return _is_flow_class(value) or isinstance(value, flow_class())


def _returned(function: Any) -> Any:
    # An annotation may name a class that is imported only for type checkers.
    with suppress(NameError, AttributeError, TypeError):
        if inspect.isroutine(function):
            return get_type_hints(function).get("return")
    return None
