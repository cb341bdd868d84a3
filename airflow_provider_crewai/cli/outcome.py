"""The outcome of a command: an exit code, a message and a JSON object."""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, field
from typing import Self

from airflow_provider_crewai.client.policy import may_have_arrived
from airflow_provider_crewai.client.watch import Ending, Verdict
from airflow_provider_crewai.wire import errors
from airflow_provider_crewai.wire.model import JSON, JSONObject, Run, RunState


class Exit(enum.IntEnum):
    """The exit codes for scripts, each with its meaning. A code never changes."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> Self:
        """Make a code with its meaning."""
        made = int.__new__(cls, code)
        made._value_ = code
        made.meaning = meaning
        return made

    DONE = 0, "the run succeeded, or the command did what you asked for"
    RUN_FAILED = 1, "the run failed or was stopped; it is over"
    WRONG_USE = 2, "wrong usage, connection or inputs; no run was started"
    STILL_RUNNING = 3, "the run goes on: you did not wait, or --wait-timeout passed"
    UNREACHABLE = (
        4,
        "the crew cannot be reached or has an error, or refuses the token or another run; a run may go on",
    )
    MAY_HAVE_STARTED = 5, "sent, but the answer was lost: a paid run may have started; look before you repeat it"
    NOT_FOUND = 6, "the deployment does not know the run, or there is no crew at the URL"
    BROKEN = 70, "a bug in this program, with a traceback; a run that was started goes on"
    INTERRUPTED = 130, "Ctrl-C; a run that was started goes on"


OF_VERDICT = {
    Verdict.SUCCEEDED: Exit.DONE,
    Verdict.FAILED: Exit.RUN_FAILED,
    Verdict.STOPPED: Exit.RUN_FAILED,
    Verdict.TIMED_OUT: Exit.STILL_RUNNING,
    Verdict.UNANSWERED: Exit.STILL_RUNNING,
    Verdict.ASKS: Exit.STILL_RUNNING,
    Verdict.UNREACHABLE: Exit.UNREACHABLE,
    Verdict.AUTH_LOST: Exit.UNREACHABLE,
    Verdict.UNWATCHABLE: Exit.UNREACHABLE,
    Verdict.TOO_LARGE: Exit.UNREACHABLE,
    Verdict.LOST: Exit.NOT_FOUND,
}


def exit_of_ending(ending: Ending) -> Exit:
    """Return the code for a run that was waited for."""
    if ending.leads_to_no_crew:
        return Exit.NOT_FOUND
    return OF_VERDICT[ending.verdict]


def exit_of_state(state: RunState) -> Exit:
    """Return the code for a run that was looked at."""
    if state.is_final:
        return OF_VERDICT[Verdict(state.value)]
    return Exit.STILL_RUNNING if state.is_alive else Exit.NOT_FOUND


def exit_of_error(error: errors.CrewError, *, once: bool = False) -> Exit:
    """Return the code for a call that failed.

    :param once: whether the call must not be repeated once it may have arrived.
    """
    match error:
        case errors.CrewMayHaveStarted():
            return Exit.MAY_HAVE_STARTED
        case errors.CrewConfigError() | errors.CrewInputError():
            return Exit.WRONG_USE
        case errors.CrewNotFound():
            return Exit.NOT_FOUND
        case errors.CrewNotACrew() if not once:
            return Exit.NOT_FOUND
        case _:
            return Exit.MAY_HAVE_STARTED if once and may_have_arrived(error) else Exit.UNREACHABLE


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a command.

    :param message: a sentence for a person, or None if the answer is enough.
    :param answer: what the user asked for: a text, or any JSON.
    :param kickoff_id: the run, if it is known.
    :param run: the last look at that run.
    :param more: keys of the JSON object that only this verb has.
    """

    code: Exit
    message: str | None = None
    answer: JSON = None
    kickoff_id: str | None = None
    run: Run | None = None
    more: JSONObject = field(default_factory=dict)

    def to_json(self) -> JSONObject:
        """Return the object that `--json` prints. It always has these keys."""
        run = self.run
        return {
            "outcome": self.code.name.lower(),
            "message": self.message,
            "kickoff_id": self.kickoff_id,
            "state": run.state.value if run else None,
            "result": run.result if run else None,
            "result_json": run.result_json if run else None,
            "error": run.reason if run else None,
            "progress": asdict(run.progress) if run and run.progress else None,
            "question": asdict(run.question) if run and run.question else None,
            "usage": dict(run.usage) if run else {},
            **self.more,
        }
