"""The programs for the interpreter that has crewai: the warm process, and each run.

Modules here may import only the standard library and crewai: that interpreter has neither Airflow nor this package,
and may be Python 3.10. There the package is imported as plain `crew_process`, so that it hides no module of the
project, and its modules import each other relatively.
"""
