"""Loads projects in an interpreter that has crewai: reads requests as lines of JSON, and answers each from a fork of its own."""

from __future__ import annotations

import importlib
import io
import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path[0] = sys.argv[1]
loading = importlib.import_module("crew_process.loading")
telling = importlib.import_module("crew_process.telling")
describing = importlib.import_module("crew_process.describing")
del sys.path[0]


def main() -> None:
    # As in the warm process, a project finds an empty stdin, and what it prints is no part of the protocol.
    hear, say = sys.stdin, os.fdopen(os.dup(1), "w")
    sys.stdin = io.StringIO()
    os.dup2(2, 1)
    for line in hear:
        request = json.loads(line)
        if os.fork() == 0:
            answer(request)
        os.wait()
        print("answered", file=say, flush=True)


def answer(request: dict[str, Any]) -> None:
    try:
        said = load(**request["load"])
    except BaseException as error:  # noqa: BLE001 - whatever a project raises is the answer
        said = {"error": telling.words(error, Path(request["load"]["directory"]))}
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
    said["described"] = describing.describe(loaded)
    inputs = {argument.name: argument.stand_in() for argument in loaded.arguments}
    # A made crew is dropped before the next is made, as it is between two kickoffs.
    begun = time.perf_counter()
    said["makes"] = [identities(loaded.make(inputs)) for _ in range(3)]
    said["made_in"] = (time.perf_counter() - begun) / 3
    return said


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
