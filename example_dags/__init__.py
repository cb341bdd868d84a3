"""Example Dags. A test runs each of them against a real Airflow and a real crew."""
