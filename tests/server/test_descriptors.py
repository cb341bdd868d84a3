"""What a process of a project can reach of the server's: nothing that it was not given."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import pytest
from aop_server import Start

if not sys.platform.startswith("linux"):
    pytest.skip("/proc is Linux's", allow_module_level=True)

OPEN = """
import json, os, subprocess, sys
from crewai.flow.flow import Flow, start

SHOW = "import os, json; print(json.dumps({int(n): os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')}))"

def mine():
    found = {}
    for n in os.listdir("/proc/self/fd"):
        try:
            found[int(n)] = os.readlink(f"/proc/self/fd/{n}")
        except OSError:
            pass
    return found

def forked():
    read, write = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(read)
        found = mine()
        found.pop(write)
        os.write(write, json.dumps(found).encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        said = json.loads(answer.read())
    os.waitpid(pid, 0)
    return said

def started():
    return json.loads(subprocess.run([sys.executable, "-c", SHOW], stdout=subprocess.PIPE, close_fds=CLOSE).stdout)

CLOSE = False
LOADING = {"forked": forked(), "started": started()}

class Looking(Flow):
    @start()
    def look(self):
        return {"run": mine(), "forked": forked(), "started": started(), "loading": LOADING}
"""


def test_no_process_of_a_project_holds_what_the_server_and_the_warm_process_speak_by(
    start: Start, tmp_path: Path
) -> None:
    (tmp_path / "looking.py").write_text(OPEN)
    server = start("looking:Looking", cwd=tmp_path)
    found = server.wait(server.kickoff({}), "SUCCESS")["result_json"]
    server_pid = server.process.pid
    (warm,) = children(server_pid)
    spoken_by = ends(server_pid) | ends(int(warm))
    assert len(spoken_by) > 4
    loading = found.pop("loading")
    for name, descriptors in {**found, **{f"{name} while loading": each for name, each in loading.items()}}.items():
        assert descriptors["0"] == "/dev/null", name
        assert spoken_by & {*descriptors.values()} == set(), name
        assert name == "run" or not [to for to in descriptors.values() if to.endswith("/lock")], name


def ends(pid: int) -> set[str]:
    """Pipes and sockets of a process."""
    links = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            links.add(str(each.readlink()))
    return {link for link in links if link.startswith(("pipe:", "socket:"))}


def children(server: int) -> list[str]:
    """The children of all threads of the server."""
    tasks = Path(f"/proc/{server}/task").iterdir()
    return [pid for task in tasks for pid in (task / "children").read_text().split()]
