"""Processes of ours, found again whatever they forked and whoever adopted that since.

Airflow's components fork and their children outlive them, so neither parents nor process groups tell what is ours.
A mark in the environment does: every descendant inherits it, nobody else has it. Nothing of it outlives us, however we
end: see `watcher.py`.
"""

import os
import signal
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress

import psutil
from watcher import MARK, bears, new_mark, watch


class Family:
    """All processes that were started with `environment()`, and all that descend from them."""

    def __init__(self) -> None:
        self.mark = new_mark()

    def environment(self, base: Mapping[str, str]) -> dict[str, str]:
        """Answer with `base` and the mark, as the environment of a new member."""
        watch(self.mark)
        # Airflow names its processes with setproctitle, which would overwrite the environment that we look for.
        return {**base, MARK: self.mark, "SPT_NOENV": "1"}

    def members(self) -> list[psutil.Process]:
        """Find those that are alive."""
        everyone = psutil.process_iter(["environ"])
        return [process for process in everyone if bears((process.info["environ"] or {}).get(MARK, ""), self.mark)]

    def end(self, patience: float) -> None:
        """Wait until all have ended by themselves; kill those that take longer."""
        try:
            self._wait(patience)
        finally:
            while self.members():
                self._kill()

    def _wait(self, patience: float) -> None:
        give_up = time.monotonic() + patience
        while self.members() and time.monotonic() < give_up:
            time.sleep(0.05)

    def _kill(self) -> None:
        for process in self.members():
            send(process, signal.SIGKILL)
        time.sleep(0.05)


def send(process: psutil.Process, what: signal.Signals) -> None:
    """Signal a process that may have ended by itself meanwhile."""
    with suppress(psutil.NoSuchProcess):
        process.send_signal(what)


def kill_tree(root: psutil.Process) -> None:
    """Kill a process with all that it started, like a container that goes away."""
    with suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            send(process, signal.SIGKILL)


def cpu_seconds(root: psutil.Process) -> float:
    """Add up the CPU time of a process and all that it has started, also of those that it has buried since."""
    total = 0.0
    with suppress(psutil.NoSuchProcess):
        for process in [root, *root.children(recursive=True)]:
            with suppress(psutil.NoSuchProcess):
                spent = process.cpu_times()
                total += spent.user + spent.system + spent.children_user + spent.children_system
    return total


def is_alive(process: psutil.Process) -> bool:
    """Tell the living from the dead that nobody has buried yet."""
    with suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def free_ports(count: int) -> list[int]:
    """Find free ports; held open together, so that no two are the same."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in sockets]


def outer_environment() -> dict[str, str]:
    """Answer with this process's environment without anything that would lead a child to another Airflow or proxy."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    kept.pop("PYTHONDONTWRITEBYTECODE", None)  # without bytecode everything takes twice as long
    return {**kept, "NO_PROXY": "127.0.0.1,localhost", "no_proxy": "127.0.0.1,localhost"}
