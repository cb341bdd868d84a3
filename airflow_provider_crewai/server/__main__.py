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
from concurrent.futures import Future
from pathlib import Path

import uvicorn

from airflow_provider_crewai.server import private, state
from airflow_provider_crewai.server.access import Token
from airflow_provider_crewai.server.app import create_app
from airflow_provider_crewai.server.connections import listen, new_server, url_of
from airflow_provider_crewai.server.crew_process.run_settings import RunSettings
from airflow_provider_crewai.server.keeping import Keeper
from airflow_provider_crewai.server.launch import Launcher
from airflow_provider_crewai.server.log_lines import one_line_handler
from airflow_provider_crewai.server.options import DAY, new_parser
from airflow_provider_crewai.server.outbox import Outbox
from airflow_provider_crewai.server.page import Page
from airflow_provider_crewai.server.project import Description, Project, ProjectError
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.warm_process import WarmProcess
from airflow_provider_crewai.wire.words import line

PORT_FILE = "port"
TOKEN_FILE = "token"  # noqa: S105 - the name of the file that holds it

log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None, command: str = "python -m airflow_provider_crewai.server") -> None:
    """Serve until SIGINT or SIGTERM. Runs under way continue, and the next server reports them.

    :param arguments: the command line, by default the process's own.
    :param command: what the user typed before the arguments, for the usage.
    """
    users_umask = os.umask(0o077)
    logging.basicConfig(level=logging.INFO, handlers=[one_line_handler()])
    parser = new_parser(command)
    options = parser.parse_args(arguments)
    try:
        project = Project.named(options.project)
        directory = state.occupy(options.state or state.default_directory(project))
        runs = _runs_in(_home_of_runs(directory))
        listener = listen(options.host, options.port, directory / PORT_FILE)
        token = Token.found(options.token_file, directory / TOKEN_FILE)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    serve(project, listener, runs, token, options, users_umask)


def serve(
    project: Project, listener: socket.socket, runs: Runs, token: Token, options: argparse.Namespace, umask: int
) -> None:
    """Serve a project on a socket that listens already.

    :param runs: the store of all runs, in a folder that this process holds.
    :param token: the token that requests must carry.
    :param umask: the user's own, for the files that crews write: their modes are not ours to choose.
    """
    warm = _warm_process(project, listener, runs, options, umask)
    launcher = Launcher(runs, warm, runs.path.parent, slots=options.slots, on_lost=options.on_lost)
    keeper = Keeper(runs, keep=options.keep_days * DAY, most=options.keep_runs)
    page = Page(runs, launcher, token.value, token.hint)
    url = url_of(listener)
    log.info("to open its page in a browser, once and within ten minutes: %s%s", url, page.ticket())
    greeting = f"Serving {line(project.name)} at {url}"
    app = create_app(
        runs,
        launcher,
        token.value,
        greeting,
        strict=options.strict_aop,
        pages=page.routes(),
        origins=options.allow_origin,
    )
    server = new_server(app)
    _heed_signals(server)
    stopping = threading.Event()
    secrets = {options.flow_webhook: options.flow_webhook_secret} if options.flow_webhook_secret else {}
    _start_workers(launcher, keeper, Outbox(runs.path, token.value, secrets=secrets), stopping)
    server.run(sockets=[listener])
    stopping.set()
    warm.close()


def _warm_process(
    project: Project, listener: socket.socket, runs: Runs, options: argparse.Namespace, umask: int
) -> WarmProcess:
    settings = RunSettings(
        target=project.target,
        directory=str(project.directory),
        database=str(runs.path),
        home=str(runs.path.parent),
        llm=options.llm,
        callback=f"{url_of(listener)}/feedback",
        flow_webhook=options.flow_webhook or "",
    )
    return WarmProcess(project, options.python or project.python(), settings, umask, load_within=options.load_timeout)


def _start_workers(launcher: Launcher, keeper: Keeper, outbox: Outbox, stopping: threading.Event) -> None:
    # So the first request need not wait for the import of crewai, which takes seconds.
    launcher.describe().add_done_callback(_say_what_is_wrong)
    threading.Thread(target=launcher.keep_going, args=(stopping, keeper.chores()), daemon=True).start()
    threading.Thread(target=outbox.run, args=(stopping,), daemon=True).start()


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
            f"{file} cannot be used as the database of runs ({error}). Move it away, or name another folder with "
            "--state."
        ) from None


def _heed_signals(server: uvicorn.Server) -> None:
    # uvicorn takes signals only while it serves, and raises them again when it has stopped. One that comes before must
    # not be lost, and one that comes after must not change the exit code.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, server.handle_exit)


def _say_what_is_wrong(described: Future[Description]) -> None:
    if not described.cancelled() and isinstance(error := described.exception(), ProjectError):
        log.warning("%s (fix the project; the server need not be restarted)", error)


if __name__ == "__main__":
    main()
