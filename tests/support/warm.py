"""A Python that has loaded a program already, and forks for each command: a real process in a tenth of the time.

It ends when its stdin does, and so with whoever started it.
"""

from __future__ import annotations

import atexit
import importlib
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

OURS = "airflow_provider_crewai"
LOADED = {
    OURS: (f"{OURS}.cli.main", f"{OURS}.cli.acts", f"{OURS}.client.sync"),
    "airflow": ("airflow.cli.cli_parser", f"{OURS}.cli.airflow_commands", f"{OURS}.cli.acts", f"{OURS}.hooks"),
}
"""The programs, by their modules, and what each loads beforehand."""
STREAMS = ("stdin", "stdout", "stderr")


def run(command: Sequence[str], environment: Mapping[str, str], said: str) -> tuple[int, str, str]:
    """Run a command to its end, a module and its arguments; return its exit code and what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in STREAMS]
        files[0].write_text(said)
        order = {"command": [*command], "environment": {**environment}, "files": [*map(str, files)]}
        code = _ask(_started(command[0]), order)
        return code, files[1].read_text(), files[2].read_text()


def _ask(process: subprocess.Popen[str], order: Mapping[str, object]) -> int:
    assert process.stdin
    assert process.stdout
    print(json.dumps(order), file=process.stdin, flush=True)
    return int(process.stdout.readline())


@cache
def _started(module: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, __file__, module],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(process.communicate)
    return process


def serve(module: str) -> None:
    """Read orders, and answer each with an exit code, until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what is printed while loading is no answer
    for name in LOADED[module]:
        importlib.import_module(name)
    for order in sys.stdin:
        child = os.fork()
        if child == 0:
            be(**json.loads(order))
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), file=answers)


def be(command: Sequence[str], environment: Mapping[str, str], files: Sequence[str]) -> NoReturn:
    """Be the command, as `python -m` would be."""
    modes = (os.O_RDONLY, os.O_WRONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT)
    for stream, (file, mode) in enumerate(zip(files, modes, strict=True)):
        os.dup2(os.open(file, mode), stream)
    sys.stdin = os.fdopen(0, closefd=False)  # the old one may have read ahead
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [*command]
    code = 1
    try:
        runpy.run_module(command[0], run_name="__main__", alter_sys=True)
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
    serve(sys.argv[1])
