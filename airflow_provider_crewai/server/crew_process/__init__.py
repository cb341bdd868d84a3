"""What runs in the interpreter that has crewai: the standard library and crewai, nothing of Airflow."""
