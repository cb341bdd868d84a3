"""What the server tells the warm process and the runs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

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
    """

    target: str
    directory: str
    database: str
    home: str
    llm: str | None = None
    callback: str = ""

    @classmethod
    def from_json(cls, text: str) -> RunSettings:
        """Read the settings that `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Write the settings for a command line."""
        return json.dumps(asdict(self))

    def folder(self, kickoff_id: str) -> Path:
        """Return the folder of a run, which only this user can read."""
        folder = Path(self.home) / kickoff_id
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder
