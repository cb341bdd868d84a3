"""Measures what a waiting trigger costs its event loop: CPU for each poll, ours beside two other providers.

    python benchmarks/poll_cost.py              the table
    python benchmarks/poll_cost.py --profile    where our own time goes

All triggers of a measurement share one event loop, as in a triggerer, and poll one TLS server in another process, whose
CPU does not count. Each measurement runs in a process of its own. Logging is at WARNING: the other providers write a
line for each poll and we do not, and that would only raise their figures.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import datetime
import ipaddress
import json
import os
import pstats
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

TICK = 0.01
SCENARIOS = (
    # triggers, looks of each, seconds between two, bytes of the last answer
    (1, 200, 0.02, 2_000),
    (100, 20, 1.0, 2_000),
    (500, 5, 3.0, 2_000),
    (1, 5, 0.2, 1_000_000),
    (50, 5, 1.0, 1_000_000),
)
OURS, RAW, DBT, DATABRICKS = "crewai", "raw aiohttp", "dbt Cloud", "Databricks"


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--profile", action="store_true", help="show where our own time goes instead")
    parser.add_argument("--measure", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        who, triggers, looks, interval, result = options.measure
        print(json.dumps(measure(who, int(triggers), int(looks), float(interval), int(result))))
        return
    with tempfile.TemporaryDirectory() as folder:
        certificate = Path(folder) / "localhost.pem"
        make_certificate(certificate)
        far = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("answering_server.py")), str(certificate)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if far.stdin is None or far.stdout is None:
            raise RuntimeError("the server has no pipes")
        try:
            environment = surroundings(folder, certificate, int(far.stdout.readline()))
            if options.profile:
                ask(environment | {"BENCHMARK_PROFILE": "yes"}, OURS, SCENARIOS[2])
            else:
                show(environment)
        finally:
            far.stdin.close()
            far.wait(10)


def show(environment: dict[str, str]) -> None:
    """Measure each scenario with each trigger in turn."""
    heads = (
        "triggers",
        "looks",
        "last answer",
        "trigger",
        "CPU ms/poll",
        "longest block ms",
        "connections",
        "look-ups",
    )
    line = "{:>8}  {:>5}  {:>11}  {:11}  {:>11}  {:>16}  {:>11}  {:>8}"
    print(line.format(*heads))
    for scenario in SCENARIOS:
        triggers, looks, _, result = scenario
        # The status answers of the other providers never hold a result, so only ours can be large.
        for who in (OURS, RAW, DBT, DATABRICKS) if result == SCENARIOS[0][3] else (OURS,):
            got = ask(environment, who, scenario)
            figures = (f"{got['cpu']:.2f}", f"{got['block']:.0f}", got["connections"], f"{got['lookups']:g}")
            print(line.format(triggers, looks, f"{result // 1000} kB", who, *figures), flush=True)


def ask(environment: dict[str, str], who: str, scenario: tuple[float, ...]) -> dict[str, float]:
    """Measure in a separate process."""
    command = [sys.executable, __file__, "--measure", who, *map(str, scenario)]
    done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    *before, last = done.stdout.splitlines()
    if "BENCHMARK_PROFILE" in environment:
        print("\n".join(before))
    figures: dict[str, float] = json.loads(last)
    return figures


def surroundings(folder: str, certificate: Path, port: int) -> dict[str, str]:
    """Return the environment of a measurement: an Airflow home of its own, and connections to the server."""
    connections = {
        "crewai_default": {"conn_type": "crewai", "host": f"https://localhost:{port}", "password": "a-token"},
        "dbt_default": {"conn_type": "dbt_cloud", "login": "1", "host": f"localhost:{port}", "password": "token"},
        "databricks_default": {"conn_type": "databricks", "host": "localhost", "port": port, "password": "token"},
    }
    return {
        **os.environ,
        **{f"AIRFLOW_CONN_{conn_id.upper()}": json.dumps(body) for conn_id, body in connections.items()},
        "AIRFLOW_HOME": folder,
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "BENCHMARK_SERVER": f"https://localhost:{port}",
        # All three providers trust the certificates that these variables name.
        "SSL_CERT_FILE": str(certificate),
        "REQUESTS_CA_BUNDLE": str(certificate),
        "NO_PROXY": "localhost",
    }


# ---- one measurement ------------------------------------------------------------------------------------------


def measure(who: str, triggers: int, looks: int, interval: float, result: int) -> dict[str, float]:
    """Run the triggers until all have ended; return what that cost."""
    return asyncio.run(_measure(who, triggers, looks, interval, result))


async def _measure(who: str, triggers: int, looks: int, interval: float, result: int) -> dict[str, float]:
    tell("plan", looks=2, result=2_000)
    await finish(make(who, 10**6, 0.01))  # imports, bytecode, the first TLS context
    tell("plan", looks=looks, result=result)
    profile = cProfile.Profile() if os.environ.get("BENCHMARK_PROFILE") else None
    lookups = count_lookups()
    ticker = asyncio.create_task(tick())
    started = time.process_time()
    if profile:
        profile.enable()
    events = await asyncio.gather(*(finish(make(who, number, interval)) for number in range(triggers)))
    if profile:
        profile.disable()
    cpu = (time.process_time() - started) * 1000
    ticker.cancel()
    counts = tell("counts")
    check(events)
    if profile:
        pstats.Stats(profile).sort_stats("tottime").print_stats(35)
        pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
    return {
        "cpu": cpu / counts["requests"],
        "block": await stopped(ticker) * 1000,
        "connections": counts["connections"] - 1,  # without the one that asks for the counts
        "lookups": len(lookups) / triggers,
    }


def make(who: str, number: int, interval: float) -> Any:
    """Make a trigger on run `number`."""
    if who == OURS:
        from airflow_provider_crewai.triggers import CrewStatusTrigger

        return CrewStatusTrigger(f"run-{number}", poll_interval=interval, max_poll_interval=interval)
    if who == RAW:
        return RawLoop(number, interval)
    if who == DBT:
        from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

        return DbtCloudRunJobTrigger("dbt_default", number, time.time() + 3600, interval, None)
    from airflow.providers.databricks.triggers.databricks import DatabricksExecutionTrigger

    return DatabricksExecutionTrigger(number, "databricks_default", polling_period_seconds=interval)  # type: ignore[arg-type]


class RawLoop:
    """The least that can be done: a loop over one shared session that reads the state, and decides nothing."""

    session: aiohttp.ClientSession | None = None

    def __init__(self, number: int, interval: float) -> None:
        self._url = f"{os.environ['BENCHMARK_SERVER']}/status/run-{number}"
        self._interval = interval

    async def run(self) -> AsyncIterator[Any]:
        """Wait until the run has ended."""
        session = RawLoop.session = RawLoop.session or aiohttp.ClientSession()
        state = ""
        while state != "SUCCESS":
            await asyncio.sleep(self._interval)
            async with session.get(self._url, headers={"Authorization": "Bearer a-token"}) as answer:
                state = (await answer.json())["state"]
        yield SimpleNamespace(payload=state)


async def finish(trigger: Any) -> Any:
    """Run a trigger until it fires; return its event."""
    events: AsyncIterator[Any] = trigger.run()
    return await anext(events)


def check(events: list[Any]) -> None:
    """Make sure that every trigger saw its run succeed: an error would be cheap."""
    said = {json.dumps(event.payload, default=str) for event in events}
    if wrong := [text for text in said if "succe" not in text.lower()]:
        raise RuntimeError(f"a trigger failed: {wrong[0]}")


def count_lookups() -> list[str]:
    """Count each look-up of a connection from now on."""
    from airflow.sdk.definitions.connection import Connection

    noted: list[str] = []
    look_up = Connection.async_get

    async def noting(conn_id: str) -> Connection:
        noted.append(conn_id)
        return await look_up(conn_id)

    Connection.async_get = noting  # type: ignore[method-assign, assignment]
    return noted


async def tick() -> float:
    """Wake every few milliseconds until cancelled; return the largest lateness in seconds."""
    latest = 0.0
    try:
        while True:
            due = time.perf_counter() + TICK
            await asyncio.sleep(TICK)
            latest = max(latest, time.perf_counter() - due)
    except asyncio.CancelledError:
        return latest


async def stopped(ticker: asyncio.Task[float]) -> float:
    """Wait for the ticker's answer."""
    return await ticker


def tell(path: str, **query: int) -> Any:
    """Ask the server for something other than a run, outside of the measurement."""
    words = "&".join(f"{key}={value}" for key, value in query.items())
    trust = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    with urllib.request.urlopen(f"{os.environ['BENCHMARK_SERVER']}/{path}?{words}", context=trust) as answer:
        return json.loads(answer.read() or b"null")


def make_certificate(path: Path) -> None:
    """Write a certificate for localhost, signed by itself, and its key into one file."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)


if __name__ == "__main__":
    main()
