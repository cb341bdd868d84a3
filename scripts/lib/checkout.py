"""Where things are in this checkout, and with which Airflow its checks run."""

import os
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
EXAMPLE_DAGS = CHECKOUT / "example_dags"
AIRFLOW_VERSION = os.environ.get("AIRFLOW_VERSION") or "3.3.2"
"""The Airflow in which checks and programs run."""


def folder_of(environment: str) -> Path:
    """Answer with the folder that nox gives an environment."""
    return CHECKOUT / ".nox" / environment.replace(".", "-")


def python_of(environment: str) -> str:
    """Answer with an environment's interpreter."""
    return str(folder_of(environment) / "bin" / "python")
