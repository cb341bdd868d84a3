"""The command line: `airflow crewai VERB` and `python -m airflow_provider_crewai VERB`, which are the same.

verbs      which verbs there are, and what each takes: argparse, and nothing that is slow
in_airflow what Airflow is told of them
crew       the crew that a command line names
acts       the verbs carried out
outcome    what came of it: exit code, message and JSON
screen     what is written where
"""
