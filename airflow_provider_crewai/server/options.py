"""The command line of the server."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import NoReturn

from airflow_provider_crewai.server import state
from airflow_provider_crewai.server.access import TOKEN_VARIABLE
from airflow_provider_crewai.server.interpreters import LATEST
from airflow_provider_crewai.server.warm_process import LOAD_WITHIN

DAY = 86400.0

LOOPBACK = ("127.0.0.1", "localhost", "::1")


def new_parser(command: str) -> argparse.ArgumentParser:
    """Make the parser.

    :param command: what the user typed before the arguments, for the usage.
    """
    parser = argparse.ArgumentParser(
        prog=command,
        allow_abbrev=False,  # else `--tok TOKEN` would be taken for --token-file
        description="Serve a crewai project from disk, on this machine only, behind the API of a deployed crew.",
    )
    parser.add_argument(
        "project",
        nargs="+",
        help="a crewai project's directory, or module:attribute; of several, each is served below its own name",
    )
    _add_access(parser)
    _add_place(parser)
    _add_runs(parser)
    return parser


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", type=_loopback, default=LOOPBACK[0], help="a loopback address (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=0, help="the port; 0, the default, takes the port of last time or a free one"
    )
    parser.add_argument(
        "--token-file",
        type=_path,
        metavar="FILE",
        help=f"the file with the bearer token; by default ${TOKEN_VARIABLE}, or else a new token",
    )
    parser.add_argument("--token", type=_no_token, nargs="?", const="", help=argparse.SUPPRESS)
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="let scripts of this web page use the API, such as http://localhost:3000; none by default",
    )
    parser.add_argument(
        "--strict-aop",
        action="store_true",
        help="keep the live service's quirks: NOT FOUND while a crew waits for a human, 200 and a new id on resume",
    )


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state", type=_path, help="the directory that keeps the runs; by default one per project in the user's home"
    )
    parser.add_argument(
        "--python",
        type=_interpreter,
        help="the Python interpreter that has crewai; by default the project's .venv, or else this interpreter",
    )
    parser.add_argument(
        "--with-crewai",
        nargs="?",
        const=LATEST,
        type=_version,
        metavar="VERSION",
        help="let uv make an environment with this crewai, by default the latest, and with the project's other "
        "packages; what the project pins of crewai does not count. It is made once and kept",
    )
    parser.add_argument(
        "--llm",
        metavar="stub|URL[=MODEL]",
        help="send all requests to models there: to an OpenAI-compatible endpoint such as Ollama, or to `stub`, a "
        "built-in one with meaningless answers; by default the project and its environment decide",
    )


def _add_runs(parser: argparse.ArgumentParser) -> None:
    slots, days = os.cpu_count() or 1, 30
    parser.add_argument("--slots", type=_slots, default=slots, help="how many runs work at once (%(default)s)")
    parser.add_argument(
        "--on-lost",
        choices=("fail", "resume"),
        default="fail",
        help="what happens when the process of a crew's run dies: the run fails, or resumes after its finished tasks "
        "(%(default)s)",
    )
    parser.add_argument(
        "--flow-webhook",
        metavar="URL",
        help="tell this URL of each question of a flow, as the setting of a deployment does",
    )
    parser.add_argument(
        "--flow-webhook-secret",
        type=_secret,
        metavar="FILE",
        help="the file with the secret that signs these requests; by default the key comes from the token",
    )
    parser.add_argument(
        "--keep-apart",
        action="store_true",
        help="give each run memories and knowledge of its own; by default all runs of the project share them",
    )
    parser.add_argument("--keep-days", type=_days, default=days, help="days to keep ended runs (%(default)s)")
    parser.add_argument(
        "--keep-runs", type=_count, default=10_000, help="how many ended runs to keep at most (%(default)s)"
    )
    parser.add_argument(
        "--load-timeout",
        type=_seconds,
        default=LOAD_WITHIN,
        metavar="SECONDS",
        help="how long the project may take to load (%(default)g)",
    )


def _loopback(host: str) -> str:
    if host not in LOOPBACK:
        raise argparse.ArgumentTypeError(
            f"{host} is not a loopback address. This server is for this machine only: use {', '.join(LOOPBACK)}"
        )
    return host


def _no_token(_: str) -> NoReturn:
    raise argparse.ArgumentTypeError(
        "no longer exists, because everybody on this machine can read a command line. Put the token into a file and "
        f"name it with --token-file, or set ${TOKEN_VARIABLE}. Make a new token: others may have seen this one"
    )


def _version(text: str) -> str:
    if text != LATEST and not re.fullmatch(r"\d+(\.\d+){0,3}", text):
        raise argparse.ArgumentTypeError(f"{text} is not a version of crewai, such as 1.15.30")
    return text


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= state.LAST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is not a port: use 0 to {state.LAST_PORT}")
    return port


def _path(text: str) -> Path:
    # An unset variable leaves an empty text, which Path would take for the working directory.
    if not text.strip():
        raise argparse.ArgumentTypeError("is empty: name a path")
    return Path(text)


def _secret(text: str) -> str:
    try:
        secret = _path(text).read_text(encoding="utf-8-sig").strip()
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be read: {error}") from None
    if not secret:
        raise argparse.ArgumentTypeError(f"{text} is empty: put the secret into it")
    return secret


def _days(text: str) -> float:
    days = float(text)
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of days: use 0 or more")
    return days


def _count(text: str) -> int:
    count = int(text)
    if count < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of runs: use 0 or more")
    return count


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds <= DAY:
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds above 0 and up to a day")
    return seconds


def _interpreter(python: str) -> str:
    # Absolute, since it starts in the project's directory. Not resolved: that would lead out of a virtual environment.
    return str(Path(python).absolute()) if os.sep in python else python


def _slots(text: str) -> int:
    slots = int(text)
    if slots < 1:
        raise argparse.ArgumentTypeError(f"{slots} slots would let no run start: use 1 or more")
    return slots
