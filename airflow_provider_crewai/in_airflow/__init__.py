"""What knows Airflow, and what no author of a Dag imports."""
