"""The program that the server starts by path, with the interpreter that has crewai.

    __main__.py warm                the warm process: describes the project, forks a process for each run
    __main__.py run KICKOFF_ID LOCK one run that loads the project anew, if the warm process cannot fork safely

The environment holds what both need to know, see `run_settings.RunSettings`. LOCK is the inherited descriptor of the
run's lock.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(command: str, *rest: str) -> int:
    """Do what the command says. Returns the process's exit code."""
    # Python has put this folder first on the path, where its modules would hide the project's.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    importlib.import_module("crew_process")
    del sys.path[0]
    module = importlib.import_module(f"crew_process.{'fork_server' if command == 'warm' else 'running'}")
    given = importlib.import_module("crew_process.run_settings").RunSettings.taken()
    code: int = module.main(given, *rest)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
