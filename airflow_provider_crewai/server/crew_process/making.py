"""Builds crews and flows from whatever a project names: classes, instances, functions, with arguments or without."""

from __future__ import annotations

import asyncio
import importlib
import inspect
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_type_hints

# crewai remembers the agents and tasks of a @CrewBase instance by its id() (project/utils.py, 1.15.2 to 1.15.30). If
# the instance were freed, the next one at its address would get its agents and tasks.
_kept: list[Any] = []

# What stands for an argument while a crew is only described. In a prompt it reads like any other input.
_STAND_INS: dict[Any, Any] = {int: 1, float: 1.0, bool: False}
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


@dataclass(frozen=True)
class Argument:
    """An argument of an author's function or class, which a kickoff gives as an input.

    :param type: `str`, `int`, `float`, `bool`, `list` or `dict`; `str` if the author does not say.
    :param default: its default, if it has one that JSON can hold.
    """

    name: str
    type: type
    is_required: bool
    default: Any = None

    @property
    def schema(self) -> dict[str, str]:
        """Its type as a JSON Schema."""
        return {"type": _TYPES[self.type]}

    def stand_in(self) -> Any:
        """Return what stands for it while the crew is only described."""
        in_braces = f"{{{self.name}}}"
        if self.type is dict:
            return _AnyKey(lambda: in_braces)
        return [in_braces] if self.type is list else _STAND_INS.get(self.type, in_braces)


class _AnyKey(defaultdict[str, str]):
    """Stands for a dict, whichever keys its author reads."""

    def get(self, key: str, default: Any = None) -> Any:
        """Return what stands for the value."""
        del default
        return self[key]


def arguments_of(found: Any) -> list[Argument]:
    """Return the arguments that a kickoff may give to what a project names.

    :raises LookupError: it needs an argument that no JSON can be.
    """
    function = _signed(found)
    if function is None:
        return []
    hints = _hints(function)
    parameters = [*inspect.signature(function).parameters.values()]
    named = [each for each in parameters if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    if isinstance(found, type):
        named = named[1:]
    read = [_argument(each, hints.get(each.name, Any)) for each in named]
    return [argument for argument in read if argument]


def make(found: Any, arguments: list[Argument], inputs: Mapping[str, Any] | None) -> Any:
    """Build a crew or a flow.

    If `found` is an *instance*, a crew is copied, and a flow is returned as it is, because no copy of it would be
    complete.

    :param inputs: a kickoff's inputs, or None if the crew is only described.
    :raises LookupError: what was built is neither.
    """
    given = _given(arguments, inputs)
    if isinstance(found, crew_class()) or has_crew(found):
        return _copied(_built(found))
    return _built(found(**given) if given else found)


def crew_class() -> Any:
    """Return crewai's Crew."""
    return importlib.import_module("crewai").Crew


def flow_class() -> Any:
    """Return crewai's Flow."""
    return importlib.import_module("crewai.flow.flow").Flow


def has_crew(found: Any) -> bool:
    """Return whether an object, which is not itself a crew, a flow or a class, has a method `crew`."""
    is_made = isinstance(found, (type, crew_class(), flow_class()))
    return not is_made and callable(getattr(found, "crew", None))


def _signed(found: Any) -> Any:
    """Return the author's own function whose arguments count, or None."""
    if isinstance(found, type):
        own = (base.__dict__.get("__init__") for base in found.__mro__)
        return next((one for one in own if inspect.isfunction(one) and not _is_crewais(one)), None)
    return found if inspect.isroutine(found) else None


def _is_crewais(function: Any) -> bool:
    return str(getattr(function, "__module__", "")).startswith(("crewai.", "pydantic."))


def _hints(function: Any) -> dict[str, Any]:
    try:
        return get_type_hints(function)
    except Exception:  # noqa: BLE001 - an annotation may name a class that is imported only for type checkers
        return {}


def _argument(parameter: inspect.Parameter, hint: Any) -> Argument | None:
    is_required = parameter.default is parameter.empty
    kind = _plain_type(hint)
    if kind is None and is_required:
        raise LookupError(
            f"it needs the argument {parameter.name}, which is a {getattr(hint, '__name__', hint)}, and a kickoff can "
            "give only what JSON can hold. Name a function without such an argument as module:attribute"
        )
    default = None if is_required or type(parameter.default) not in _TYPES else parameter.default
    return None if kind is None else Argument(parameter.name, kind, is_required, default)


def _plain_type(hint: Any) -> type | None:
    options = [one for one in getattr(hint, "__args__", ()) if one is not type(None)]
    if hint in (Any, object, inspect.Parameter.empty):
        return str
    origin = getattr(hint, "__origin__", hint)
    if origin in _TYPES:
        return origin  # type: ignore[no-any-return]  # a class, by what is checked above
    return _plain_type(options[0]) if len(options) == 1 else None


def _given(arguments: list[Argument], inputs: Mapping[str, Any] | None) -> dict[str, Any]:
    if inputs is None:
        return {each.name: each.stand_in() for each in arguments if each.is_required}
    if missing := [each.name for each in arguments if each.is_required and each.name not in inputs]:
        raise LookupError(f"Missing inputs: {', '.join(missing)}")
    return {each.name: inputs[each.name] for each in arguments if each.name in inputs}


def _built(found: Any) -> Any:
    if inspect.iscoroutine(found):
        return _built(asyncio.run(found))
    if isinstance(found, (crew_class(), flow_class())):
        return found
    if has_crew(found):
        _kept.append(found)
        return _built(found.crew())
    if isinstance(found, tuple) and len(crews := [each for each in found if isinstance(each, crew_class())]) == 1:
        return crews[0]
    if callable(found):
        return _built(found())
    raise LookupError(f"{found!r} is neither a crew nor a flow")


def _copied(crew: Any) -> Any:
    try:
        return crew.copy()
    except Exception:  # noqa: BLE001 - crewai validates a copy with the author's code too, which may raise anything
        return crew
