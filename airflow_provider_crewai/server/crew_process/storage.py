"""Where crewai keeps what a project remembers, and what belongs to one run alone.

Memories and knowledge live as long as the project is served: crewai itself locks them for processes side by side
(crewai_core/lock_store.py, 1.15.2 to 1.15.30). The outputs of the latest kickoff, which each kickoff wipes, are the
run's own.
"""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

from .run_settings import RunSettings

_VARIABLE = "CREWAI_STORAGE_DIR"
# These modules read the variable when they are imported, which the warm process may have done.
_READ_ON_IMPORT = {
    "crewai.rag.chromadb.config": "",
    "crewai.rag.chromadb.constants": "",
    "crewai.rag.qdrant.config": "qdrant",
    "crewai.rag.qdrant.constants": "qdrant",
}


def keep_for_project(settings: RunSettings) -> None:
    """Keep memories and knowledge in the project's folder. Call it before crewai makes any.

    The project's own `.env` cannot name another folder: that may be where the author's own runs keep theirs.
    """
    os.environ[_VARIABLE] = str(settings.folder("storage"))


def keep_for_run(settings: RunSettings, kickoff_id: str) -> None:
    """Keep the outputs of the latest kickoff in the run's folder, and with `keep_apart` all else, too."""
    folder = settings.folder(kickoff_id) / "storage"
    folder.mkdir(mode=0o700, exist_ok=True)
    if settings.keep_apart:
        os.environ[_VARIABLE] = str(folder)
        for name, part in _READ_ON_IMPORT.items():
            if module := sys.modules.get(name):
                module.DEFAULT_STORAGE_PATH = str(folder / part)  # type: ignore[attr-defined]  # crewai has it
    _place_latest_outputs(str(folder / "latest_kickoff_task_outputs.db"))


def _place_latest_outputs(file: str) -> None:
    try:
        storage: Any = importlib.import_module("crewai.memory.storage.kickoff_task_outputs_storage")
    except ImportError:  # a newer crewai may keep them elsewhere
        return
    kept = storage.KickoffTaskOutputsSQLiteStorage
    original = kept.__init__

    def placed(self: Any, db_path: str | None = None) -> None:
        original(self, db_path or file)

    kept.__init__ = placed
