"""From a command line to its exit code, whichever entrance it came through. Imports nothing slow."""

from __future__ import annotations

import argparse
import sys
import traceback

from airflow_provider_crewai.cli.outcome import Exit
from airflow_provider_crewai.cli.verbs import DESCRIPTION, EPILOG, VERBS


def main(argv: list[str] | None = None) -> int:
    """Carry out a command line, and return its exit code.

    :param argv: the arguments; default those of this process.
    """
    return run(parser().parse_args(argv))


def parser() -> argparse.ArgumentParser:
    """Return the parser of `python -m airflow_provider_crewai`."""
    whole = argparse.ArgumentParser(prog="python -m airflow_provider_crewai", description=DESCRIPTION, epilog=EPILOG)
    whole.formatter_class = argparse.RawDescriptionHelpFormatter
    verbs = whole.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        own = verbs.add_parser(verb.name, help=verb.help, description=verb.description, epilog=verb.epilog)
        own.formatter_class = argparse.RawDescriptionHelpFormatter
        verb.add_to(own)
    return whole


def run(options: argparse.Namespace) -> int:
    """Carry out a parsed command line, whichever entrance it came through, and return its exit code."""
    if options.verb == "serve":
        return _serve(options.arguments, f"{options.entrance} {options.verb}")
    try:
        from airflow_provider_crewai.cli.acts import act

        return act(options)
    except KeyboardInterrupt:  # before or after the act, which reports an interruption itself
        return Exit.INTERRUPTED
    except Exception:  # noqa: BLE001 - with Python's own exit code it would look like a failed run
        traceback.print_exc()
        return Exit.BROKEN


def _serve(arguments: list[str], command: str) -> int:
    try:
        from airflow_provider_crewai.server.__main__ import main as serve
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn"):
            raise
        sys.stderr.write(
            f"serve needs starlette and uvicorn ({error}): pip install 'airflow-provider-crewai[server]', "
            "or in a checkout: pip install '.[server]'\n"
        )
        return Exit.WRONG_USE
    serve(arguments, command)
    return Exit.DONE
