"""Loads projects in an interpreter that has crewai: reads requests as lines of JSON, and answers each from a fork of its own."""

from __future__ import annotations

import importlib
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path[0] = sys.argv[1]
loading = importlib.import_module("crew_process.loading")
describing = importlib.import_module("crew_process.describing")
del sys.path[0]


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if os.fork() == 0:
            answer(request)
        os.wait()
        print("answered", flush=True)  # noqa: T201 - this is the protocol


def answer(request: dict[str, Any]) -> None:
    try:
        said = load(**request["load"])
    except BaseException as error:  # noqa: BLE001 - whatever a project raises is the answer
        said = {"error": f"{type(error).__name__}: {error}"}
    Path(request["out"]).write_text(json.dumps(said), encoding="utf-8")
    os._exit(0)


def load(target: str, directory: str, environment: dict[str, str], ask: list[str]) -> dict[str, Any]:
    os.environ.update(environment)
    begun = time.perf_counter()
    loaded = loading.load(target, Path(directory))
    said: dict[str, Any] = {"kind": loaded.kind, "name": loaded.name, "defaults": loaded.defaults}
    said |= {"loaded_in": time.perf_counter() - begun, "threads": threading.active_count()}
    said |= {"environment": {name: os.environ.get(name) for name in ask}, "cwd": str(Path.cwd())}
    said |= {"modules": [name for name in sys.modules if name.split(".")[0] in request_modules(directory)]}
    # A made crew is dropped before the next is made, as it is between two kickoffs.
    begun = time.perf_counter()
    said["makes"] = [identities(loaded.make()) for _ in range(3)]
    said["made_in"] = (time.perf_counter() - begun) / 3
    return said | {"described": describing.describe(loaded)}


def request_modules(directory: str) -> set[str]:
    return {path.stem for path in [*Path(directory).glob("*"), *Path(directory).glob("src/*")]}


def identities(made: Any) -> list[str]:
    if loading.kind_of(made) == "flow":
        return [made.flow_id]
    return [str(part.id) for part in (made, *made.agents, *made.tasks)]


if sys.argv[2] == "warm":
    for name in ("crewai", *loading._FIRST_CALL, *loading._MEMORY, *loading._EXPRESSIONS):  # noqa: SLF001
        importlib.import_module(name)
main()
