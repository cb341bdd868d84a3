"""Which verbs there are, and what each takes: one definition for both entrances. Imports nothing slow."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_crewai.cli.outcome import Exit
from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.watch import CENTURY

TOKEN_VARIABLE = "CREWAI_TOKEN"  # noqa: S105 - the name of the variable, no token

DESCRIPTION = "Run CrewAI crews from a shell: deployed ones, and those of a project on this machine."
EPILOG = "\n".join(
    [
        "stdout gets what you asked for, stderr everything else. Exit codes:",
        *(f"  {each.value:>3}  {each.meaning}" for each in Exit),
    ]
)

SEE_CODES = "Exit codes: see `airflow crewai --help` or `python -m airflow_provider_crewai --help`."


@dataclass(frozen=True, slots=True)
class Verb:
    """One verb of the command line.

    :param define: adds its arguments to a parser.
    """

    name: str
    help: str
    define: Callable[[argparse.ArgumentParser], None]
    epilog: str | None = SEE_CODES

    @property
    def description(self) -> str:
        """The help as a sentence."""
        return f"{self.help[0].upper()}{self.help[1:]}."

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the arguments, and what `run` needs to know of the entrance."""
        self.define(parser)
        parser.set_defaults(verb=self.name, entrance=parser.prog.rpartition(" ")[0])


# ---- what each verb takes ---------------------------------------------------------------------------


def _serve_arguments(parser: argparse.ArgumentParser) -> None:
    # The server knows its own arguments, `--help` among them. None that a process gets can begin with NUL.
    parser.prefix_chars = "\0"
    parser.add_argument("arguments", nargs=argparse.REMAINDER)


def _inputs_arguments(parser: argparse.ArgumentParser) -> None:
    _connection(parser)


def _kickoff_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--input",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an input as a text; NAME:=JSON gives it a type",
    )
    add("--inputs", metavar="JSON", help="all inputs as a JSON object, @FILE, or - for stdin; --input overrides")
    add("--meta", metavar="JSON", help="a JSON object or @FILE that the crew repeats in its webhooks")
    add(
        "--no-validate",
        action="store_true",
        help="do not ask the crew first for its inputs, which catches a misspelt name",
    )
    add("--restore-from", metavar="ID", help="an earlier flow run; start from its state")
    _webhooks(parser)
    _waiting(parser)
    _connection(parser)


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    _kickoff_id(parser)
    parser.add_argument(
        "--human-input",
        action="store_true",
        help="a webhook is called when the run waits for a human, so do not call it lost",
    )
    _waiting(parser)
    _connection(parser)


def _resume_arguments(parser: argparse.ArgumentParser) -> None:
    _kickoff_id(parser)
    parser.add_argument(
        "--task", metavar="TASK_ID", help="which question; the webhook names it. By default the one that is open"
    )
    said = parser.add_mutually_exclusive_group(required=True)
    said.add_argument("--approve", action="store_true", help="the crew's work is right")
    said.add_argument("--feedback", metavar="TEXT", help="the work is not right: what to do better")
    said.add_argument("--answer", metavar="TEXT", help="an answer that the crew judges by itself")
    _webhooks(parser)
    _connection(parser)


def _stop_arguments(parser: argparse.ArgumentParser) -> None:
    _kickoff_id(parser)
    _connection(parser)


def _kickoff_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kickoff_id", metavar="ID", help="the run's kickoff_id")


def _connection(parser: argparse.ArgumentParser) -> None:
    crew = parser.add_argument_group("which crew")
    one = crew.add_mutually_exclusive_group()
    one.add_argument("--conn-id", help=f"an Airflow connection; by default {defaults.CONN_ID}")
    one.add_argument("--url", help=f"a crew's URL, its token in the environment as {TOKEN_VARIABLE}; needs no Airflow")
    crew.add_argument("--token-file", metavar="FILE", help="the file that holds the token for --url")
    crew.add_argument("--extra", metavar="JSON", help="for --url: what a connection's extra may hold, or @FILE")
    crew.add_argument(
        "--patience",
        type=_seconds,
        metavar="SECONDS",
        help="how long to try a call that gets no answer (default 120)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object, always with the same keys")


def _webhooks(parser: argparse.ArgumentParser) -> None:
    hooks = parser.add_argument_group("webhooks (a resume must name them again)")
    hooks.add_argument(
        "--human-input-webhook", metavar="URL", help="called when the crew waits for a human; or @FILE of JSON"
    )
    hooks.add_argument("--task-webhook", metavar="URL", help="called after each crew task")
    hooks.add_argument("--step-webhook", metavar="URL", help="called after each step of an agent")
    hooks.add_argument("--crew-webhook", metavar="URL", help="called when the run has succeeded")
    hooks.add_argument("--webhooks", metavar="JSON", help="streaming events: a JSON object or @FILE")


def _waiting(parser: argparse.ArgumentParser) -> None:
    waiting = parser.add_argument_group("waiting")
    waiting.add_argument("--wait", action="store_true", help="wait until the run ends, and print its answer")
    waiting.add_argument(
        "--wait-timeout", type=_seconds, metavar="SECONDS", help="wait at most so long; the run goes on"
    )
    waiting.add_argument(
        "--poll-interval", type=_seconds, metavar="SECONDS", help="shortest time between two looks (default 2)"
    )
    waiting.add_argument(
        "--unreachable-timeout",
        type=_seconds,
        metavar="SECONDS",
        help="how long the API may fail to answer (default 900)",
    )


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= CENTURY:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0, or is more than a century")
    return seconds


VERBS = (
    Verb("serve", "serve a crew from a project on this machine, by the API of a deployed one", _serve_arguments, None),
    Verb("inputs", "print the names of the inputs that a crew takes", _inputs_arguments),
    Verb(
        "kickoff", "start a run, which costs money, and print its kickoff_id or wait for its answer", _kickoff_arguments
    ),
    Verb("status", "look at a run, or wait for its answer", _status_arguments),
    Verb("resume", "answer a run that waits for a human", _resume_arguments),
    Verb("stop", "stop a run", _stop_arguments),
    Verb("doctor", "examine the way to a crew, and name the cure for what is wrong; costs nothing", _inputs_arguments),
)
