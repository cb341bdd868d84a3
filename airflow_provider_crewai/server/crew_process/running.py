"""One run: a fresh crew or flow is kicked off, told of as it goes, and its end written down, whatever that is."""

from __future__ import annotations

import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from . import loading, models
from .crew_run import run_crew
from .events import Webhooks
from .flow_run import keep_flows_in, run_flow
from .loading import Loaded
from .report import Report
from .run_settings import FLOWS, RunSettings


def main(settings: RunSettings, kickoff_id: str, lock: str) -> NoReturn:
    """Load the project and run a kickoff in this very process, which ends with it, whatever threads it has left."""
    keep_to_itself(int(lock))
    code = 1
    try:
        code = _load_and_run(settings, kickoff_id)
    except BaseException:  # noqa: BLE001 - nobody else will tell of it
        traceback.print_exc()
    leave(code)


def keep_to_itself(lock: int) -> None:
    """See that no process which this one starts holds its lock on, by which the server knows that the run lives."""
    os.set_inheritable(lock, False)
    # A file, since closing it twice, in a child of a child, does nothing.
    os.register_at_fork(after_in_child=os.fdopen(lock, "rb").close)


def _load_and_run(settings: RunSettings, kickoff_id: str) -> int:
    report = Report(settings.database, kickoff_id)
    try:
        loaded, settings = load(settings)
    except BaseException as error:  # noqa: BLE001 - whatever a project raises on import is how the run ended
        return _failed(report, error)
    return run(settings, loaded, kickoff_id, report)


def load(settings: RunSettings) -> tuple[Loaded, RunSettings]:
    """Import the project, with its models where the settings want them.

    :returns: it, and the settings for another process: a stub that was started has a URL now.
    :raises Exception: whatever the project's modules raise.
    """
    llm = settings.llm

    def ready() -> None:
        nonlocal llm
        llm = models.use(settings.llm)
        # Before a flow is defined, as where its state is kept may be asked then; else that is asked when it is made.
        keep_flows_in(f"{settings.home}/{FLOWS}")

    loaded = loading.load(settings.target, Path(settings.directory), ready)
    return loaded, replace(settings, llm=llm)


def run(settings: RunSettings, loaded: Loaded, kickoff_id: str, report: Report | None = None) -> int:
    """Run a kickoff of a project that is loaded already; returns the exit code."""
    report = report or Report(settings.database, kickoff_id)
    if not report.has_process(os.getpid()):
        return 0
    hooks = Webhooks(kickoff_id, report.request, report.send)
    # Now, since a project's .env may name another one, which its runs would then share.
    os.environ["CREWAI_STORAGE_DIR"] = str(settings.folder(kickoff_id) / "storage")
    try:
        made = loaded.make()
        if loading.kind_of(made) == "flow":
            run_flow(made, settings, loaded, report, hooks)
        else:
            run_crew(made, loaded, report, hooks)
    except BaseException as error:  # noqa: BLE001 - whatever a crew raises, even SystemExit, is how the run ended
        hooks.flush()
        return _failed(report, error)
    return 0


def words(error: BaseException) -> str:
    """Write an error as the live service does, by its type and text, with what to do where a model is out of reach."""
    said = f"{type(error).__name__}: {error}"
    advice = models.advice(error)
    return f"{said} {advice}" if advice else said


def leave(code: int) -> NoReturn:
    """End this process at once: what it inherited from its parent is not its to clean up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _failed(report: Report, error: BaseException) -> int:
    traceback.print_exc()
    report.failed(words(error))
    return 1
