"""Loads a crewai project of any kind: one that crewai's own commands make and run, or one that is written by hand.

Modules are imported under their own names, and no error is swallowed.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .finding import Source, find
from .making import Argument, arguments_of, crew_class, flow_class, has_crew, make
from .passed_inputs import passed_inputs
from .picking import crews_and_flows, leads_to_flow, pick
from .versions import check_crewai
from .while_loading import no_model_is_asked

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
    :param build: builds a crewai `Crew` or `Flow`, a new one with each call; see `making.make`.
    :param directory: the project's directory.
    :param arguments: what an author's function or class takes to build it. A kickoff gives them as inputs.
    """

    kind: str
    name: str
    defaults: dict[str, Any]
    build: Callable[[Mapping[str, Any] | None], Any]
    directory: Path
    arguments: list[Argument] = field(default_factory=list)

    def make(self, inputs: Mapping[str, Any] | None) -> Any:
        """Build a new crew or flow for a kickoff with these inputs.

        :raises Exception: whatever the project's code raises.
        """
        return self.build({**self.defaults, **(inputs or {})})

    def make_to_describe(self) -> Any:
        """Build a crew or flow to look at it. No model is asked meanwhile.

        :raises Exception: whatever the project's code raises.
        """
        with no_model_is_asked(self.directory):
            return self.build(None)


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
    directory = directory.resolve()
    _enter(directory, dotenv_wins=False)
    ready()
    with no_model_is_asked(directory):
        return _load_attribute(module, attribute, directory)


def kind_of(made: Any) -> str:
    """Return whether a built object is a "crew" or a "flow"."""
    return "flow" if isinstance(made, flow_class()) else "crew"


def _load_directory(directory: Path, ready: Callable[[], object]) -> Loaded:
    source = find(directory)
    is_module = source.path.suffix == ".py"
    _enter(directory, dotenv_wins=not is_module)
    ready()
    with no_model_is_asked(directory):
        if is_module:
            return _load_module(source, directory)
        return _load_flow_definition(source.path) if source.kind == "flow" else _load_json_crew(source.path)


# ---- import ---------------------------------------------------------------------------------------


def _enter(directory: Path, *, dotenv_wins: bool) -> None:
    os.chdir(directory)
    for place in (directory, directory / "src"):
        if place.is_dir() and str(place) not in sys.path:
            sys.path.insert(0, str(place))
    check_crewai()
    # Before any import of crewai, which reads some variables only once.
    if (dotenv := directory / ".env").is_file():
        importlib.import_module("dotenv").load_dotenv(dotenv, override=dotenv_wins)
    importlib.import_module("crewai")


def _enter_script(file: Path) -> None:
    """Give the file what it has when its author starts it as a script: its folder, and no arguments."""
    # Last: the project's packages, and those that are installed, keep their names.
    if str(file.parent) not in sys.path:
        sys.path.append(str(file.parent))
    sys.argv = [str(file)]


def _preload(*names: str) -> None:
    for name in names:
        with suppress(ImportError):
            importlib.import_module(name)


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
    return Loaded("crew", name, definition.get("inputs") or {}, lambda _: load_crew(path)[0], path.parent)


def _load_flow_definition(path: Path) -> Loaded:
    read = importlib.import_module("crewai.flow.flow_definition").FlowDefinition.from_declaration
    try:
        definition = read(path=path)
    except (ValueError, importlib.import_module("yaml").YAMLError) as error:
        raise LookupError(f"{path} does not define a flow: {error}") from error
    _preload(*_FIRST_CALL, *_MEMORY, *_EXPRESSIONS)
    return Loaded(
        "flow", definition.name, {}, lambda _: flow_class().from_declaration(contents=definition), path.parent
    )


# ---- load a module --------------------------------------------------------------------------------


def _load_module(source: Source, directory: Path) -> Loaded:
    root = directory / "src" if source.path.is_relative_to(directory / "src") else directory
    name = ".".join(source.path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")
    _enter_script(source.path)
    module = importlib.import_module(name)
    if Path(module.__file__ or "").resolve() != source.path:
        raise LookupError(
            f"{name} is {module.__file__}, not {source.path}: rename the package, or uninstall the other one"
        )
    if source.attribute and hasattr(module, source.attribute):
        return _loaded(source.attribute, getattr(module, source.attribute), source.path, directory)
    return _loaded(*pick(module, source.kind, directory), source.path, directory)


def _load_attribute(name: str, attribute: str, directory: Path) -> Loaded:
    for root in (directory, directory / "src"):
        if (file := root.joinpath(*name.split(".")).with_suffix(".py")).is_file():
            _enter_script(file)
    module = importlib.import_module(name)
    if not hasattr(module, attribute):
        named = ", ".join(crews_and_flows(module)) or "none"
        raise LookupError(f"{module.__file__} has no {attribute}. Its crews and flows: {named}")
    return _loaded(attribute, getattr(module, attribute), Path(module.__file__ or name), directory)


def _loaded(attribute: str, found: Any, source: Path, directory: Path) -> Loaded:
    if not (isinstance(found, (crew_class(), flow_class())) or has_crew(found) or callable(found)):
        raise LookupError(f"{attribute} is a {type(found).__name__}: neither a crew, a flow, nor a function for one")
    kind = "flow" if leads_to_flow(found) else "crew"
    _preload(*_FIRST_CALL, *(_MEMORY if kind == "flow" else ()))
    name = getattr(found, "__name__", None) or getattr(found, "name", None) or attribute
    try:
        arguments = arguments_of(found)
    except LookupError as error:
        raise LookupError(f"{attribute} in {source} cannot be served: {error}") from error
    brought = {each.name: each.default for each in arguments if each.default is not None}
    defaults = brought | passed_inputs(source, name)
    return Loaded(kind, name, defaults, lambda inputs: make(found, arguments, inputs), directory, arguments)
