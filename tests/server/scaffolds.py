"""Projects as crewai's own command makes them, unchanged."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

QUIET = {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_DISABLE_VERSION_CHECK": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_DMN": "true",  # crewai's name for a session without a terminal
    "OTEL_SDK_DISABLED": "true",
}
KINDS = {
    "classic": ("crew", "--classic"),
    "json_crew": ("crew",),
    "flow": ("flow",),
    "declared_flow": ("flow", "--declarative"),
}


KEPT = Path(__file__).parents[2] / ".test" / "scaffolds"
"""What was made once by each version: its command takes four seconds."""
VERSION = "from importlib.metadata import version; print(version('crewai'))"


def made(python: str, kind: str, home: Path) -> Path:
    """Return the directory of a project of a kind, as the crewai of an interpreter makes it, in one's own home."""
    project = home / kind
    if not project.exists():
        shutil.copytree(_kept(python, kind), project)
    return project


def _kept(python: str, kind: str) -> Path:
    version = subprocess.run([python, "-c", VERSION], check=True, capture_output=True, text=True).stdout.strip()
    what, *options = KINDS[kind]
    kept = KEPT / version / " ".join(KINDS[kind])
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        command = [str(Path(python).with_name("crewai")), "create", what, kind.replace("_", "-"), *options]
        with tempfile.TemporaryDirectory(dir=KEPT) as folder:
            subprocess.run(
                command, cwd=folder, env=os.environ | QUIET, stdin=subprocess.DEVNULL, check=True, capture_output=True
            )
            with suppress(OSError):  # another worker was faster
                (Path(folder) / kind).rename(kept)
    return kept
