"""The command line: `airflow crewai VERB` and `python -m airflow_provider_crewai VERB`, which are the same.

verbs             which verbs there are, and what each takes
main              from a command line to its exit code
airflow_commands  the group `airflow crewai`, for Airflow's own command line
crew              the crew that a command line names
acts              carries the verbs out
doctor            what is wrong on the way to a crew, and what is the cure?
arguments         arguments that hold JSON, a file or stdin
outcome           what came of a verb: exit code, message and JSON
screen            what is written to stdout and to stderr
"""
