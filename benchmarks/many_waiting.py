"""Measures what a triggerer's restart with thousands of waiting runs costs: memory for each, and how long the loop blocks.

    python benchmarks/many_waiting.py             2,000 and 5,000 runs
    python benchmarks/many_waiting.py 10000

All triggers begin in one event loop, one after the other, as in a triggerer, with runs that are a day old. Each number of
runs has a process of its own. The server is that of `poll_cost.py`, and its runs never end.
"""

from __future__ import annotations

import asyncio
import gc
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from poll_cost import count_lookups, finish, make_certificate, stopped, surroundings, tell, tick

INTERVAL = 20.0
"""Seconds between two looks at a run."""

MEASURE = "--measure"


def main(numbers: list[str]) -> None:
    """Measure each number of runs, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "localhost.pem"
        make_certificate(certificate)
        command = [sys.executable, str(Path(__file__).with_name("answering_server.py")), str(certificate)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as far:
            if far.stdin is None or far.stdout is None:
                raise RuntimeError("the server has no pipes")
            environment = surroundings(folder, certificate, int(far.stdout.readline()))
            print("   runs  kB/run  longest block ms  in garbage collection ms  look-ups  connections  CPU ms/look")
            for number in numbers:
                subprocess.run([sys.executable, __file__, MEASURE, number], check=True, env=environment)
            far.stdin.close()


async def measure(number: int) -> None:
    """Start so many triggers, let each look twice, and print what that took."""
    tell("plan", looks=10**9)
    warm = [asyncio.create_task(finish(trigger(-each))) for each in range(1, 51)]
    await asyncio.sleep(INTERVAL / 4)
    gc.collect()
    before, lookups, pauses = memory(), count_lookups(), collections()
    counted = tell("counts")["requests"]
    ticker, cpu = asyncio.create_task(tick()), time.process_time()
    waiting = []
    for each in range(number):
        await asyncio.sleep(0)
        waiting.append(asyncio.create_task(finish(trigger(each))))
    await asyncio.sleep(2.2 * INTERVAL)
    ticker.cancel()
    block, longest, cpu = await stopped(ticker) * 1000, max(pauses, default=0) * 1000, time.process_time() - cpu
    counts = tell("counts")
    each = (memory() - before) / number / 1000
    look = cpu * 1000 / (counts["requests"] - counted)
    print(
        f"{number:7} {each:7.1f} {block:17.0f} {longest:25.0f} {len(lookups):9} {counts['connections']:12} {look:12.2f}"
    )
    for task in (*warm, *waiting):
        task.cancel()
    await asyncio.gather(*warm, *waiting, return_exceptions=True)


def trigger(number: int) -> object:
    """Make a trigger on a run that has been going for a day."""
    from airflow_provider_crewai.triggers import CrewStatusTrigger

    began = time.time() - 86_400
    return CrewStatusTrigger(f"run-{number}", poll_interval=1, max_poll_interval=INTERVAL, started_at=began)


def memory() -> int:
    """Return the resident memory of this process in bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def collections() -> list[float]:
    """Note the seconds of each garbage collection from now on."""
    noted: list[float] = []
    began = 0.0

    def note(phase: str, _info: object) -> None:
        nonlocal began
        if phase == "start":
            began = time.perf_counter()
        else:
            noted.append(time.perf_counter() - began)

    gc.callbacks.append(note)
    return noted


if __name__ == "__main__":
    if sys.argv[1:2] == [MEASURE]:
        asyncio.run(measure(int(sys.argv[2])))
    else:
        main(sys.argv[1:] or ["2000", "5000"])
