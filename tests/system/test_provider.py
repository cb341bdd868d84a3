"""What Airflow finds out about the provider by itself."""

import subprocess
import sys

from airflow_home import PrivateAirflow


def test_airflow_lists_the_provider(airflow: PrivateAirflow) -> None:
    command = (sys.executable, "-m", "airflow", "providers", "get", "airflow-provider-crewai")
    finished = subprocess.run(command, env=airflow.environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert "airflow-provider-crewai" in finished.stdout


def test_the_ui_offers_the_connection_type(airflow: PrivateAirflow) -> None:
    metas = {meta["connection_type"]: meta for meta in airflow.api.get("/ui/connections/hook_meta")}
    assert "crewai" in metas
