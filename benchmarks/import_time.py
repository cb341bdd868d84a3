"""Measures what importing an operator costs a Dag file: CPU time beyond `airflow.sdk`, ours beside two other providers.

    python benchmarks/import_time.py

Each import happens in a fresh interpreter, with bytecode, several times, in turn with the others. The median counts.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

MODULES = (
    "airflow_provider_crewai.operators",
    "airflow_provider_crewai.sensors",
    "airflow.providers.dbt.cloud.operators.dbt",
    "airflow.providers.databricks.operators.databricks",
)
TIMES = 7
LIMIT = 15.0
"""The most milliseconds that our import may cost."""

PROBE = """
import importlib, sys, time
import airflow.sdk
from airflow.sdk import BaseOperator, DAG  # a Dag file has these already; `airflow.sdk` alone is lazy
before, started = set(sys.modules), time.process_time()
importlib.import_module(sys.argv[1])
spent = (time.process_time() - started) * 1000
print(spent, len(set(sys.modules) - before), *("yes" if name in sys.modules else "no" for name in ("requests", "aiohttp")))
"""


def main() -> int:
    """Measure and print; return 1 if our import costs too much or loads an HTTP library."""
    for module in MODULES:
        probe(module)  # writes bytecode and fills the page cache
    samples: dict[str, list[list[str]]] = {module: [] for module in MODULES}
    for _ in range(TIMES):
        for module in MODULES:
            samples[module].append(probe(module))
    print(f"{'import':52} {'CPU ms':>7} {'min':>7} {'modules':>8} {'requests':>9} {'aiohttp':>8}")
    passed = True
    for module, seen in samples.items():
        spent = [float(each[0]) for each in seen]
        _, modules, requests, aiohttp = seen[0]
        median = statistics.median(spent)
        print(f"{module:52} {median:7.1f} {min(spent):7.1f} {modules:>8} {requests:>9} {aiohttp:>8}")
        if module.startswith("airflow_provider_crewai"):
            passed = passed and median <= LIMIT and (requests, aiohttp) == ("no", "no")
    print(f"ours at most {LIMIT:.0f} ms, without requests and aiohttp: {'yes' if passed else 'NO'}")
    return 0 if passed else 1


def probe(module: str) -> list[str]:
    """Import a module in a fresh interpreter; return what the probe printed, in words."""
    command = [sys.executable, "-c", PROBE, module]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1].split()


if __name__ == "__main__":
    sys.exit(main())
