"""Which files a project is loaded from: the files that Python opens meanwhile. Nobody else knows all of them."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_ALWAYS = (".env", "pyproject.toml")
"""Files that count even if they are missing, so that a new one is noticed."""

_OTHERS = {"__pycache__", "site-packages", "node_modules"}


class Reading:
    """Notes each file that is opened from now on.

    :param directory: the project's directory.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._top = Path(directory)
        self._going_on = True
        self._read: set[str] = set()
        self._written: set[str] = set()
        sys.addaudithook(self._heard)

    def stop(self) -> None:
        """Stop noting. Python never removes an audit hook, not even from child processes."""
        self._going_on = False

    def files(self) -> list[str]:
        """Return the paths of the files that were read but not written, and of those that count if they appear."""
        # Python does not open the source of a module if its bytecode is cached.
        modules = {str(getattr(module, "__file__", None)) for module in [*sys.modules.values()]}
        found = {path for path in self._read | modules if self._is_ours(Path(path))} - self._written
        return sorted(found | {str(self._top / name) for name in _ALWAYS})

    def _heard(self, event: str, arguments: tuple[Any, ...]) -> None:
        # Python calls this very often while it imports crewai, so it must be quick.
        if event == "open" and self._going_on:
            with suppress(OSError, TypeError, ValueError):  # an error here would keep Python from opening the file
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
