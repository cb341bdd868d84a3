"""A Python that has loaded the command line already, and forks for each command: a real process in a tenth of the time.

It ends when its stdin does, and so with whoever started it.
"""

from __future__ import annotations

import atexit
import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NoReturn

MODULE = "airflow_provider_crewai"
LOADED = (f"{MODULE}.cli.main", f"{MODULE}.cli.acts", f"{MODULE}.client.sync")
STREAMS = ("stdin", "stdout", "stderr")


def run(arguments: Sequence[str], environment: Mapping[str, str], said: str) -> tuple[int, str, str]:
    """Run a command to its end; return its exit code and what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in STREAMS]
        files[0].write_text(said)
        code = _ask({"arguments": [*arguments], "environment": {**environment}, "files": [*map(str, files)]})
        return code, files[1].read_text(), files[2].read_text()


def _ask(order: Mapping[str, object]) -> int:
    process = _started()
    assert process.stdin
    assert process.stdout
    print(json.dumps(order), file=process.stdin, flush=True)
    return int(process.stdout.readline())


@cache
def _started() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, __file__],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


def serve() -> None:
    """Read orders, and answer each with an exit code, until stdin ends."""
    for name in LOADED:
        __import__(name)
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    for order in sys.stdin:
        child = os.fork()
        if child == 0:
            be(**json.loads(order))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)


def be(arguments: Sequence[str], environment: Mapping[str, str], files: Sequence[str]) -> NoReturn:
    """Be the command, as `python -m` would be."""
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for stream, (name, file, mode) in enumerate(zip(STREAMS, files, modes, strict=True)):
        os.dup2(os.open(file, mode), stream)
        setattr(sys, name, os.fdopen(stream, "r" if stream == 0 else "w", closefd=False))
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [MODULE, *arguments]
    code = 1
    try:
        runpy.run_module(MODULE, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as Python itself ends
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
