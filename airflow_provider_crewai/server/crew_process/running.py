"""One run: kicks off a fresh crew or flow, and reports how it ends, whatever that is."""

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
from .storage import keep_for_project, keep_for_run
from .telling import words


def main(settings: RunSettings, kickoff_id: str, lock: str) -> NoReturn:
    """Load the project and run a kickoff in this process. The process then ends, even if threads are left."""
    keep_to_itself(int(lock))
    code = 1
    try:
        code = _load_and_run(settings, kickoff_id)
    except BaseException:  # noqa: BLE001 - nobody else reports it
        traceback.print_exc()
    leave(code)


def keep_to_itself(lock: int) -> None:
    """Keep the lock from processes that this one starts. By the lock the server knows that the run lives."""
    os.set_inheritable(lock, False)
    # As a file object: it may be closed twice, in a child of a child.
    os.register_at_fork(after_in_child=os.fdopen(lock, "rb").close)


def _load_and_run(settings: RunSettings, kickoff_id: str) -> int:
    report = Report(settings.database, kickoff_id)
    try:
        loaded, settings = load(settings)
    except BaseException as error:  # noqa: BLE001 - whatever a project raises on import is how the run ended
        return _failed(report, error, settings)
    return run(settings, loaded, kickoff_id, report)


def load(settings: RunSettings) -> tuple[Loaded, RunSettings]:
    """Import the project, and lead its models where the settings say.

    :returns: the project, and the settings for another process: they hold the URL of a stub that was started.
    :raises Exception: whatever the project's modules raise.
    """
    llm = settings.llm

    def ready() -> None:
        nonlocal llm
        keep_for_project(settings)
        llm = models.use(settings.llm)
        # Before a flow is defined: crewai may choose then where its state is kept, or later, when the flow is made.
        keep_flows_in(f"{settings.home}/{FLOWS}")

    loaded = loading.load(settings.target, Path(settings.directory), ready)
    return loaded, replace(settings, llm=llm)


def run(settings: RunSettings, loaded: Loaded, kickoff_id: str, report: Report | None = None) -> int:
    """Run a kickoff of a loaded project. Returns the exit code."""
    report = report or Report(settings.database, kickoff_id)
    if not report.has_process(os.getpid()):
        return 0
    hooks = Webhooks(kickoff_id, report.request, report.send, settings.flow_webhook)
    keep_for_run(settings, kickoff_id)
    try:
        made = loaded.make(report.request.get("inputs"))
        if loading.kind_of(made) == "flow":
            run_flow(made, settings, loaded, report, hooks)
        else:
            run_crew(made, loaded, report, hooks)
    except BaseException as error:  # noqa: BLE001 - whatever a crew raises, even SystemExit, is how the run ended
        hooks.flush()
        return _failed(report, error, settings)
    return 0


def leave(code: int) -> NoReturn:
    """End this process at once. It must not clean up what it has inherited from its parent."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _failed(report: Report, error: BaseException, settings: RunSettings) -> int:
    traceback.print_exc()
    report.failed(words(error, Path(settings.directory)))
    return 1
