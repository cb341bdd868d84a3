"""Says which runs a killed task holds, one or those of a batch, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from airflow_provider_crewai.wire.words import listing

LONGEST = 100_000
"""The most characters of a line that names the runs of a batch: none is left out of any that we start."""

Noun = Literal["run", "batch"]


class Held(Protocol):
    """What a task holds."""

    @property
    def noun(self) -> Noun:
        """Return what it is called."""

    @property
    def name(self) -> str:
        """Return the id on record: of the run, or of the batch."""

    @property
    def runs(self) -> tuple[str, ...]:
        """Return the runs that may go on."""

    def cancelled(self) -> str:
        """Return the line before Airflow is asked why it cancelled the trigger."""

    def spared(self, why: str) -> str:
        """Return the line where no run is stopped."""

    def stopping(self, why: str) -> str:
        """Return the line before runs are stopped."""

    def left(self, why: str = "") -> str:
        """Return the line where nobody stops them."""


@dataclass(frozen=True, slots=True)
class HeldRun:
    """The run of a task that holds one."""

    name: str
    noun: Noun = "run"

    @property
    def runs(self) -> tuple[str, ...]:
        """Return the one run."""
        return (self.name,)

    def cancelled(self) -> str:
        """Return the line before Airflow is asked why it cancelled the trigger."""
        return (
            f"The trigger of run {self.name} was cancelled. If a user ended or cleared the task, we now stop the run. "
            "It GOES ON unless a line below says otherwise."
        )

    def spared(self, why: str) -> str:
        """Return the line where the run is not stopped."""
        return f"Run {self.name} is not stopped: {why}."

    def stopping(self, why: str) -> str:
        """Return the line before the run is stopped."""
        return f"Stopping run {self.name}: {why}."

    def left(self, why: str = "") -> str:
        """Return the line where nobody stops it."""
        return f"Run {self.name} GOES ON{why and ': ' + why}."


@dataclass(frozen=True, slots=True)
class HeldBatch:
    """The runs of a batch."""

    name: str
    runs: tuple[str, ...]
    noun: Noun = "batch"

    def cancelled(self) -> str:
        """Return the line before Airflow is asked why it cancelled the trigger."""
        return (
            f"The trigger of batch {self.name} was cancelled. If a user ended or cleared the task, we now stop its "
            f"{len(self.runs)} runs. They GO ON unless a line below says otherwise: {_all(self.runs)}"
        )

    def spared(self, why: str) -> str:
        """Return the line where no run is stopped."""
        return f"No run of batch {self.name} is stopped: {why}."

    def stopping(self, why: str) -> str:
        """Return the line before the runs are stopped."""
        return f"Stopping {len(self.runs)} runs of batch {self.name}: {why}."

    def left(self, why: str = "") -> str:
        """Return the line where nobody stops them."""
        return f"The {len(self.runs)} runs of batch {self.name} GO ON{why and ', because ' + why}: {_all(self.runs)}."


def is_stopped(kickoff_id: str) -> str:
    """Return what is said of a run that was stopped."""
    return f"Run {kickoff_id} is stopped."


def had_ended(kickoff_id: str) -> str:
    """Return what is said of a run that had ended before it could be stopped."""
    return f"Run {kickoff_id} had already ended."


def outcome(said: Mapping[str, str]) -> list[str]:
    """Return what to log of runs that were to be stopped: a line for all that are, and one for each that may go on.

    :param said: the sentence about each run, by its kickoff_id.
    """
    stopped = [run for run, sentence in said.items() if sentence == is_stopped(run)]
    ended = [run for run, sentence in said.items() if sentence == had_ended(run)]
    others = [sentence for run, sentence in said.items() if run not in {*stopped, *ended}]
    return [*_one_line(stopped, is_stopped, "are stopped"), *_one_line(ended, had_ended, "had already ended"), *others]


def _one_line(runs: list[str], of_one: Callable[[str], str], of_many: str) -> list[str]:
    if len(runs) <= 1:
        return [of_one(run) for run in runs]
    return [f"{len(runs)} runs {of_many}: {_all(runs)}"]


def _all(runs: Collection[str]) -> str:
    return listing(runs, LONGEST)
