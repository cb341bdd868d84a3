"""What runs in the interpreter that has crewai: the warm process, and each run.

Only the standard library and crewai may be imported here: that interpreter knows nothing of Airflow or this package,
and may be Python 3.10. The package is imported by the name `crew_process` alone, so that it shadows nothing of the
project's; its modules import each other relatively.
"""
