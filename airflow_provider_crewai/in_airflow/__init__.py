"""Code that knows Airflow, and that no Dag author imports."""
