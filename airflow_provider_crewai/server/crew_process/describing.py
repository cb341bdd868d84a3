"""Describes a project's crew or flow for whoever starts it: its inputs, its tasks, whether it asks a human."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from .loading import Loaded, kind_of

# The names that crewai fills in (utilities/string_utils.py). `fetch_inputs` also lists other text in braces.
_FILLED_IN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def describe(loaded: Loaded) -> dict[str, Any]:
    """Build the crew or flow once, and describe it.

    This starts threads of crewai, so call it in a process that ends afterwards.

    :returns: JSON: `kind`; `name`; `inputs`, the names as a deployment answers them; `required`, the inputs without
        which a kickoff is refused; `defaults`; `tasks`, each with a `name`, null if the author gave none, and an
        `agent`, null for a flow's methods; `human_input`, whether it may ask a human.
    :raises Exception: whatever building raises, such as crewai's ImportError if the key of a model is missing.
    """
    made = loaded.make()
    kind = kind_of(made)
    said = _describe_flow(made) if kind == "flow" else _describe_crew(made, loaded.defaults)
    return {"kind": kind, "name": loaded.name, "defaults": loaded.defaults, **said}


def _describe_crew(crew: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    inputs = sorted(crew.fetch_inputs())
    return {
        "inputs": inputs,
        "required": [name for name in inputs if _FILLED_IN.fullmatch(name) and name not in defaults],
        "tasks": [{"name": task.name, "agent": task.agent and task.agent.role.strip()} for task in crew.tasks],
        "human_input": any(task.human_input for task in crew.tasks),
    }


def _describe_flow(flow: Any) -> dict[str, Any]:
    # crewai's own command line reads the methods in the same place (crewai_cli/run_declarative_flow.py).
    methods = flow._definition.methods  # noqa: SLF001 - crewai has no public name for it
    return {
        "inputs": _fields(flow.state),
        "required": [],
        "tasks": [{"name": name, "agent": None} for name in methods],
        "human_input": any(method.human_feedback is not None for method in methods.values()),
    }


def _fields(state: Any) -> list[str]:
    # Seen live: the fields in the model's own order, and an id only if the model declares one. crewai adds its own id
    # to every state.
    if isinstance(state, dict):
        return [name for name in state if name != "id"]
    crewais = importlib.import_module("crewai.flow.flow").FlowState
    has_id = any("id" in inspect.get_annotations(base) for base in type(state).__mro__ if base is not crewais)
    return [name for name in type(state).model_fields if name != "id" or has_id]
