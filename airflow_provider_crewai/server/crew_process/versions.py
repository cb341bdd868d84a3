"""Is the crewai of this interpreter new enough? Asked before it is imported."""

from __future__ import annotations

import importlib.util
import re
import sys
from importlib import metadata
from pathlib import Path

OLDEST = (1, 15, 2)
"""The oldest crewai that is tested."""

_NEEDED = ".".join(map(str, OLDEST))
_CURE = (
    "start the server with --python and an interpreter that has it, or with --with-crewai, which lets uv make one with "
    "what else the project needs"
)


def made_by_uv() -> bool:
    """Return whether this interpreter was made for `--with-crewai` (`interpreters.py` leaves this file there)."""
    return (Path(sys.prefix) / "overrides.txt").is_file()


def check_crewai() -> None:
    """Check that this interpreter has crewai, and that it is new enough.

    :raises ModuleNotFoundError: it has none.
    :raises LookupError: it is too old.
    """
    if importlib.util.find_spec("crewai") is None:
        raise ModuleNotFoundError(
            f"{sys.executable} has no crewai. Install crewai {_NEEDED} or later there, or {_CURE}.", name="crewai"
        )
    try:
        version = metadata.version("crewai")
    except metadata.PackageNotFoundError:  # a copy of crewai that nobody has installed
        return
    if _numbers(version) < OLDEST:
        raise LookupError(
            f"{sys.executable} has crewai {version}; {_NEEDED} or later is needed. The version that a project pins "
            f"rarely matters, most projects run unchanged on a newer crewai: {_CURE}."
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
