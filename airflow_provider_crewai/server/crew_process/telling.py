"""Writes an error for whoever reads a run's status: what it is, where in the project, and what to do about it."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

from . import models
from .places import where
from .versions import made_by_uv
from .while_loading import ModelAskedWhileLoading

_OURS = f"{Path(__file__).parent}/"
_NO_TERMINAL = (
    "The project asks at a terminal with input(), and a served project has none. Take the value from the inputs of "
    'the kickoff, and put input() under `if __name__ == "__main__":`.'
)
_EXITS = (
    "The project ends its own process. Put what is only for the command line under "
    '`if __name__ == "__main__":`, and raise an error where a run should fail.'
)
_ARGUMENTS = (
    "The project reads a command line, and a served project has none: its arguments come as inputs of the kickoff. "
    'Put parse_args() under `if __name__ == "__main__":`.'
)
_INSTALL = "Install it there, use the interpreter of the project's own environment, or start with --with-crewai."
_ADD = "Add it to what the project needs."
_CHANGED = {
    r"cannot import name '(BaseTool|tool)' from 'crewai_tools'": "It has moved: from crewai.tools import {}.",
    r" for \w+\nverbose\n +Input should be a valid boolean": "verbose was a number once. Now it is True or False.",
}
"""What most projects trip over that were written for a crewai before 1.0 (seen with 1.15.2 to 1.15.30)."""


def words(error: BaseException, directory: Path) -> str:
    """Write an error by type and text, as the live service does, with its place in the project and what to do.

    :param directory: the project's directory.
    """
    said = f"{type(error).__name__}: {error}"
    place = None if isinstance(error, ModelAskedWhileLoading) else _place(error, directory)
    return " ".join(filter(None, [said, place and f"({place})", _advice(error, directory)]))


def told(error: BaseException, directory: Path) -> dict[str, str]:
    """Write an error for the server, which puts the traceback into its log."""
    return {"error": words(error, directory), "traceback": "".join(_traceback(error).format())}


def _traceback(error: BaseException) -> traceback.TracebackException:
    """Return a traceback without the machinery of imports and of this package."""
    whole = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = whole
    while part is not None:
        kept = [frame for frame in part.stack if not frame.filename.startswith(("<frozen ", _OURS))]
        part.stack = traceback.StackSummary.from_list(kept)
        part = part.__cause__ or part.__context__
    return whole


def _place(error: BaseException, directory: Path) -> str | None:
    # The first cause is where it went wrong. The later ones only passed it on.
    found = [place for one in models.with_causes(error) if (place := where(one, directory))]
    return found[-1] if found else None


def _advice(error: BaseException, directory: Path) -> str | None:
    for one in models.with_causes(error):
        if isinstance(one, EOFError):
            # A tool of crewai's asks whether to install its package.
            return _missing(error, directory) or _NO_TERMINAL
        if isinstance(one, KeyError) and _files(one) & {"<frozen os>", "os.py"}:
            return f"{one.args[0]} is not set: set it in the environment or in the project's .env."
        if isinstance(one, SystemExit):
            return _ARGUMENTS if "argparse.py" in _files(one) else _EXITS
        if isinstance(one, ModuleNotFoundError) and (home := next(_homes(one, directory), None)):
            return f"{one.name} is in {home}: start the server with that folder as its PROJECT."
        if isinstance(one, FileNotFoundError) and (elsewhere := next(_beside(one, directory), None)):
            return (
                f"The working directory of a run is {directory}, and {one.filename} is in {elsewhere}: start the "
                "server with that folder as its PROJECT."
            )
    return models.advice(error) or _missing(error, directory) or _changed(str(error))


def _changed(said: str) -> str | None:
    found = ((re.search(pattern, said), sentence) for pattern, sentence in _CHANGED.items())
    return next((sentence.format(*seen.groups()) for seen, sentence in found if seen), None)


def _missing(error: BaseException, directory: Path) -> str | None:
    """Say which module is missing, also where the error that shows it is one of many that were passed on."""
    for one in models.with_causes(error):
        if isinstance(one, ModuleNotFoundError) and str(one).startswith("No module named"):
            module = "it" if str(one) in str(error) else one.name
            where_not = f"{sys.executable} finds {module} neither in {directory} nor among its packages."
            return f"{where_not} {_ADD if made_by_uv() else _INSTALL}"
    return None


def _files(error: BaseException) -> set[str]:
    return {Path(frame.filename).name for frame in traceback.extract_tb(error.__traceback__)}


def _homes(error: ModuleNotFoundError, directory: Path) -> Iterator[Path]:
    """Yield the folders above the project's files in the traceback that have the missing module."""
    name = (error.name or "").partition(".")[0]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        for folder in Path(frame.filename).parents:
            inside = folder.is_relative_to(directory) and folder not in (directory, directory / "src")
            if inside and ((folder / name).is_dir() or (folder / f"{name}.py").is_file()):
                yield folder


def _beside(error: FileNotFoundError, directory: Path) -> Iterator[Path]:
    """Yield the folders of the project's files in the traceback that have the missing file."""
    if not isinstance(error.filename, str) or Path(error.filename).is_absolute():
        return
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        folder = Path(frame.filename).parent
        if folder.is_relative_to(directory) and folder != directory and (folder / error.filename).exists():
            yield folder
