"""Where in the project an error comes from: the innermost of its own lines."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

_OTHERS = {"site-packages", "dist-packages", "node_modules"}


def where(error: BaseException, directory: Path) -> str | None:
    """Return the innermost place in the project that an error went through, as `src/ledger/board.py:3`.

    :param directory: the project's directory.
    :returns: None if no line of the project was part of it.
    """
    if isinstance(error, SyntaxError) and error.filename and _is_own(error.filename, directory):
        return f"{_short(error.filename, directory)}:{error.lineno}"
    frames = own_frames(traceback.extract_tb(error.__traceback__), directory)
    return place_of(frames[-1], directory) if frames else None


def own_frames(frames: Iterable[traceback.FrameSummary], directory: Path) -> list[traceback.FrameSummary]:
    """Return the frames that are the project's own code, in their order."""
    return [frame for frame in frames if _is_own(frame.filename, directory)]


def place_of(frame: traceback.FrameSummary, directory: Path) -> str:
    """Write the place of a frame."""
    return f"{_short(frame.filename, directory)}:{frame.lineno}"


def _is_own(file: str, directory: Path) -> bool:
    path = Path(file)
    if not path.is_relative_to(directory) or path.is_relative_to(sys.prefix):
        return False
    folders = path.relative_to(directory).parts[:-1]
    return not any(name in _OTHERS or name.startswith(".") for name in folders)


def _short(file: str, directory: Path) -> str:
    return str(Path(file).relative_to(directory))
