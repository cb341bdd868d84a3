"""A process that outlives us by a moment: it ends what we started and did not end, however we came to our own end.

Run as a program it reads a pipe whose other end we hold. The pipe ends when we do, even by SIGKILL, and what then still
bears our mark is killed. Standard library only; it needs Linux's /proc, and does nothing elsewhere.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from functools import cache
from pathlib import Path

MARK = "HARNESS_FAMILY"
"""The environment variable with the marks of a process: its own family's, and before it those of whoever started that."""
PATIENCE = 10.0
"""Seconds after which what was asked to end is killed."""


def new_mark() -> str:
    """Make up the mark of a family; a family that is started within another bears both marks."""
    return ":".join(filter(None, (os.environ.get(MARK), uuid.uuid4().hex)))


def bears(marks: str, mark: str) -> bool:
    """Tell whether a process with these marks belongs to the family with that mark."""
    return f"{marks}:".startswith(f"{mark}:")


@cache
def watch(mark: str) -> "subprocess.Popen[bytes]":
    """Start the watcher of a family, once."""
    command = (sys.executable, __file__, mark)
    # Out of reach of what ends us (Ctrl-C, a signal to our process group), and deaf to who waits for our output's end.
    started = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    if started.stdin:  # a child of ours that lives on must not keep the pipe open
        os.register_at_fork(after_in_child=started.stdin.close)
    return started


def members(mark: str) -> list[int]:
    """Find the processes that bear a mark."""
    return [int(each.parent.name) for each in Path("/proc").glob("[0-9]*/environ") if bears(_marks(each), mark)]


def _marks(environ: Path) -> str:
    with suppress(OSError):
        found = (each for each in environ.read_bytes().split(b"\0") if each.startswith(f"{MARK}=".encode()))
        return next(found, b"").partition(b"=")[2].decode(errors="replace")
    return ""


def end(mark: str) -> None:
    """Ask all that bear a mark to end, and kill those that take long."""
    what, give_up = signal.SIGTERM, time.monotonic() + PATIENCE
    while left := [each for each in members(mark) if each != os.getpid()]:
        for each in left:
            with suppress(ProcessLookupError):
                os.kill(each, what)
        time.sleep(1)
        what = signal.SIGKILL if time.monotonic() > give_up else signal.SIGTERM


if __name__ == "__main__":
    sys.stdin.buffer.read()  # which ends when whoever started us does
    end(sys.argv[1])
