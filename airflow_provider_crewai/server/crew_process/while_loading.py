"""While a project is loaded, no model is asked: a kickoff, and each call of crewai's models, is refused."""

from __future__ import annotations

import importlib
import linecache
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .places import own_frames, place_of

_STARTS = {
    "crewai.crew.Crew": (
        "kickoff", "kickoff_async", "akickoff", "kickoff_for_each", "kickoff_for_each_async", "akickoff_for_each",
        "train", "test", "replay",
    ),
    "crewai.flow.flow.Flow": ("kickoff", "kickoff_async", "akickoff", "resume", "resume_async"),
    "crewai.agent.core.Agent": ("kickoff", "kickoff_async", "akickoff"),
    "crewai.lite_agent.LiteAgent": ("kickoff", "kickoff_async", "akickoff"),
    # All of crewai's models call this before they send a request (1.15.2 to 1.15.30).
    "crewai.llms.base_llm.BaseLLM": ("_emit_call_started_event",),
}  # fmt: skip


class ModelAskedWhileLoading(RuntimeError):
    """The project asks a model while it is loaded. Nothing was sent."""


@contextmanager
def no_model_is_asked(directory: Path) -> Iterator[None]:
    """Refuse all that would ask a model. If the project fails over a refusal, its error says so first.

    :param directory: the project's directory.
    :raises ModelAskedWhileLoading: instead of any error that follows a refusal.
    """
    refused: list[str] = []

    def refuse(*_: Any, **__: Any) -> NoReturn:
        refused.append(_words(directory))
        raise ModelAskedWhileLoading(refused[-1])

    replaced = [*_replace(refuse)]
    try:
        yield
    except BaseException as error:
        if refused and not isinstance(error, ModelAskedWhileLoading):
            raise ModelAskedWhileLoading(refused[0]) from error
        raise
    finally:
        for owner, name, original in reversed(replaced):
            setattr(owner, name, original)


def _replace(refuse: Any) -> Iterator[tuple[Any, str, Any]]:
    for path, names in _STARTS.items():
        module, _, name = path.rpartition(".")
        try:
            found = getattr(importlib.import_module(module), name)
        except ImportError:  # a newer crewai may have moved it
            continue
        for each in names:
            # Where it is defined, which may be a class below.
            owner = next((base for base in found.__mro__ if each in base.__dict__), None)
            if owner is not None:
                yield owner, each, owner.__dict__[each]
                setattr(owner, each, refuse)


def _words(directory: Path) -> str:
    frames = own_frames(traceback.extract_stack(), directory)
    on_import = [frame for frame in frames if frame.name == "<module>"]
    if on_import:
        frame = on_import[-1]
        line = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return (
            f"{place_of(frame, directory)} kicks a crew off, or asks a model, while the project is loaded. That is "
            "refused: the server asks no model before a kickoff is sent to it. Put this line, and what needs its "
            f'result, under `if __name__ == "__main__":` there: {line}'
        )
    where = f"{place_of(frames[-1], directory)} ({frames[-1].name})" if frames else "The project"
    return (
        f"{where} kicks a crew off, or asks a model, while the crew is built. That is refused: the server asks no "
        "model before a kickoff is sent to it. Let the function return the Crew, and leave the kickoff to the server"
    )
