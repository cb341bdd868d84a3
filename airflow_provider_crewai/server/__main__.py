"""`python -m airflow_provider_crewai.server PROJECT`: serve a crewai project on this machine."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import uvicorn

from airflow_provider_crewai.server import private, state
from airflow_provider_crewai.server.app import create_app
from airflow_provider_crewai.server.connections import new_server
from airflow_provider_crewai.server.crew_process.run_settings import RunSettings
from airflow_provider_crewai.server.launch import Launcher
from airflow_provider_crewai.server.log_lines import one_line_handler
from airflow_provider_crewai.server.outbox import Outbox
from airflow_provider_crewai.server.page import Page
from airflow_provider_crewai.server.project import Project, ProjectError
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.warm_process import TOKEN_VARIABLE, WarmProcess
from airflow_provider_crewai.wire.words import line

LOOPBACK = ("127.0.0.1", "localhost", "::1")
DAY = 86400.0
PORT_FILE = "port"
TOKEN_FILE = "token"  # noqa: S105 - the name of the file that holds it

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, command: str = "python -m airflow_provider_crewai.server") -> None:
    """Serve until SIGINT or SIGTERM. Runs under way go on, and the next server reports them.

    :param arguments: the command line, by default the process's own.
    :param command: what was typed before them, for the usage.
    """
    users_umask = os.umask(0o077)
    logging.basicConfig(level=logging.INFO, handlers=[one_line_handler()])
    parser = _parser(command)
    options = parser.parse_args(arguments)
    try:
        project = Project.named(options.project)
        directory = state.occupy(options.state or state.default_directory(project))
        runs = _runs_in(_home_of_runs(directory))
        listener = _listen(options.host, options.port, directory / PORT_FILE)
        token = _token(options.token_file, directory / TOKEN_FILE)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    serve(project, listener, runs, token, options, users_umask)


def serve(
    project: Project, listener: socket.socket, runs: Runs, token: Token, options: argparse.Namespace, umask: int
) -> None:
    """Serve a project on a socket that listens already.

    :param runs: the store of all runs, in a folder that this process holds.
    :param token: what requests must bring.
    :param umask: the user's own, which crews get: what they write is no business of ours.
    """
    url, home = _url(listener), runs.path.parent
    settings = RunSettings(
        project.target, str(project.directory), str(runs.path), str(home), options.llm, f"{url}/feedback"
    )
    warm = WarmProcess(project, options.python or project.python(), settings, umask)
    keep = options.keep_days * DAY
    launcher = Launcher(runs, warm, home, slots=options.slots, on_lost=options.on_lost, keep=keep)
    page = Page(runs, launcher, token.value, token.hint)
    log.info("to open its page in a browser, once and within ten minutes: %s%s", url, page.ticket())
    greeting = f"Serving {line(project.name)} at {url}"
    app = create_app(runs, launcher, token.value, greeting, strict=options.strict_aop, pages=page.routes())
    stopping = threading.Event()
    workers = [
        threading.Thread(target=_warm_up, args=(launcher,), daemon=True),
        threading.Thread(target=launcher.keep_going, args=(stopping,), daemon=True),
        threading.Thread(target=Outbox(runs.path, token.value).run, args=(stopping,), daemon=True),
    ]
    for worker in workers:
        worker.start()
    _run(new_server(app), listener)
    stopping.set()
    warm.close()


def _home_of_runs(directory: Path) -> Path:
    home = private.folder(directory / "runs")
    for kept in {home / "runs.sqlite", *home.glob("*.sqlite*")}:  # sqlite itself would follow a link
        private.file(kept)
    return home


def _runs_in(home: Path) -> Runs:
    file = home / "runs.sqlite"
    try:
        return Runs(file)
    except sqlite3.DatabaseError as error:
        raise OSError(
            f"{file} cannot be used as the database of runs ({error}). Move it away, or name a folder by --state."
        ) from None


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    # uvicorn stops cleanly, then raises the signal again; taken as done, the exit code is 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])


def _warm_up(launcher: Launcher) -> None:
    # The first request need not wait for crewai's import, which takes seconds.
    try:
        launcher.description()
    except ProjectError as error:
        log.warning("%s (once that is mended it is served: the server need not be restarted)", error)


def _listen(host: str, port: int, kept: Path) -> socket.socket:
    if port:
        return _listen_at(host, port)
    last = state.kept_port(kept)
    try:
        # The last one again: connections name it, and so do the callbacks that waiting flows gave away.
        listener = _listen_at(host, last)
    except OSError:
        listener = _listen_at(host, 0)
    private.write(kept, f"{listener.getsockname()[1]}\n")
    return listener


def _listen_at(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@dataclass(frozen=True, slots=True)
class Token:
    """The bearer token that requests must bring.

    :param hint: a sentence that says where it is.
    """

    value: str = field(repr=False)
    hint: str


def _token(given: Path | None, kept: Path) -> Token:
    if given:
        if not (token := given.read_text(encoding="utf-8").strip()):
            raise ValueError(f"--token-file {given} is empty")
        return Token(token, f"It is in the file {given} on the server's machine.")
    if token := os.environ.get(TOKEN_VARIABLE, "").strip():
        return Token(token, f"It is what the server was started with, as ${TOKEN_VARIABLE}.")
    token = state.kept_token(kept)
    log.info("the bearer token is in %s", kept)
    return Token(token, f"It is in the file {kept} on the server's machine.")


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command,
        allow_abbrev=False,  # else `--tok` with a token would be taken for --token-file
        description="Serve a crewai project from disk behind the API of a deployed one, on this machine only.",
    )
    parser.add_argument("project", help="a crewai project's directory, or module:attribute")
    parser.add_argument("--host", type=_loopback, default=LOOPBACK[0], help="a loopback address (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=0, help="0, the default, takes the last one again, else a free one"
    )
    parser.add_argument(
        "--token-file",
        type=_path,
        metavar="FILE",
        help=f"holds the bearer token; else ${TOKEN_VARIABLE}, else a new one",
    )
    parser.add_argument("--token", type=_no_token, nargs="?", const="", help=argparse.SUPPRESS)
    parser.add_argument("--state", type=_path, help="where runs are kept; else a directory per project in the user's")
    parser.add_argument(
        "--python", type=_interpreter, help="the interpreter that has crewai; else the project's .venv, else this one"
    )
    parser.add_argument("--slots", type=_slots, default=os.cpu_count() or 1, help="runs at once (%(default)s)")
    parser.add_argument(
        "--llm",
        metavar="stub|URL[=MODEL]",
        help="where all the project's models are: an OpenAI-compatible endpoint such as Ollama's, or `stub`, a "
        "built-in one whose answers mean nothing; else each model where the project and its environment say",
    )
    parser.add_argument(
        "--on-lost",
        choices=("fail", "resume"),
        default="fail",
        help="what becomes of a crew's run whose process dies: it fails (%(default)s), or skips its finished tasks",
    )
    parser.add_argument("--keep-days", type=_days, default=30, help="days for which ended runs are kept (%(default)s)")
    parser.add_argument(
        "--strict-aop",
        action="store_true",
        help="keep the live service's quirks: NOT FOUND while a run waits for a human, 200 and a new id for any resume",
    )
    return parser


def _loopback(host: str) -> str:
    if host not in LOOPBACK:
        raise argparse.ArgumentTypeError(f"{host} is not loopback: this server is for this machine ({LOOPBACK})")
    return host


def _no_token(_: str) -> NoReturn:
    raise argparse.ArgumentTypeError(
        "is gone, since everybody on this machine can read a command line. Put the token into a file and name it with "
        f"--token-file, or set ${TOKEN_VARIABLE}. Make a new one: this one has been seen"
    )


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= state.LAST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is no port: 0 to 65535")
    return port


def _path(text: str) -> Path:
    if not text.strip():  # as from a variable that is not set; it would name the working directory
        raise argparse.ArgumentTypeError("names nothing")
    return Path(text)


def _days(text: str) -> float:
    days = float(text)
    if not days >= 0:
        raise argparse.ArgumentTypeError(f"{text} is no number of days: 0 or more")
    return days


def _interpreter(python: str) -> str:
    # Made absolute, since it is started from the project's directory; not resolved, since a venv's is a link.
    return str(Path(python).absolute()) if os.sep in python else python


def _slots(text: str) -> int:
    slots = int(text)
    if slots < 1:
        raise argparse.ArgumentTypeError("at least one run must be possible")
    return slots


if __name__ == "__main__":
    main()
