"""An interpreter with crewai that loads projects, and how tests write them down."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import scaffolds

import airflow_provider_crewai.server

SERVER = Path(airflow_provider_crewai.server.__file__).parent
WARM = Path(__file__).parent / "projects" / "warm.py"
Load = Callable[..., dict[str, Any]]


class Loader:
    """An interpreter with crewai that answers from forks, as the server's warm process does."""

    def __init__(self, python: str, home: Path, warm: str = "warm") -> None:
        self.home = home
        environment = os.environ | scaffolds.QUIET | {"CREWAI_STORAGE_DIR": str(home / "storage")}
        self.process = subprocess.Popen(
            [python, str(WARM), str(SERVER), warm],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(
        self, directory: Path, target: str = ".", ask: tuple[str, ...] = (), **environment: str
    ) -> dict[str, Any]:
        assert self.process.stdin
        assert self.process.stdout
        out = self.home / "out.json"
        out.unlink(missing_ok=True)
        environment = {"OPENAI_API_KEY": "x"} | environment
        load = {"target": target, "directory": str(directory), "environment": environment, "ask": ask}
        print(json.dumps({"load": load, "out": str(out)}), file=self.process.stdin, flush=True)
        while self.process.stdout.readline() != "answered\n":
            assert self.process.poll() is None
        said: dict[str, Any] = json.loads(out.read_bytes())
        return said

    def end(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        assert self.process.wait(30) == 0


def write(directory: Path, **files: str) -> Path:
    """Write files: `src__tiny__crew__py` is src/tiny/crew.py. A name with a slash is taken as it is."""
    for name, text in files.items():
        path = directory / (name if "/" in name else ".".join(name.replace("__", "/").rsplit("/", 1)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return directory


def pyproject(kind: str | None = None, name: str = "tiny", **more: str) -> str:
    settings = {"type": kind, **more} if kind else more
    lines = [f'[project]\nname = "{name}"', "[tool.crewai]", *(f'{key} = "{value}"' for key, value in settings.items())]
    return "\n".join(lines)
