"""Keys that a project only looks for: they get a placeholder where all models are routed elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

PLACEHOLDER = "sk-no-key"
"""It begins as keys of OpenAI do: a project may look at that, too."""

_NAMES = re.compile(r"""["']([A-Z][A-Z0-9_]{0,60}_(?:KEY|TOKEN|SECRET))["']""")
_FOLDERS = {"__pycache__", "node_modules", "site-packages", "venv", "env"}
_MOST_FILES = 300
_LARGEST = 500_000


def place(names: Iterable[str]) -> None:
    """Give each of these variables a placeholder, if it has no value."""
    for name in names:
        os.environ[name] = os.environ.get(name) or PLACEHOLDER


def named_in(directory: Path) -> set[str]:
    """Return the names in a project's Python files that look like variables for keys."""
    found: set[str] = set()
    for file in _files(directory):
        with suppress(OSError, UnicodeDecodeError):
            if file.stat().st_size <= _LARGEST:
                found.update(_NAMES.findall(file.read_text(encoding="utf-8")))
    return found


def _files(directory: Path) -> list[Path]:
    files: list[Path] = []
    for folder, folders, names in os.walk(directory):
        folders[:] = [name for name in folders if name not in _FOLDERS and not name.startswith(".")]
        files += [Path(folder) / name for name in names if name.endswith(".py")]
        if len(files) > _MOST_FILES:
            break
    return files[:_MOST_FILES]
