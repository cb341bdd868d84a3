"""Example Dags, each run in a test against a real Airflow and a real crew."""
