"""`python -m airflow_provider_crewai.server PROJECT`: serve a crewai project on this machine."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from airflow_provider_crewai.server import state
from airflow_provider_crewai.server.app import create_app
from airflow_provider_crewai.server.crew_process.settings import Settings
from airflow_provider_crewai.server.launch import Launcher
from airflow_provider_crewai.server.page import Page
from airflow_provider_crewai.server.project import Project, ProjectError
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.warm_process import TOKEN_VARIABLE, WarmProcess
from airflow_provider_crewai.server.webhooks import Outbox

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
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    parser = _parser(command)
    options = parser.parse_args(arguments)
    try:
        project = Project.named(options.project)
        directory: Path = (options.state or state.default_directory(project)).resolve()
        state.occupy(directory)
        listener = _listen(options.host, options.port, directory / PORT_FILE)
        token = _token(options.token, directory)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    serve(project, listener, token, directory, options)


def serve(project: Project, listener: socket.socket, token: str, directory: Path, options: argparse.Namespace) -> None:
    """Serve a project on a socket that listens already.

    :param token: the bearer token that requests must bring.
    :param directory: the state directory, held by this process.
    """
    home, url = directory / "runs", _url(listener)
    home.mkdir(mode=0o700, exist_ok=True)
    runs = Runs(home / "runs.sqlite")
    where = str(project.directory)
    settings = Settings(project.target, where, str(runs.path), str(home), options.llm, f"{url}/feedback")
    warm = WarmProcess(project, options.python or project.python(), settings)
    keep = options.keep_days * DAY
    launcher = Launcher(runs, warm, home, slots=options.slots, on_lost=options.on_lost, keep=keep)
    page = Page(runs, launcher, token, _hint(options, directory))
    log.info("to open its page in a browser, once and within ten minutes: %s%s", url, page.ticket())
    greeting = f"Serving {project.name} at {url}"
    app = create_app(runs, launcher, token, greeting, strict=options.strict_aop, pages=page.routes())
    stopping = threading.Event()
    workers = [
        threading.Thread(target=_warm_up, args=(launcher,), daemon=True),
        threading.Thread(target=launcher.keep_going, args=(stopping,), daemon=True),
        threading.Thread(target=Outbox(runs.path, token).run, args=(stopping,), daemon=True),
    ]
    for worker in workers:
        worker.start()
    _run(uvicorn.Server(uvicorn.Config(app, log_config=None, timeout_graceful_shutdown=5)), listener)
    stopping.set()
    warm.close()


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
    try:
        # The last one again: connections name it, and so do the callbacks that waiting flows gave away.
        listener = _listen_at(host, state.kept_port(kept))
    except OSError:
        listener = _listen_at(host, 0)
    kept.write_text(f"{listener.getsockname()[1]}\n", encoding="ascii")
    return listener


def _listen_at(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _token(given: str | None, directory: Path) -> str:
    if token := (given or os.environ.get(TOKEN_VARIABLE, "")).strip():
        return token
    token = state.kept_token(directory / TOKEN_FILE)
    log.info("the bearer token is in %s", directory / TOKEN_FILE)
    return token


def _hint(options: argparse.Namespace, directory: Path) -> str:
    if (options.token or os.environ.get(TOKEN_VARIABLE, "")).strip():
        return f"It is what the server was started with, as --token or ${TOKEN_VARIABLE}."
    return f"It is in the file {directory / TOKEN_FILE} on the server's machine."


def _parser(command: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=command,
        description="Serve a crewai project from disk behind the API of a deployed one, on this machine only.",
    )
    parser.add_argument("project", help="a crewai project's directory, or module:attribute")
    parser.add_argument("--host", type=_loopback, default=LOOPBACK[0], help="a loopback address (%(default)s)")
    parser.add_argument(
        "--port", type=_port, default=0, help="0, the default, takes the last one again, else a free one"
    )
    parser.add_argument("--token", help=f"the bearer token; else ${TOKEN_VARIABLE}, else one kept in a file")
    parser.add_argument("--state", type=Path, help="where runs are kept; else a directory per project in the user's")
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
    parser.add_argument("--keep-days", type=float, default=30, help="days for which ended runs are kept (%(default)s)")
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


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= state.LAST_PORT:
        raise argparse.ArgumentTypeError(f"{port} is no port: 0 to 65535")
    return port


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
