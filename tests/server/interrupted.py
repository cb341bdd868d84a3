"""A test that is cut off by `test_interrupted_tests.py`: it serves a crew, of which a run goes on, and never ends."""

from __future__ import annotations

import os
import time
from pathlib import Path

from aop_server import Start
from watcher import MARK


def test_that_never_ends(start_plain: Start) -> None:
    server = start_plain(environment={"BRIEF_SECONDS_PER_TASK": "3600"})
    server.wait(server.kickoff(), "RUNNING")
    Path(os.environ["MARK_FILE"]).write_text(os.environ[MARK])
    time.sleep(3600)
