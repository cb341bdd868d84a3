"""What a person reads: one place for the words about a run and its endings."""

from __future__ import annotations

from airflow_provider_crewai.client.killing import OnKill
from airflow_provider_crewai.client.ledger import OnClear, Record
from airflow_provider_crewai.client.policy import out_of_reach
from airflow_provider_crewai.client.watch import Ending, Verdict
from airflow_provider_crewai.wire.errors import (
    CrewAnswerNotFetched,
    CrewAuthError,
    CrewChangedInputs,
    CrewError,
    CrewLedgerError,
    CrewMayHaveStarted,
    CrewNotACrew,
    CrewNotFound,
    CrewRunAuthLost,
    CrewRunError,
    CrewRunFailed,
    CrewRunLost,
    CrewRunStopped,
    CrewRunTimedOut,
    CrewRunUnreachable,
    CrewRunUnwatchable,
)
from airflow_provider_crewai.wire.model import Run, RunState
from airflow_provider_crewai.wire.times import duration, moment
from airflow_provider_crewai.wire.words import line

_ERRORS: dict[Verdict, type[CrewRunError]] = {
    Verdict.STOPPED: CrewRunStopped,
    Verdict.TIMED_OUT: CrewRunTimedOut,
    Verdict.UNREACHABLE: CrewRunUnreachable,
    Verdict.LOST: CrewRunLost,
    Verdict.AUTH_LOST: CrewRunAuthLost,
    Verdict.UNWATCHABLE: CrewRunUnwatchable,
    Verdict.TOO_LARGE: CrewRunUnwatchable,
}
_HOW_IT_ENDED = {RunState.SUCCEEDED: "succeed", RunState.FAILED: "fail", RunState.STOPPED: "be stopped"}
OVER = frozenset({Verdict.SUCCEEDED, Verdict.FAILED, Verdict.STOPPED})
"""The verdicts after which the run itself is certainly over."""


def sight(seen: Run | CrewError) -> str:
    """Write what a look came to, for one line of a log."""
    return progress(seen) if isinstance(seen, Run) else f"no usable answer ({line(str(seen), 500)})"


def progress(run: Run) -> str:
    """Write where a run stands, for one line of a log."""
    match run.state:
        case RunState.UNKNOWN:
            return f"in the unknown state {run.word!r}, which counts as running"
        case RunState.PAUSED:
            return f"waiting for a human: {run.question}" if run.question else "waiting for a human"
        case RunState.NOT_FOUND:
            return "not known to the deployment just now (a run that waits for a human looks like this, too)"
        case _:
            return f"{run.state}, {run.progress}" if run.progress else run.state.value


def trying_again(error: CrewError, seconds: float, until: float) -> str:
    """Write that something is tried again, for whoever waits."""
    what = "The connection cannot be read" if out_of_reach(error) else "The crew cannot be reached"
    return f"{what} ({str(error).rstrip('.')}). Trying again in {duration(seconds)}, until {moment(until)}."


def error_of(ending: Ending, *, where: str, started_at: float | None, retry: str) -> CrewRunError:
    """Make the error for an ending that is not a success.

    :param where: the connection, in words.
    :param started_at: when the run was kicked off, epoch seconds, or None where that is not known.
    :param retry: what a retry will do, as a sentence; may be empty.
    """
    seen = f"It was {'' if ending.run else 'to be '}looked at over {where}."
    if started_at is not None:
        age = duration(ending.at - started_at)
        seen = f"It was started {moment(started_at)}, {age} before, over {where}."
    text = f"Run {ending.kickoff_id} {_what(ending).rstrip('.')}. {seen} {_still(ending)} {retry}".rstrip()
    if ending.verdict is Verdict.FAILED:
        return CrewRunFailed(text, kickoff_id=ending.kickoff_id, reason=ending.run.reason if ending.run else None)
    kind = CrewAnswerNotFetched if ending.is_unread else _ERRORS[ending.verdict]
    return kind(text, kickoff_id=ending.kickoff_id)


def _what(ending: Ending) -> str:
    said = ending.run.error if ending.run else None
    if ending.is_unread and ending.last:
        how, when = _HOW_IT_ENDED[ending.last.state], moment(ending.last.at)
        return f"was seen to {how} at {when}, and only its answer could not be fetched: {_why_unread(ending)}"
    match ending.verdict:
        case Verdict.FAILED:
            return f"failed: {said or 'the crew gave no reason'}"
        case Verdict.STOPPED:
            return "was stopped before it ended" + (f": {said}" if said else "")
        case Verdict.TIMED_OUT:
            outage = f", and {_trouble(ending)}" if ending.error else ""
            return f"did not end in time{outage}; we stopped waiting"
        case Verdict.LOST:
            return f"is not known to the deployment{_since(ending)}, {_why_lost(ending)}"
        case _:
            seen = "could not be watched any longer" if ending.seen_alive else "could not be looked at"
            return f"{seen}: {_trouble(ending)}"


def _why_unread(ending: Ending) -> str:
    if ending.error:
        return _trouble(ending)
    if ending.verdict is Verdict.LOST:
        return f"the deployment does not know it{_since(ending)}"
    return "the time was up"


def _trouble(ending: Ending) -> str:
    """Write what kept us from looking."""
    error = str(ending.error).rstrip(".")
    match ending.error:
        case CrewAuthError():
            broken = "stopped working" if ending.seen_alive else "does not work"
            return f"the connection {broken}{_since(ending)}: {error}"
        case CrewNotFound() | CrewNotACrew() if ending.verdict is Verdict.UNWATCHABLE:
            return f"no crew answers there ({error})"
    if ending.verdict in (Verdict.UNWATCHABLE, Verdict.TOO_LARGE):
        return error
    if ending.error and out_of_reach(ending.error):
        return f"the connection could not be read{_since(ending)}: {error}"
    return f"the API has not answered{_since(ending)}: {error}"


def _since(ending: Ending) -> str:
    return f" since {moment(ending.since)}" if ending.since is not None else ""


def _why_lost(ending: Ending) -> str:
    if ending.seen_alive:
        return (
            "though it was before. Either it waits for a human (then declare who is told: human_input_webhook), "
            "or the deployment was replaced or has forgotten it"
        )
    return "and never was while we looked. The connection names another deployment, or the kickoff_id is wrong"


def _still(ending: Ending) -> str:
    if ending.verdict in OVER or ending.is_unread:
        return "It is over."
    if ending.verdict is Verdict.LOST or not ending.seen_alive:
        return "Whether it goes on is not known."
    return f"As far as is known the run goes on, and costs what it costs.{_last_seen(ending)}"


def _last_seen(ending: Ending) -> str:
    if ending.run:
        return f" It was last seen {progress(ending.run)}."
    if ending.last and ending.last.state.is_alive:
        return f" It was last seen {ending.last.state} at {moment(ending.last.at)}."
    return ""


def no_run(error: CrewError, *, where: str, retried: bool, earlier: Record | None = None) -> str:
    """Write that there is no run to wait for, or none that can be named.

    :param where: the connection, in words.
    :param retried: whether Airflow will retry the task, if it has retries left.
    :param earlier: what an earlier try has left on record, where nobody has looked at that run.
    """
    if isinstance(error, CrewMayHaveStarted):
        after = "A retry starts another." if retried else "It is not retried; clear the task to start another."
        return f"{str(error).rstrip('.')} (over {where}). {after}"
    if isinstance(error, CrewLedgerError | CrewChangedInputs):
        return f"{str(error).rstrip('.')} (over {where})."
    after = "A retry tries again." if retried else "It is not retried, since a retry would meet the same."
    return f"The crew was not started over {where}: {advice(error).rstrip('.')}. {after}{_left_behind(earlier)}"


def advice(error: CrewError) -> str:
    """Write what kept us from asking the crew, and what to do about it."""
    match error:
        case CrewAuthError():
            return f"The crew refused the token ({error}). Copy the Bearer token from the crew's page again."
        case CrewNotFound() | CrewNotACrew():
            return f"Something answers there, but it is no crew ({error}). Set the host to the crew's own URL."
        case _:
            return str(error)


def _left_behind(earlier: Record | None) -> str:
    if earlier is None:
        return ""
    run = f"Run {earlier.kickoff_id}" if earlier.kickoff_id else "A run that nobody can name"
    return f" {run}, started by try {earlier.try_number} at {moment(earlier.at)}, may still be going on."


def retry_text(ending: Ending, conn_id: str, *, on_record: bool | None, on_clear: OnClear, on_kill: OnKill) -> str:
    """Write what a retry of the task that started the run will do, and what a clear.

    :param on_record: whether the run stands on record; None where nothing is recorded.
    """
    if ending.verdict in OVER:
        return "A retry starts a new run."
    if ending.is_unread or ending.verdict in (Verdict.AUTH_LOST, Verdict.UNWATCHABLE, Verdict.TOO_LARGE):
        command = f"`python -m airflow_provider_crewai status {ending.kickoff_id} --wait --conn-id {conn_id}`"
        return _after_mending(ending, command, on_record, on_clear, on_kill)
    if on_record is None:
        return "A retry or a clear starts a second run beside it, since recovery is off: stop this one first."
    if not on_record:
        return f"Run {ending.kickoff_id} is not on record, so a retry cannot take it up: see to it before you clear."
    lost = ending.verdict is Verdict.LOST
    if on_clear == "reattach":
        # The one way left to a new run.
        other = "; to start another, delete the record `crewai_run`" if lost else ""
        return f"A retry or a clear {_takes_up(lost)} and starts no other{other}."
    return f"A retry {_takes_up(lost)} and starts no other; a clear {_cleared(on_clear, on_kill)}."


def _after_mending(ending: Ending, command: str, on_record: bool | None, on_clear: OnClear, on_kill: OnKill) -> str:
    if not on_record:
        return f"It is not retried, since a retry would pay for a second run; {command} gets this one's answer."
    if ending.is_unread:
        return f"A retry fetches it and starts no other run, and so does {command}."
    clears = f"a clear {_cleared(on_clear, on_kill)}"
    return f"Mend the connection: a retry then {_takes_up()} and starts no other, {clears}, and {command} looks, too."


def _takes_up(lost: bool = False) -> str:
    return "looks for this run again" if lost else "takes this run up again"


def _cleared(on_clear: OnClear, on_kill: OnKill) -> str:
    if on_clear == "reattach":
        return f"{_takes_up()} and starts no other"
    return "stops this run and starts a new one" if on_kill == "stop" else "starts a new run beside this one"
