"""What the programs of this checkout start ends with them, however they end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from airflow_api import eventually
from watcher import members

LIB = Path(__file__).parents[2] / "scripts" / "lib"
FAMILY = """
import os, subprocess, time
from processes import Family

family = Family()
command = ("sh", "-c", "(setsid sleep 600 &); exec sleep 600")
subprocess.Popen(command, env=family.environment(os.environ), start_new_session=True)
while len(family.members()) < 2:
    time.sleep(0.1)
print(family.mark, flush=True)
time.sleep(600)
"""


def test_what_a_program_started_ends_with_it_even_if_it_is_killed() -> None:
    environment = {**os.environ, "PYTHONPATH": str(LIB)}
    program = subprocess.Popen((sys.executable, "-c", FAMILY), stdout=subprocess.PIPE, text=True, env=environment)
    assert program.stdout
    mark = program.stdout.readline().strip()
    assert len(members(mark)) == 2
    program.send_signal(signal.SIGKILL)
    program.wait()
    eventually(lambda: True if not members(mark) else None, "all of them to end", patience=20)
