"""Describes a project's crew or flow for whoever starts it: its inputs, its tasks, whether it asks a human."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from .chatting import is_conversational
from .hook_source import read_hooks
from .loading import Loaded, kind_of
from .results import readable
from .storable import as_json

# The names that crewai fills in (utilities/string_utils.py). `fetch_inputs` also lists other text in braces.
_FILLED_IN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_IN_BRACES = re.compile(rf"\{{({_FILLED_IN.pattern})}}")


def describe(loaded: Loaded) -> dict[str, Any]:
    """Build the crew or flow once, and describe it.

    This starts threads of crewai, so call it in a process that ends afterwards.

    :returns: JSON: `kind`; `name`; `inputs`, the names that a kickoff may give; `prompted`, those of them that a
        deployment lists, because they stand in prompts; `required`, the inputs without which a kickoff is refused;
        `defaults`, values that the project itself brings; `types`, a JSON Schema for each input of a known type;
        `tasks`, each with a `name`, null if the author gave none, and an `agent`, null for a flow's methods;
        `human_input`, whether it may ask a human; for a flow also `conversational`, whether one chats with it.
    :raises Exception: whatever building raises, such as crewai's ImportError if the key of a model is missing.
    """
    made = loaded.make_to_describe()
    kind = kind_of(made)
    said = _describe_flow(made, loaded) if kind == "flow" else _describe_crew(made, loaded)
    return {"kind": kind, "name": loaded.name, **said}


# ---- a crew ---------------------------------------------------------------------------------------


def _describe_crew(crew: Any, loaded: Loaded) -> dict[str, Any]:
    prompted = sorted(crew.fetch_inputs())
    hooks = read_hooks(crew.before_kickoff_callbacks)
    needed = {*filter(_FILLED_IN.fullmatch, prompted), *_in_file_names(crew)}
    demanded = (hooks.needs if hooks.may_fill_any else needed - hooks.fills | hooks.needs) - loaded.defaults.keys()
    demanded |= {each.name for each in loaded.arguments if each.is_required} - loaded.defaults.keys()
    arguments = {each.name: each.schema for each in loaded.arguments}
    inputs = [*prompted, *sorted({*needed, *hooks.reads, *arguments, *loaded.defaults} - {*prompted})]
    return {
        "inputs": inputs,
        "prompted": prompted,
        "required": [name for name in inputs if name in demanded],
        "defaults": loaded.defaults,
        "types": {name: schema for name, schema in arguments.items() if schema["type"] != "string"},
        "tasks": [{"name": task.name, "agent": task.agent and task.agent.role.strip()} for task in crew.tasks],
        "human_input": any(task.human_input for task in crew.tasks),
    }


def _in_file_names(crew: Any) -> set[str]:
    # crewai fills these in as well, but its `fetch_inputs` does not look there.
    return {name for task in crew.tasks for name in _IN_BRACES.findall(task.output_file or "")}


# ---- a flow ---------------------------------------------------------------------------------------


def _describe_flow(flow: Any, loaded: Loaded) -> dict[str, Any]:
    # crewai's own command line reads the methods in the same place (crewai_cli/run_declarative_flow.py).
    methods = flow._definition.methods  # noqa: SLF001 - crewai has no public name for it
    fields = _fields(flow.state)
    return {
        "inputs": [*fields, *sorted(loaded.defaults.keys() - fields)],
        "prompted": fields,
        "required": [],
        "defaults": _values(flow.state, fields) | loaded.defaults,
        "types": _types(flow.state, fields),
        "tasks": [{"name": name, "agent": None} for name in methods],
        "human_input": any(method.human_feedback is not None for method in methods.values()),
        "conversational": is_conversational(flow),
    }


def _fields(state: Any) -> list[str]:
    # Seen live: the fields in the model's own order, and an id only if the model declares one. crewai adds its own id
    # to every state.
    if isinstance(state, dict):
        return [name for name in state if name != "id"]
    crewais = importlib.import_module("crewai.flow.flow").FlowState
    has_id = any("id" in inspect.get_annotations(base) for base in type(state).__mro__ if base is not crewais)
    return [name for name in type(state).model_fields if name != "id" or has_id]


def _values(state: Any, fields: list[str]) -> dict[str, Any]:
    # An empty value says nothing to a person who fills in a form.
    held = state if isinstance(state, dict) else {name: getattr(state, name, None) for name in fields}
    values = {
        name: as_json(held[name], readable) for name in fields if name != "id" and held[name] not in (None, "", [], {})
    }
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | list | dict)}


def _types(state: Any, fields: list[str]) -> dict[str, Any]:
    if isinstance(state, dict):
        return {}
    try:
        schema = type(state).model_json_schema()
    except Exception:  # noqa: BLE001 - a field may have a type that JSON Schema cannot say
        return {}
    plain = {name: _plain(field, schema.get("$defs", {})) for name, field in schema.get("properties", {}).items()}
    return {name: plain[name] for name in fields if plain.get(name)}


def _plain(field: dict[str, Any], models: dict[str, Any]) -> dict[str, Any]:
    # `int | None` is `anyOf` a type and null; an enum or another model is a reference.
    options = [one for one in field.get("anyOf", ()) if one.get("type") != "null"]
    told = {**field, **(options[0] if len(options) == 1 else {})}
    told = {**models.get(told.get("$ref", "").rpartition("/")[2], {}), **told}
    return {key: told[key] for key in ("type", "enum", "description", "minimum", "maximum") if key in told}
