"""`python -m airflow_provider_crewai.server PROJECT …`: serve crewai projects on this machine."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from airflow_provider_crewai.server import private, state
from airflow_provider_crewai.server.access import Token
from airflow_provider_crewai.server.connections import listen, new_server, url_of
from airflow_provider_crewai.server.log_lines import one_line_handler
from airflow_provider_crewai.server.options import new_parser
from airflow_provider_crewai.server.project import Project, ProjectError
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.serving import Place, Served, app_of, names_of

PORT_FILE = "port"
TOKEN_FILE = "token"  # noqa: S105 - the name of the file that holds it


def main(arguments: Sequence[str] | None = None, command: str = "python -m airflow_provider_crewai.server") -> None:
    """Serve until SIGINT or SIGTERM. Runs under way continue, and the next server reports them.

    :param arguments: the command line, by default the process's own.
    :param command: what the user typed before the arguments, for the usage.
    """
    users_umask = os.umask(0o077)
    logging.basicConfig(level=logging.INFO, handlers=[one_line_handler()])
    parser = new_parser(command)
    options = parser.parse_intermixed_args(arguments)  # options may stand between projects
    try:
        projects = [Project.named(each) for each in options.project]
        directories = _occupied(projects, options.state)
        runs = [_runs_in(_home_of_runs(directory)) for directory in directories]
        own = options.state or directories[0]
        listener = listen(options.host, options.port, own / PORT_FILE)
        token = Token.found(options.token_file, own / TOKEN_FILE)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    places = _places(projects, url_of(listener))
    each_with_its_own = zip(projects, runs, [token] * len(runs), places, strict=True)
    try:
        served = [Served(*each, options, users_umask) for each in each_with_its_own]
    except ProjectError as error:
        parser.error(str(error))
    server = new_server(app_of(served))
    _heed_signals(server)
    stopping = threading.Event()
    for each in served:
        each.start(stopping)
    server.run(sockets=[listener])
    stopping.set()
    for each in served:
        each.close()


def _occupied(projects: Sequence[Project], named: Path | None) -> list[Path]:
    """Hold the state directory of each project: the one that the user names, or one in it for each of several."""
    if named is None:
        return [state.occupy(state.default_directory(project)) for project in projects]
    held = state.occupy(named)
    return [held] if len(projects) == 1 else [state.occupy(held / name) for name in names_of(projects)]


def _places(projects: Sequence[Project], url: str) -> list[Place]:
    return [Place(url)] if len(projects) == 1 else [Place(url, f"/{name}") for name in names_of(projects)]


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


if __name__ == "__main__":
    main()
