"""Builds archives as `scripts/test build` does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BUILD = (sys.executable, "-m", "uv", "build")


def build(kind: str, source: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the `sdist` or the `wheel` of a folder into another one."""
    command = (*BUILD, f"--{kind}", "--out-dir", str(folder), str(source))
    return subprocess.run(command, capture_output=True, text=True, check=False)


def archive(kind: str, source: Path, folder: Path) -> Path:
    """Build what must succeed; return its file."""
    done = build(kind, source, folder)
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = folder.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return file
