"""What a project's crew or flow asks for and does, for whoever starts it."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from .loading import Loaded, kind_of

# What crewai fills in (utilities/string_utils.py). `fetch_inputs` also lists what merely stands in braces.
_FILLED_IN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


def describe(loaded: Loaded) -> dict[str, Any]:
    """Build the crew or flow once, and say what a kickoff may bring, what it must, and what will happen.

    Starts threads of crewai's: for a process that is thrown away.

    :returns: JSON: `kind`; `name`; `inputs`, the names as a deployment answers them; `required`, those without which it
        refuses a kickoff; `defaults`; `tasks`, each with a `name`, null if the author gave none, and an `agent`, null
        for a flow's methods; `human_input`, whether a human may be asked.
    :raises Exception: whatever building raises, such as crewai's ImportError where the key of a model is missing.
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
    # crewai's own command line reads the methods there (crewai_cli/run_declarative_flow.py).
    methods = flow._definition.methods  # noqa: SLF001
    return {
        "inputs": _fields(flow.state),
        "required": [],
        "tasks": [{"name": name, "agent": None} for name in methods],
        "human_input": any(method.human_feedback is not None for method in methods.values()),
    }


def _fields(state: Any) -> list[str]:
    # Observed live: the fields in the model's own order, an id only if the model declares one. crewai adds its own to
    # every state.
    if isinstance(state, dict):
        return [name for name in state if name != "id"]
    crewais = importlib.import_module("crewai.flow.flow").FlowState
    has_id = any("id" in inspect.get_annotations(base) for base in type(state).__mro__ if base is not crewais)
    return [name for name in type(state).model_fields if name != "id" or has_id]
