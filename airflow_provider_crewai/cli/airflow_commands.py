"""The group `airflow crewai`: the provider info names `commands`, which Airflow 3.2 and later call."""

from __future__ import annotations

import argparse

from airflow.cli.cli_config import ActionCommand, Arg, GroupCommand

from airflow_provider_crewai.cli.main import run
from airflow_provider_crewai.cli.verbs import DESCRIPTION, EPILOG, VERBS, Verb


class _Arguments(Arg):
    """All arguments of a verb, for a parser of Airflow's: the same as for ours."""

    def __init__(self, verb: Verb) -> None:
        super().__init__(flags=(verb.name,))  # type: ignore[no-untyped-call]  # Airflow's own (3.3.2)
        self._verb = verb

    def add_to_parser(self, parser: argparse.ArgumentParser) -> None:
        """Add them."""
        self._verb.add_to(parser)
        # Airflow logs to stderr only if a command has an `output` (3.3.2); stdout is for what the user asked for.
        parser.set_defaults(output=None)


def commands() -> list[GroupCommand]:
    """Return the group `airflow crewai`."""
    verbs = [
        ActionCommand(verb.name, verb.help, _run, (_Arguments(verb),), verb.description, verb.epilog) for verb in VERBS
    ]
    return [GroupCommand("crewai", DESCRIPTION, verbs, epilog=EPILOG)]


def _run(options: argparse.Namespace) -> None:
    # Airflow drops what a command returns.
    raise SystemExit(run(options))
