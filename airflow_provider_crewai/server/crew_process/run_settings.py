"""What the server tells the warm process and the runs."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

VARIABLE = "CREWAI_SERVER_SETTINGS"
"""The environment variable that holds the settings. Everybody on the machine could read a command line."""

FLOWS = "flows.sqlite"
"""The file in the folder of all runs where crewai keeps the states of flows."""


@dataclass(frozen=True)
class RunSettings:
    """What a run needs to know. All values are JSON scalars.

    :param target: the project's directory, or `module:attribute`.
    :param directory: the working directory.
    :param database: the server's sqlite file.
    :param home: the folder of all runs. Each run has a folder in it, named by its kickoff_id.
    :param llm: None, `stub`, or the URL of a model's endpoint; see `models.use`.
    :param callback: the URL that takes answers to a flow's questions, without a question's id at its end.
    :param flow_webhook: the URL that is told of each question of a flow; an empty text if there is none.
    :param keep_apart: whether each run has memories and knowledge of its own.
    """

    target: str
    directory: str
    database: str
    home: str
    llm: str | None = None
    callback: str = ""
    flow_webhook: str = ""
    keep_apart: bool = False

    @classmethod
    def taken(cls) -> RunSettings:
        """Take the settings out of the environment, so that no process of the crew's own inherits them."""
        return cls(**json.loads(os.environ.pop(VARIABLE)))

    def in_environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return an environment with the settings in it."""
        return {**environment, VARIABLE: json.dumps(asdict(self))}

    def folder(self, kickoff_id: str) -> Path:
        """Return the folder of a run, which only this user can read."""
        folder = Path(self.home) / kickoff_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
