"""Projects as crewai's own command makes them, unchanged."""

from __future__ import annotations

import os
import subprocess
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


def made(python: str, kind: str, home: Path) -> Path:
    """Let the crewai of an interpreter make a project of a kind, once; returns its directory."""
    project = home / kind
    if not project.exists():
        what, *options = KINDS[kind]
        command = [str(Path(python).with_name("crewai")), "create", what, kind.replace("_", "-"), *options]
        subprocess.run(
            command, cwd=home, env=os.environ | QUIET, stdin=subprocess.DEVNULL, check=True, capture_output=True
        )
    return project
