"""Import Airflow once, then fork its components: four real ones within seconds even on a small machine.

Runs as a process of its own. Reads names of components from stdin, answers each with a process id on stdout. Ends,
and ends its components, when stdin does: so nothing outlives whoever started it.
"""

import importlib
import os
import signal
import sys
import traceback
from contextlib import suppress
from pathlib import Path

# What the four load first of all. Only speed depends on this list.
PRELOADED = (
    "airflow.api_fastapi.app",
    "airflow.api_fastapi.core_api.app",
    "airflow.api_fastapi.execution_api.app",
    "airflow.cli.commands.api_server_command",
    "airflow.cli.commands.dag_processor_command",
    "airflow.cli.commands.scheduler_command",
    "airflow.cli.commands.triggerer_command",
    "airflow.executors.local_executor",
    "airflow.jobs.dag_processor_job_runner",
    "airflow.jobs.scheduler_job_runner",
    "airflow.jobs.triggerer_job_runner",
    "uvicorn",
)


def preload() -> None:
    """Load Airflow and bring its database up to date; leave no connection that two processes would share."""
    for module in PRELOADED:
        with suppress(ModuleNotFoundError):
            importlib.import_module(module)
    from airflow import settings
    from airflow.utils import db

    db.initdb()
    settings.dispose_orm()


def fork(component: str, logs: Path) -> int:
    """Start a component in a process of its own; answer with its process id."""
    if child := os.fork():
        return child
    code = 1
    try:
        detach(logs / f"{component}.log")
        code = run(component)
    except BaseException:  # noqa: BLE001 - the end of a process: whatever happened belongs into its log
        traceback.print_exc()
    finally:
        os._exit(code)


def detach(log: Path) -> None:
    """Leave everything that was the parent's: its session, its streams, how it buries children."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream, source in ((0, os.open(os.devnull, os.O_RDONLY)), (1, output), (2, output)):
        os.dup2(source, stream)


def run(component: str) -> int:
    """Be a component, as `airflow <component>` would be; answer with its exit code."""
    from airflow import settings
    from airflow.cli import cli_parser

    sys.argv = ["airflow", component]
    settings.configure_orm()  # type: ignore[no-untyped-call]
    arguments = cli_parser.get_parser().parse_args([component])
    try:
        arguments.func(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def bury(*_: object) -> None:
    """Collect components that have ended, so that their process ids read as gone."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def interrupt(component: int) -> None:
    """Ask a component to stop, unless it has ended and its process id may be somebody else's by now."""
    with suppress(ChildProcessError):
        if os.waitpid(component, os.WNOHANG)[0] == 0:
            os.kill(component, signal.SIGINT)


def main(logs: Path) -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what Airflow prints is no answer
    # A shell starts background jobs deaf to Ctrl-C, and deafness is inherited.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    preload()
    signal.signal(signal.SIGCHLD, bury)
    components = []
    for line in sys.stdin:
        components.append(fork(line.strip(), logs))
        print(components[-1], file=answers)
    for component in components:
        interrupt(component)
    with suppress(ChildProcessError):
        while True:
            os.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
