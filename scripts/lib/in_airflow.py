"""Make the environments, then go on in Airflow's: `in_airflow.py NAME ARGUMENTS` runs `NAME.py` there."""

import os
import sys
from pathlib import Path

from environments import AIRFLOW, CREW
from stopping import stop_in_order

if __name__ == "__main__":
    stop_in_order()
    CREW.make()
    python = AIRFLOW.make()
    os.execv(python, [str(python), str(Path(__file__).with_name(f"{sys.argv[1]}.py")), *sys.argv[2:]])
