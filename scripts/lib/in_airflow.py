"""Let nox make the environments, then go on in Airflow's: `in_airflow.py NAME ARGUMENTS` runs `NAME.py` there.

`--airflow VERSION` among the arguments says with which Airflow; each has an environment of its own.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from checkout import AIRFLOW_VERSION, CHECKOUT, python_of


def main() -> None:
    """Take what is for us, and leave the rest to the program."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--airflow", default=AIRFLOW_VERSION)
    options, rest = parser.parse_known_args()
    os.environ["AIRFLOW_VERSION"] = options.airflow
    crew, airflow = "env-crew", f"env-airflow-{options.airflow}"
    make(crew, airflow)
    os.environ.setdefault("CREW_PYTHON", python_of(crew))
    python = python_of(airflow)
    os.execv(python, [python, str(Path(__file__).with_name(f"{options.name}.py")), *rest])


def make(*environments: str) -> None:
    """Make environments unless they are there and still right."""
    nox = (sys.executable, "-m", "nox", "--noxfile", str(CHECKOUT / "noxfile.py"), "--session", *environments)
    if code := subprocess.run(nox, check=False).returncode:
        sys.exit(code)


if __name__ == "__main__":
    main()
