"""Make the environments, then go on in Airflow's: `in_airflow.py NAME ARGUMENTS` runs `NAME.py` there.

`--airflow VERSION` among the arguments says with which Airflow; each has an environment of its own.
"""

import argparse
import os
from pathlib import Path

from environments import AIRFLOW_VERSION, CREW, airflow
from stopping import stop_in_order


def main() -> None:
    """Take what is for us, and leave the rest to the program."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("name")
    parser.add_argument("--airflow", default=AIRFLOW_VERSION)
    options, rest = parser.parse_known_args()
    CREW.make()
    python = airflow(options.airflow).make()
    os.execv(python, [str(python), str(Path(__file__).with_name(f"{options.name}.py")), *rest])


if __name__ == "__main__":
    stop_in_order()
    main()
