"""Measures what a broken or hostile deployment can cost: memory and time of a triggerer, time of a worker.

    python benchmarks/hostile_answers.py memory [--watches 1000]   what waiting runs keep of large answers
    python benchmarks/hostile_answers.py block                     how long one large answer stops the event loop
    python benchmarks/hostile_answers.py drip                      how long a peer that drips holds a worker

The deployment runs in a process of its own. It gives the same answer to every request; its command line says which.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import gzip
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from airflow_provider_crewai.client.aio import AsyncCrewClient
from airflow_provider_crewai.client.settings import Settings, read_settings
from airflow_provider_crewai.client.sync import CrewClient
from airflow_provider_crewai.client.watch import Patience, Watch
from airflow_provider_crewai.wire.errors import CrewError

MB = 1024 * 1024
PAUSE = 10.0
"""Seconds between two looks: longer than all watches together need for one look."""
TIMEOUT = 2.0
ENOUGH = 15.0
"""Seconds after which we end a worker that still waits."""


def _text(size: int) -> bytes:
    return b'{"state":"RUNNING","status":"Running","result":null,"last_step":"' + b"x" * size + b'"}'


def _parts(size: int) -> bytes:
    return b'{"state":"RUNNING","x":[' + b"{}," * (size // 3) + b"{}]}"


BODIES: dict[str, Callable[[], tuple[bytes, str]]] = {
    "100 kB of text": lambda: (_text(100_000), ""),
    "12 MB of small parts in 12 kB of gzip": lambda: (gzip.compress(_parts(12_000_000), 9), "gzip"),
    "64 MB of text": lambda: (_text(64 * MB - 100), ""),
    "64 MB of small parts": lambda: (_parts(64 * MB - 100), ""),
    "64 MB of small parts in 64 kB of gzip": lambda: (gzip.compress(_parts(64 * MB - 100), 9), "gzip"),
}
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
GZIP = OK + b"Content-Encoding: gzip\r\nContent-Length: 1000000\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\x03"
WAYS = {
    # what comes first, and what then comes again and again
    "status line": (b"HTTP/1.1 200 O", b"K"),
    "headers": (OK, b"X: y\r\n"),
    "100 Continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "body": (OK + b"Content-Length: 1000000\r\n\r\n", b"x"),
    "chunk extension": (CHUNKED + b"5;", b"n"),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X: y\r\n"),
    "gzip header": (GZIP, b"n"),
}


def main() -> None:
    """Measure what the command line asks for, or act as the deployment or the worker of a measurement."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("figure", choices=("memory", "block", "drip"), nargs="?")
    parser.add_argument("--watches", type=int, default=1000)
    parser.add_argument("--only", default="", help="a word of the answers to measure")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--look", help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve))
    elif options.look:
        look(options.look)
    elif options.measure:
        url, name = options.measure
        asyncio.run(wait_for(url, name, options.watches) if options.figure == "memory" else block(url, name))
    elif options.figure == "drip":
        drip()
    else:
        names = [name for name in BODIES if name.startswith("64 MB") is (options.figure == "block")]
        for name in (name for name in names if options.only in name):
            with deployment(name) as url:
                # Each in a process of its own: memory that was used once stays.
                command = [sys.executable, __file__, options.figure, "--watches", str(options.watches)]
                subprocess.run([*command, "--measure", url, name], check=True)


def settings(url: str, timeout: float = 30.0) -> Settings:
    return read_settings("crew", host=url, password="a-token-of-a-benchmark", extra={"timeout": timeout})  # noqa: S106


# ---- the deployment ---------------------------------------------------------------------------------


@contextlib.contextmanager
def deployment(what: str) -> Iterator[str]:
    """Run a deployment that answers in this way; yield its URL."""
    far = subprocess.Popen([sys.executable, __file__, "--serve", what], stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{far.stdout.readline().strip()}" if far.stdout else ""
    finally:
        far.kill()
        far.wait()


async def serve(what: str) -> None:
    """Answer on a free port, and print it, until killed."""
    body, encoding = BODIES[what]() if what in BODIES else (b"", "")
    head = (
        OK + b"Content-Length: %d\r\n" % len(body) + (f"Content-Encoding: {encoding}\r\n".encode() if encoding else b"")
    )

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                if what in BODIES:
                    writer.write(head + b"\r\n" + body)
                    await writer.drain()
                    continue
                first, piece = WAYS[what]
                writer.write(first)
                while True:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.2)
        writer.close()

    server = await asyncio.start_server(converse, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


# ---- a triggerer ------------------------------------------------------------------------------------


async def wait_for(url: str, name: str, watches: int) -> None:
    """Let this many watches look once; print the memory of the process while they wait for the next look."""
    looked = asyncio.Semaphore(0)

    async def connect() -> Settings:
        return settings(url)

    async def watch(number: int) -> None:
        patience = Patience(poll_interval=PAUSE, max_poll_interval=PAUSE)
        async with AsyncCrewClient(connect) as client:
            await client.wait(Watch(f"run-{number}", patience, started_at=time.time()), lambda *_: looked.release())

    before = resident()
    tasks = [asyncio.create_task(watch(number)) for number in range(watches)]
    for _ in range(watches):
        await looked.acquire()
    gc.collect()
    held = resident() - before
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    print(f"{watches} waiting runs, {name}: {held / MB:.0f} MB, {held / watches / 1024:.0f} kB a run")


def resident() -> int:
    """Return how many bytes of memory this process uses."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def block(url: str, name: str) -> None:
    """Read such an answer three times; print for how long nothing else could run."""

    async def connect() -> Settings:
        return settings(url)

    async with AsyncCrewClient(connect, patience=0) as client:
        with contextlib.suppress(CrewError):
            await client.get_status("run-1")  # imports, the first session
        ticker = asyncio.create_task(tick())
        for _ in range(3):
            with contextlib.suppress(CrewError):
                await client.get_status("run-1")
        ticker.cancel()
    print(f"{name}: {await ticker * 1000:.0f} ms of CPU at most between two ticks of the event loop")


async def tick() -> float:
    """Wake as often as the loop allows until cancelled; return the most CPU time in between.

    It counts CPU time, because lateness would also measure the other processes of the machine.
    """
    longest, before = 0.0, time.process_time()
    try:
        while True:
            await asyncio.sleep(0)
            now = time.process_time()
            longest, before = max(longest, now - before), now
    except asyncio.CancelledError:
        return longest


# ---- a worker ---------------------------------------------------------------------------------------


def drip() -> None:
    """Print for how long each way to send bit by bit holds a worker."""
    print(f"a worker whose timeout is {TIMEOUT:g} s, held by")
    for way in WAYS:
        with deployment(way) as url:
            print(f"{way:16}  ", end="", flush=True)
            try:
                subprocess.run([sys.executable, __file__, "--look", url], check=True, timeout=ENOUGH)
            except subprocess.TimeoutExpired:
                print(f"no end within {ENOUGH:g} s", flush=True)


def look(url: str) -> None:
    """Look once, as a worker does; print how long that took."""
    connection = settings(url, TIMEOUT)
    started = time.monotonic()
    with contextlib.suppress(CrewError):
        CrewClient(lambda: connection, patience=0).get_status("run-1")
    print(f"{time.monotonic() - started:.1f} s", flush=True)


if __name__ == "__main__":
    main()
