"""Which files of a project it is loaded from: those that are read meanwhile, since nobody else knows them all."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_ALWAYS = (".env", "pyproject.toml")
"""Files that are looked for, so that a new one counts too."""

_OTHERS = {"__pycache__", "site-packages", "node_modules"}


class Reading:
    """Notes what is opened from now on.

    :param directory: the project's.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._top = Path(directory)
        self._going_on = True
        self._read: set[str] = set()
        self._written: set[str] = set()
        sys.addaudithook(self._heard)

    def stop(self) -> None:
        """Note no more. Python keeps a hook for ever, also in the children of this process."""
        self._going_on = False

    def files(self) -> list[str]:
        """Return the paths of the files that were read, without what was written too, and those that may come."""
        # A module whose bytecode was cached has not been opened itself.
        modules = {str(getattr(module, "__file__", None)) for module in [*sys.modules.values()]}
        found = {path for path in self._read | modules if self._is_ours(Path(path))} - self._written
        return sorted(found | {str(self._top / name) for name in _ALWAYS})

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        # Called for whatever Python does while crewai is imported, so it must be quick.
        if event == "open" and self._going_on:
            with suppress(OSError, TypeError, ValueError):  # raised here, it would keep the file from being opened
                self._opened(*arguments)

    def _opened(self, path: Any, _: Any, flags: int) -> None:
        name = os.path.join(os.getcwd(), os.fsdecode(path))  # noqa: PTH109, PTH118 - twenty times as quick
        if name.startswith(self._directory):
            (self._written if flags & (os.O_WRONLY | os.O_RDWR) else self._read).add(os.path.normpath(name))

    def _is_ours(self, path: Path) -> bool:
        if not path.is_relative_to(self._top) or path.is_relative_to(sys.prefix):
            return False
        folders = path.relative_to(self._top).parts[:-1]
        return not any(name in _OTHERS or name.startswith(".") for name in folders)
