"""Measures what the local AOP server costs: a kickoff beside a fresh process, status requests, the memory of a run.

    CREW_PYTHON=an interpreter with crewai python benchmarks/local_server.py

It compares the server with the way to work without one: a Python process that imports the project and kicks off the
same crew.
"""

from __future__ import annotations

import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(CHECKOUT / "tests" / "server"), str(CHECKOUT)]

from aop_server import EXAMPLE, INPUTS, Server  # noqa: E402 - found only since the line above

TIMES = 10
LOOKS = 300
WAITING = 4
AT_WORK = 50
REVIEW = CHECKOUT / "tests" / "server" / "projects" / "review"
ALONE = f"""
import sys
sys.path.insert(0, {str(EXAMPLE / "src")!r})
from brief.crew import BriefCrew
BriefCrew().crew().kickoff(inputs={INPUTS!r})
"""
QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
}
PYTHON = os.environ.get("CREW_PYTHON") or sys.exit("CREW_PYTHON must name a Python interpreter that has crewai")


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        cold = time.perf_counter()
        server = Server([str(EXAMPLE), "--python", PYTHON], Path(folder) / "state").start()
        try:
            first(server, cold)
            kickoffs(server)
            looks(server)
        finally:
            server.end()
        slow = {"BRIEF_SECONDS_PER_TASK": "20"}
        busy = Server([str(EXAMPLE), "--python", PYTHON, "--slots", str(WAITING)], Path(folder) / "busy", slow).start()
        try:
            memory(busy, "a run at work", at_work(busy))
        finally:
            busy.end()
        many = ["--slots", str(AT_WORK)]
        crowd = Server([str(EXAMPLE), "--python", PYTHON, *many], Path(folder) / "crowd", slow).start()
        try:
            looks_in_a_crowd(crowd)
        finally:
            crowd.end()
        asking = Server(
            [str(REVIEW), "--python", PYTHON], Path(folder) / "asking", {"SCRIBE_CALLS": os.devnull}
        ).start()
        try:
            memory(asking, "a run that waits for a human", paused(asking))
        finally:
            asking.end()


def first(server: Server, since: float) -> None:
    """Measure the first answer of a server: from its start, with the import of crewai in between."""
    ready = time.perf_counter() - since
    run_here(server)
    print(f"start to first answer, cold      {time.perf_counter() - since:6.2f} s   (it listens after {ready:4.2f} s)")


def kickoffs(server: Server) -> None:
    """Measure from the kickoff to its answer, in turn with the fresh process."""
    run_here(server)
    run_alone()
    pairs = [(timed(lambda: run_here(server)), timed(run_alone)) for _ in range(TIMES)]
    ours, peer = ([pair[number] for pair in pairs] for number in (0, 1))
    print(f"kickoff to answer, warm server   median {statistics.median(ours):6.2f} s   min {min(ours):6.2f} s")
    print(f"the same crew, a fresh process   median {statistics.median(peer):6.2f} s   min {min(peer):6.2f} s")


def looks(server: Server) -> None:
    """Measure a status request for a finished run, over a new connection each time."""
    kickoff_id = run_here(server)
    spent = sorted(timed(lambda: server.status(kickoff_id)) * 1000 for _ in range(LOOKS))
    print(
        f"GET /status                      median {statistics.median(spent):6.2f} ms  p95 {spent[LOOKS * 95 // 100]:6.2f} ms"
    )


def looks_in_a_crowd(server: Server) -> None:
    """Measure status requests while many runs are at work, each for another run."""
    run_here(server)
    runs = [server.kickoff() for _ in range(AT_WORK)]
    while any(server.status(each)["state"] != "RUNNING" for each in runs):
        time.sleep(0.05)
    spent = sorted(timed(lambda each=each: server.status(each)) * 1000 for _ in range(10) for each in runs)
    working = sum(server.status(each)["state"] == "RUNNING" for each in runs)
    print(
        f"GET /status, {working} runs at work     median {statistics.median(spent):6.2f} ms  "
        f"p99 {spent[len(spent) * 99 // 100]:6.2f} ms  max {spent[-1]:6.2f} ms"
    )
    for each in runs:
        server.ask("POST", f"/stop/{each}")


def at_work(server: Server) -> list[int]:
    """Start some runs and wait until each is at its first task; return their processes."""
    runs = [server.kickoff() for _ in range(WAITING)]
    for kickoff_id in runs:
        while not (server.status(kickoff_id)["progress"] or {}).get("current"):
            time.sleep(0.05)
    return [server.pid(kickoff_id) for kickoff_id in runs]


def paused(server: Server) -> list[int]:
    """Let some runs reach their question; return their processes."""
    runs = [server.kickoff({"topic": f"tide {number}"}) for number in range(WAITING)]
    for kickoff_id in runs:
        server.asked(kickoff_id)
    return [server.pid(kickoff_id) for kickoff_id in runs]


def memory(server: Server, what: str, pids: list[int]) -> None:
    """Print each process's private memory, and that with its share of the memory shared with the warm process."""
    own = [rollup(pid) for pid in pids]
    private, share = (statistics.median(sizes[number] for sizes in own) for number in (0, 1))
    print(f"{what:32} private {private:6.1f} MB  proportional {share:6.1f} MB  ({len(own)} of them)")
    private, share = rollup(server.parent_of(pids[0]))
    print(f"{'  the warm process beside them':32} private {private:6.1f} MB  proportional {share:6.1f} MB")
    for pid in pids:
        os.killpg(pid, signal.SIGKILL)


def rollup(pid: int) -> tuple[float, float]:
    """Read a process's private and proportional memory in MB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.partition(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"]


def run_here(server: Server) -> str:
    """Kick off a run and wait for the answer."""
    kickoff_id = server.kickoff()
    while server.status(kickoff_id)["state"] != "SUCCESS":
        time.sleep(0.01)
    return kickoff_id


def run_alone() -> None:
    """Do the same without a server."""
    environment = os.environ | QUIET
    subprocess.run([PYTHON, "-c", ALONE], check=True, env=environment, capture_output=True)


def timed(what: Callable[[], object]) -> float:
    """Call a function; return the seconds that it took."""
    started = time.perf_counter()
    what()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
