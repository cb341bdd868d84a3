"""Run CrewAI crews as first-class Apache Airflow tasks.

This module imports nothing heavy on purpose: a Dag file is parsed again and again, and `wire` must
be usable without Airflow.
"""

__version__ = "0.1.0"
