"""`python -m airflow_provider_crewai.server PROJECT`: serve a crew from disk on this machine."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import threading
from contextlib import suppress
from pathlib import Path

import uvicorn

from airflow_provider_crewai.server import state
from airflow_provider_crewai.server.app import create_app
from airflow_provider_crewai.server.launch import TOKEN_VARIABLE, Launcher, Project, ProjectError
from airflow_provider_crewai.server.runs import Runs

LOOPBACK = ("127.0.0.1", "localhost", "::1")

log = logging.getLogger(__name__)


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGINT or SIGTERM. Runs under way go on, and the next server reports them.

    :param argv: the arguments; default those of this process.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        project = Project.named(options.project)
        directory: Path = (options.state or state.default_directory(project)).resolve()
        state.occupy(directory)
        listener = _listen(options.host, options.port)
        token = _token(options.token, directory)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    serve(project, listener, token, directory, options)


def serve(project: Project, listener: socket.socket, token: str, directory: Path, options: argparse.Namespace) -> None:
    """Serve a project on a socket that listens already.

    :param token: the bearer token that requests must bring.
    :param directory: the state directory, held by this process.
    """
    home = directory / "runs"
    home.mkdir(mode=0o700, exist_ok=True)
    runs = Runs(home / "runs.sqlite")
    launcher = Launcher(runs, project, options.python or project.python(), home, options.slots)
    launcher.adopt()
    threading.Thread(target=_warm_up, args=(launcher,), daemon=True).start()
    app = create_app(runs, launcher, token, f"Serving {project.name} at {_url(listener)}")
    _run(uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5)), listener)
    launcher.close()


def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    # uvicorn stops cleanly, then raises the signal again; taken as done, the exit code is 0.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    server.run(sockets=[listener])


def _warm_up(launcher: Launcher) -> None:
    # The first request need not wait for crewai's import, which takes seconds.
    with suppress(ProjectError):
        launcher.inputs()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _token(given: str | None, directory: Path) -> str:
    if token := given or os.environ.get(TOKEN_VARIABLE):
        return token
    file = directory / "token"
    token = state.kept_token(file)
    log.info("the bearer token is in %s", file)
    return token


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_crewai.server",
        description="Serve a crew from a project on disk behind the API of a deployed one, on this machine only.",
    )
    parser.add_argument("project", help="a directory with crew.py or src/*/crew.py, or module:attribute")
    parser.add_argument("--host", type=_loopback, default=LOOPBACK[0], help="a loopback address (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="0, the default, takes a free one")
    parser.add_argument("--token", help=f"the bearer token; else ${TOKEN_VARIABLE}, else one kept in a file")
    parser.add_argument("--state", type=Path, help="where runs are kept; else a directory per project in the user's")
    parser.add_argument(
        "--python", type=_interpreter, help="the interpreter that has crewai; else the project's .venv, else this one"
    )
    parser.add_argument("--slots", type=_slots, default=os.cpu_count() or 1, help="runs at once (%(default)s)")
    return parser


def _loopback(host: str) -> str:
    if host not in LOOPBACK:
        raise argparse.ArgumentTypeError(f"{host} is not loopback: this server is for this machine ({LOOPBACK})")
    return host


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
