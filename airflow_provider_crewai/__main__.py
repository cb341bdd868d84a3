"""`python -m airflow_provider_crewai VERB …`: the command line without Airflow's."""

from __future__ import annotations

import sys

from airflow_provider_crewai.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
