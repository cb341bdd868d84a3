"""Finds and loads a crewai project of any kind that crewai's own commands make and run.

The search for the project's file follows `crewai deploy` (crewai_cli/deploy/validate.py, 1.15.2 to 1.15.30):
`[tool.crewai]` of pyproject.toml says crew or flow and may name a definition, else the file is
`src/<name of the project>/crew.py` or `main.py`. Other than there, modules are imported under their own names, no error
is swallowed, and projects that were never packaged are found too.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, get_type_hints

from .passed_inputs import passed_inputs

_MODULES = {"crew": "crew.py", "flow": "main.py"}
_DEFINITIONS = {"crew": ("crew.jsonc", "crew.json"), "flow": ("flow.yaml",)}
_WHAT = {"crew": "@CrewBase class, Crew, or function that returns a Crew", "flow": "Flow"}

_NO_CREWAI = (
    "{} has no crewai. Install crewai 1.15.2 or later there, or start the server with --python and an interpreter "
    "that has it."
)

# Modules that crewai imports late. They are imported early here, so that each run's process inherits them:
# those of the first call of an OpenAI model (485 modules), ...
_FIRST_CALL = ("httpcore", "openai.resources.chat")
# ... of a memory, which every flow makes (without lancedb itself, which starts a thread), ...
_MEMORY = ("lance_namespace_urllib3_client", "dateutil.parser", "tqdm")
# ... of a declarative flow, and of a JSON crew with tools of crewai.
_EXPRESSIONS = ("celpy",)
_TOOLS = ("crewai_tools",)


@dataclass(frozen=True)
class Loaded:
    """A project whose modules are imported, but whose crew or flow is not built yet.

    :param kind: "crew" or "flow". For a function without a return annotation this is a guess, "crew"; :func:`kind_of`
        knows it for the object that the function made.
    :param name: what the project calls its crew or flow.
    :param defaults: the inputs that the project brings itself: a JSON crew's, or those that its main.py passes.
    :param make: builds a crewai `Crew` or `Flow`, a new one with each call. If `module:attribute` names an *instance*,
        a crew is copied, and a flow is returned as it is, because no copy of it would be complete.
    """

    kind: str
    name: str
    defaults: dict[str, Any]
    make: Callable[[], Any]


def load(target: str, directory: Path, ready: Callable[[], object] = lambda: None) -> Loaded:
    """Import a project, which is slow, but build nothing: no agents, no models, no threads.

    Changes to the project's directory, puts it and its `src` on `sys.path`, and loads its `.env`. For a definition in a
    file, `.env` wins over the environment; for Python, the environment wins, as in `crewai run` (crewai_cli/run_crew.py
    and crewai/project/crew_base.py, 1.15.2 to 1.15.30).

    :param target: a directory, or `module:attribute`: a @CrewBase class, a Flow class, an instance of one, a Crew, or a
        function that returns one of these.
    :param directory: the working directory for `module:attribute`, and the base of a relative directory.
    :param ready: called when the environment is complete, before any module of the project is imported.
    :raises LookupError: there is no crew or flow, or more than one; the message says where it looked and what to do.
    :raises ValueError: a JSON crew is invalid; crewai's message says where.
    :raises Exception: whatever the project's modules raise.
    """
    place = (directory / target).resolve()
    if place.is_dir():
        return _load_directory(place, ready)
    module, _, attribute = target.partition(":")
    if not attribute:
        raise LookupError(f"{target!r} is neither a directory in {directory} nor module:attribute")
    _enter(directory.resolve(), dotenv_wins=False)
    ready()
    return _load_attribute(module, attribute)


def kind_of(made: Any) -> str:
    """Return whether a built object is a "crew" or a "flow"."""
    return "flow" if isinstance(made, _flow()) else "crew"


# ---- find -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Source:
    kind: str
    path: Path


def _load_directory(directory: Path, ready: Callable[[], object]) -> Loaded:
    source = _find(directory)
    is_module = source.path.suffix == ".py"
    _enter(directory, dotenv_wins=not is_module)
    ready()
    if is_module:
        return _load_module(source, directory)
    return _load_flow_definition(source.path) if source.kind == "flow" else _load_json_crew(source.path)


def _find(directory: Path) -> _Source:
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
    named = (_Source(kind, package / _MODULES[kind]) for kind in kinds)
    return next((source for source in named if source.path.is_file()), None) or _only_source(directory, kinds)


def _read_toml(file: Path) -> dict[str, Any]:
    # tomllib is in the standard library since 3.11. On 3.10 crewai depends on tomli.
    toml = _import("tomllib" if sys.version_info >= (3, 11) else "tomli")
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


def _definition(file: Path, kind: str | None, definition: Any) -> _Source:
    path = (file.parent / str(definition).strip()).resolve()
    if kind and path.is_relative_to(file.parent) and path.is_file():
        return _Source(kind, path)
    wrong = "is not a file of the project" if kind else 'needs type = "crew" or type = "flow" beside it'
    raise LookupError(f"{file}: [tool.crewai] definition = {definition!r} {wrong}")


def _only_source(directory: Path, kinds: list[str]) -> _Source:
    found = [_Source(kind, path) for kind in kinds for path in _candidates(directory, kind)]
    # A crew's project has a main.py too, so main.py counts as a flow only if nothing else is there.
    found = [source for source in found if source.path.name != _MODULES["flow"]] or found
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(str(source.path.relative_to(directory)) for source in found)
        raise LookupError(f"{directory} has more than one crew or flow: {several}. Name one as module:attribute")
    names = " or ".join(name for kind in kinds for name in (_MODULES[kind], *_DEFINITIONS[kind]))
    raise LookupError(
        f"no {' or '.join(kinds)} in {directory}: neither it nor a package in it or in its src has {names}, "
        "and no pyproject.toml has [tool.crewai] with a definition. Name yours as module:attribute"
    )


def _candidates(directory: Path, kind: str) -> Iterator[Path]:
    for place in (directory, *_packages(directory), *_packages(directory / "src")):
        if (module := place / _MODULES[kind]).is_file():
            yield module
        # The first one: crewai prefers crew.jsonc, too (project/json_loader.py).
        yield from [path for name in _DEFINITIONS[kind] if (path := place / name).is_file()][:1]


def _packages(directory: Path) -> list[Path]:
    return sorted(path for path in directory.glob("*/") if path.name.isidentifier())


# ---- import ---------------------------------------------------------------------------------------


def _enter(directory: Path, *, dotenv_wins: bool) -> None:
    os.chdir(directory)
    for place in (directory, directory / "src"):
        if place.is_dir() and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    if importlib.util.find_spec("crewai") is None:
        raise ModuleNotFoundError(_NO_CREWAI.format(sys.executable), name="crewai")
    # Before any import of crewai, which reads some variables only once.
    if (dotenv := directory / ".env").is_file():
        _import("dotenv").load_dotenv(dotenv, override=dotenv_wins)
    _import("crewai")


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        needs = "" if error.name == name else f", which {name} needs"
        where = f"{sys.executable} finds it neither in {Path.cwd()} nor among its packages"
        hint = "Install it there, or use the interpreter of the project's own environment"
        raise ModuleNotFoundError(f"{error}{needs}: {where}. {hint}", name=error.name) from error


def _preload(*names: str) -> None:
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


def _crew() -> Any:
    return importlib.import_module("crewai").Crew


def _flow() -> Any:
    return importlib.import_module("crewai.flow.flow").Flow


# ---- load a definition ----------------------------------------------------------------------------


def _load_json_crew(path: Path) -> Loaded:
    project = importlib.import_module("crewai.project.json_loader").validate_crew_project(path)
    definition = project.definition
    bodies = [*(agent.definition for agent in project.agents.values()), *project.task_definitions]
    tools = [str(tool) for body in bodies for tool in body.get("tools") or ()]
    _preload(*_FIRST_CALL, *(_MEMORY if definition.get("memory") else ()))
    _preload(*(_TOOLS if any(not tool.startswith("custom:") for tool in tools) else ()))
    load_crew = importlib.import_module("crewai.project.crew_loader").load_crew
    name = definition.get("name") or path.parent.name
    return Loaded("crew", name, definition.get("inputs") or {}, lambda: load_crew(path)[0])


def _load_flow_definition(path: Path) -> Loaded:
    read = importlib.import_module("crewai.flow.flow_definition").FlowDefinition.from_declaration
    try:
        definition = read(path=path)
    except (ValueError, importlib.import_module("yaml").YAMLError) as error:
        raise LookupError(f"{path} does not define a flow: {error}") from error
    _preload(*_FIRST_CALL, *_MEMORY, *_EXPRESSIONS)
    return Loaded("flow", definition.name, {}, lambda: _flow().from_declaration(contents=definition))


# ---- load a module --------------------------------------------------------------------------------


def _load_module(source: _Source, directory: Path) -> Loaded:
    root = directory / "src" if source.path.is_relative_to(directory / "src") else directory
    name = ".".join(source.path.relative_to(root).with_suffix("").parts)
    module = _import(name)
    if Path(module.__file__ or "").resolve() != source.path:
        raise LookupError(
            f"{name} is {module.__file__}, not {source.path}: rename the package, or uninstall the other one"
        )
    attribute, found = _pick_flow(module) if source.kind == "flow" else _pick_crew(module)
    return _loaded(attribute, found, source.path)


def _load_attribute(name: str, attribute: str) -> Loaded:
    module = _import(name)
    if not hasattr(module, attribute):
        named = ", ".join(_all(module, lambda value: _is_crew(value) or _is_flow(value))) or "none"
        raise LookupError(f"{module.__file__} has no {attribute}. Its crews and flows: {named}")
    return _loaded(attribute, getattr(module, attribute), Path(module.__file__ or name))


def _loaded(attribute: str, found: Any, source: Path) -> Loaded:
    if not (isinstance(found, (_crew(), _flow())) or _has_crew(found) or callable(found)):
        raise LookupError(f"{attribute} is a {type(found).__name__}: neither a crew, a flow, nor a function for one")
    made = found if isinstance(found, type) else _returned(found)
    kind = "flow" if isinstance(found, _flow()) or (isinstance(made, type) and issubclass(made, _flow())) else "crew"
    _preload(*_FIRST_CALL, *(_MEMORY if kind == "flow" else ()))
    name = getattr(found, "__name__", None) or getattr(found, "name", None) or attribute
    return Loaded(kind, name, passed_inputs(source, name), lambda: _make(found))


# ---- pick what a module defines -------------------------------------------------------------------


def _pick_crew(module: ModuleType) -> tuple[str, Any]:
    return _only(module, "crew", _leaves(_all(module, _is_crew_class)) or _all(module, _is_crew))


def _pick_flow(module: ModuleType) -> tuple[str, Any]:
    found = _leaves(_all(module, _is_flow_class)) or _all(module, _is_flow)
    code = getattr(getattr(module, "kickoff", None), "__code__", None)
    used = {name: value for name, value in found.items() if code and name in code.co_names}
    return _only(module, "flow", used if len(used) == 1 else found)


def _only(module: ModuleType, kind: str, found: dict[str, Any]) -> tuple[str, Any]:
    if len(found) == 1:
        return next(iter(found.items()))
    if found:
        one = f"module:attribute, such as {module.__name__}:{next(iter(found))}"
        raise LookupError(f"{module.__file__} has more than one {kind}: {', '.join(found)}. Name one as {one}")
    raise LookupError(f"{module.__file__} has no {_WHAT[kind]}. Define one, or name yours as module:attribute")


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
    return isinstance(value, type) and issubclass(value, _flow()) and not value.__module__.startswith("crewai.")


def _is_crew(value: Any) -> bool:
    return _is_crew_class(value) or isinstance(value, _crew()) or _returned(value) is _crew()


def _is_flow(value: Any) -> bool:
    return _is_flow_class(value) or isinstance(value, _flow())


def _returned(function: Any) -> Any:
    # An annotation may name a class that is imported only for type checkers.
    with suppress(NameError, AttributeError, TypeError):
        if inspect.isroutine(function):
            return get_type_hints(function).get("return")
    return None


# ---- make -----------------------------------------------------------------------------------------

# crewai remembers the agents and tasks of a @CrewBase instance by its id() (project/utils.py, 1.15.2 to 1.15.30). If
# the instance were freed, the next one at its address would get its agents and tasks.
_kept: list[Any] = []


def _make(found: Any) -> Any:
    if isinstance(found, _crew()) or _has_crew(found):
        return _copied(_built(found))
    return _built(found)


def _built(found: Any) -> Any:
    if isinstance(found, (_crew(), _flow())):
        return found
    if _has_crew(found):
        _kept.append(found)
        return _built(found.crew())
    if callable(found):
        return _built(found())
    raise LookupError(f"{found!r} is neither a crew nor a flow")


def _has_crew(found: Any) -> bool:
    is_made = isinstance(found, (type, _crew(), _flow()))
    return not is_made and callable(getattr(found, "crew", None))


def _copied(crew: Any) -> Any:
    try:
        return crew.copy()
    except Exception:  # noqa: BLE001 - crewai validates a copy with the author's code too, which may raise anything
        return crew
