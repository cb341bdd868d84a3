"""A crewai project on disk: where it is, which interpreter runs it, and whether its files have changed."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_crewai.wire.model import JSONObject

_READ_ON_IMPORT = (".py", ".yaml", ".yml", ".json", ".jsonc", ".toml", ".env")
_NOT_THE_PROJECT = {"__pycache__", "node_modules", "venv", "output", "outputs"}


class ProjectError(Exception):
    """The project cannot be loaded; the message says why."""


class StillLoading(ProjectError):
    """The project is still being loaded. Nothing was started.

    :param name: what people call it.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is still being loaded, so nothing was started. Try again in a few seconds")


class WarmProcessDied(Exception):
    """The warm process died while it was asked to start a run. The run's lock shows whether it did."""


@dataclass(frozen=True, slots=True)
class Project:
    """Where a crew or flow comes from.

    :param target: what to load: a directory, or `module:attribute`.
    :param directory: the working directory of its runs.
    :param name: what people call it.
    """

    target: str
    directory: Path
    name: str

    @classmethod
    def named(cls, text: str) -> Project:
        """Read the PROJECT argument.

        :raises ValueError: it is neither a directory nor `module:attribute`.
        """
        path = Path(text).resolve()
        if path.is_dir():
            return cls(str(path), path, path.name)
        module, _, attribute = text.partition(":")
        # A module's name need not be an identifier, such as that of 01_hello.py.
        if not (attribute.isidentifier() and re.fullmatch(r"[\w-]+(\.[\w-]+)*", module)):
            raise ValueError(f"{text!r} is neither a directory nor module:attribute")
        return cls(text, Path.cwd(), text)

    def python(self) -> str:
        """Return the interpreter that has crewai: that of the project's `.venv`, else this one."""
        own = self.directory / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    def fingerprint(self, files: list[str] | None = None) -> int:
        """Return a number that changes when a file changes that the project is loaded from.

        :param files: their paths; None, if they are not known, for all files that may be among them.
        """
        stamps = _stamps_below(self.directory) if files is None else map(_stamp, files)
        return hash(tuple(sorted(stamps)))


@dataclass(frozen=True, slots=True)
class Description:
    """What a loaded project is.

    :param kind: `crew` or `flow`.
    :param name: what the project calls its crew or flow.
    :param inputs: the names of all inputs that a kickoff may give.
    :param prompted: those of them that stand in prompts. A deployment lists these.
    :param required: the inputs without which the server refuses a kickoff.
    :param defaults: the values of inputs that the project itself brings: for a form to begin with.
    :param types: a JSON Schema for each input whose type is known, as plain as `{"type": "integer"}`.
    :param tasks: the crew's tasks, each with `name` and `agent`.
    :param human_input: whether it may ask a human.
    :param conversational: whether it is a flow that one chats with.
    :param files: paths of the files that it was loaded from, and of files that would be read if they existed.
    """

    kind: str
    name: str
    inputs: list[str]
    prompted: list[str] = field(default_factory=list)
    required: list[str] = field(default_factory=list)
    defaults: JSONObject = field(default_factory=dict)
    types: dict[str, JSONObject] = field(default_factory=dict)
    tasks: list[dict[str, Any]] = field(default_factory=list)
    human_input: bool = False
    conversational: bool = False
    files: list[str] = field(default_factory=list)

    @property
    def details(self) -> JSONObject:
        """What is known of each input: whether it is `required`, its `default` if there is one, its JSON Schema."""
        defaults = {name: {"default": self.defaults[name]} for name in self.inputs if name in self.defaults}
        return {
            name: {"required": name in self.required, **defaults.get(name, {}), **self.types.get(name, {})}
            for name in self.inputs
        }

    def has_changed_since(self, moment: int) -> bool:
        """Return whether a file changed after a moment. A date in the future, by a wrong clock, does not count.

        :param moment: nanoseconds since the epoch.
        """
        return any(moment < changed_at <= time.time_ns() for _, changed_at, _ in map(_stamp, self.files))


def _stamps_below(directory: Path) -> Iterator[tuple[str, int, int]]:
    for folder, folders, files in os.walk(directory):
        folders[:] = [name for name in folders if name not in _NOT_THE_PROJECT and not name.startswith(".")]
        yield from (_stamp(os.path.join(folder, name)) for name in files if name.endswith(_READ_ON_IMPORT))  # noqa: PTH118 - a project may have many files


def _stamp(path: str) -> tuple[str, int, int]:
    # A run may delete what it wrote, and an editor's lock is a link to nowhere.
    with suppress(OSError):
        stat = os.stat(path)  # noqa: PTH116 - a project may have many files
        return path, stat.st_mtime_ns, stat.st_size
    return path, 0, 0
