"""Write to the two streams: stdout gets only what the user asked for, stderr gets the rest."""

from __future__ import annotations

import json
import os
import shutil
import sys
from typing import TextIO

from airflow_provider_crewai.cli.outcome import Outcome
from airflow_provider_crewai.client.journal import Journal
from airflow_provider_crewai.client.messages import progress
from airflow_provider_crewai.wire.errors import CrewError
from airflow_provider_crewai.wire.model import JSON, Question, Run
from airflow_provider_crewai.wire.times import duration
from airflow_provider_crewai.wire.words import printable

LINES = "\n\t"


class Screen:
    """The two streams of a command. On a terminal one line shows the progress and is written again and again.

    :param as_json: whether the outcome is printed as one JSON object.
    """

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._live = sys.stderr.isatty()
        self._drawn = 0
        self._noted = ""

    def say(self, text: str) -> None:
        """Write a line, or some, to stderr."""
        self._wipe()
        _write(sys.stderr, printable(text, keep=LINES) + "\n")

    def info(self, text: str, *values: object) -> None:
        """Write a line as a logger does."""
        self.say(text % values)

    warning = info

    def note(self, text: str, end: str = "") -> None:
        """Say something that may repeat. The same text twice in a row is written once.

        :param end: stands behind the text on a terminal, however little of the text there is room for.
        """
        if self._live:
            self._draw(text, end)
        elif text != self._noted:
            self.say(text)
        self._noted = text

    def show(self, outcome: Outcome) -> None:
        """Write the outcome: the message to stderr, the answer or the JSON object to stdout."""
        if outcome.message:
            self.say(outcome.message)
        self._wipe()
        answer = json.dumps(outcome.to_json()) if self._as_json else _text(outcome.answer)
        if answer:
            _write(sys.stdout, f"{printable(answer, keep=LINES) if sys.stdout.isatty() else answer}\n")

    def _draw(self, text: str, end: str) -> None:
        # Cut: a line that wraps cannot be overwritten.
        room, shown = shutil.get_terminal_size().columns - 1 - len(end), printable(text)
        line = (shown if len(shown) <= room else shown[: max(0, room - 1)] + "…") + end
        _write(sys.stderr, f"\r{line.ljust(self._drawn)}")
        self._drawn = len(line)

    def _wipe(self) -> None:
        if self._drawn:
            _write(sys.stderr, f"\r{' ' * self._drawn}\r")
            self._drawn = 0


class LiveLine:
    """Shows how a run goes on: a live line on a terminal, else a line for each change. An observer for `wait`.

    A question to a human stands above the live line, with what is to be judged.

    :param since: the epoch second from which the time is counted.
    """

    def __init__(self, screen: Screen, kickoff_id: str, since: float) -> None:
        self._screen = screen
        self._kickoff_id = kickoff_id
        self._since = since
        self._journal = Journal(screen, kickoff_id)
        self._asked: Question | None = None

    def __call__(self, seen: Run | CrewError, now: float) -> None:
        """Show what a look returned. Not an error: the client reports those."""
        if isinstance(seen, CrewError) or seen.state.is_final:
            return
        if sys.stderr.isatty():
            if seen.question != self._asked:
                self._journal(seen, now)
            self._asked = seen.question
            self._screen.note(f"Run {self._kickoff_id}: {progress(seen)}", f" ({duration(now - self._since)})")
        else:
            self._journal(seen, now)


def _text(answer: JSON) -> str:
    if answer is None or isinstance(answer, str):
        return answer or ""
    return json.dumps(answer, indent=2, ensure_ascii=False)


def _write(stream: TextIO, text: str) -> None:
    # The run is paid for: a character that this terminal's encoding lacks must not lose its answer.
    encoding = stream.encoding or "utf-8"
    try:
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        stream.flush()
    except BrokenPipeError:
        # The reader has gone. Python's own error would give the exit code of a failed run.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
