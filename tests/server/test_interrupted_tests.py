"""What tests start ends with them, however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from aop_server import REPOSITORY
from support.command_line import until
from watcher import members


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
@pytest.mark.parametrize("workers", [0, 1])
def test_tests_that_are_cut_off_leave_no_process_behind(how: signal.Signals, workers: int, tmp_path: Path) -> None:
    command = (sys.executable, "-m", "pytest", "-n", str(workers), "tests/server/interrupted.py")
    mark = tmp_path / "mark"
    environment = {**os.environ, "MARK_FILE": str(mark)}
    environment.pop("PYTEST_XDIST_WORKER", None)  # it is no worker of ours
    with subprocess.Popen(command, cwd=REPOSITORY, env=environment, stdout=subprocess.DEVNULL) as tests:
        until(lambda: tests.poll() is not None or (mark.exists() and mark.read_text() != ""), seconds=120)
        assert len(members(mark.read_text())) >= 3, "a server, a warm process, a run"
        tests.send_signal(how)
    until(lambda: not members(mark.read_text()))
