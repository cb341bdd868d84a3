"""The words that people read about a run and its endings, in one place."""

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
    """Return what one look at the run showed, for one line of a log."""
    return progress(seen) if isinstance(seen, Run) else f"no usable answer ({line(str(seen), 500)})"


def progress(run: Run) -> str:
    """Return where a run stands, for one line of a log."""
    match run.state:
        case RunState.UNKNOWN:
            return f"in the unknown state {run.word!r}, which counts as running"
        case RunState.PAUSED:
            return f"waiting for a human: {run.question}" if run.question else "waiting for a human"
        case RunState.NOT_FOUND:
            return "not known to the deployment just now (a run that waits for a human looks the same)"
        case _:
            return f"{run.state}, {run.progress}" if run.progress else run.state.value


def trying_again(error: CrewError, seconds: float, until: float) -> str:
    """Return the line that says why, when and until when we try again."""
    what = "The connection cannot be read" if out_of_reach(error) else "The crew cannot be reached"
    return f"{what} ({str(error).rstrip('.')}). Trying again in {duration(seconds)}, until {moment(until)}."


def error_of(ending: Ending, *, where: str, started_at: float | None, retry: str) -> CrewRunError:
    """Make the error for an ending that is not a success.

    :param where: the connection, in words.
    :param started_at: when the run was kicked off, epoch seconds, or None if unknown.
    :param retry: what a retry will do, as a sentence; may be empty.
    """
    seen = f"We {'looked' if ending.run else 'tried to look'} at it over {where}."
    if started_at is not None:
        age = duration(ending.at - started_at)
        seen = f"It was started at {moment(started_at)}, {age} ago, over {where}."
    text = f"Run {ending.kickoff_id} {_what(ending).rstrip('.')}. {seen} {_still(ending)} {retry}".rstrip()
    if ending.verdict is Verdict.FAILED:
        return CrewRunFailed(text, kickoff_id=ending.kickoff_id, reason=ending.run.reason if ending.run else None)
    kind = CrewAnswerNotFetched if ending.is_unread else _ERRORS[ending.verdict]
    return kind(text, kickoff_id=ending.kickoff_id)


def _what(ending: Ending) -> str:
    said = ending.run.error if ending.run else None
    if ending.is_unread and ending.last:
        how, when = _HOW_IT_ENDED[ending.last.state], moment(ending.last.at)
        return f"was seen to {how} at {when}; only its answer could not be fetched: {_why_unread(ending)}"
    match ending.verdict:
        case Verdict.FAILED:
            return f"failed: {said or 'the crew gave no reason'}"
        case Verdict.STOPPED:
            return "was stopped before it ended" + (f": {said}" if said else "")
        case Verdict.TIMED_OUT:
            outage = f", and {_trouble(ending)}" if ending.error else ""
            return f"did not end in time{outage}; we stopped waiting"
        case Verdict.LOST:
            return f"has been unknown to the deployment{_since(ending)}{_why_lost(ending)}"
        case _:
            seen = "could not be watched any longer" if ending.seen_alive else "could not be looked at"
            return f"{seen}: {_trouble(ending)}"


def _why_unread(ending: Ending) -> str:
    if ending.error:
        return _trouble(ending)
    if ending.verdict is Verdict.LOST:
        return f"it has been unknown to the deployment{_since(ending)}"
    return "the deadline passed"


def _trouble(ending: Ending) -> str:
    """Return what kept us from looking at the run."""
    error = str(ending.error).rstrip(".")
    match ending.error:
        case CrewAuthError():
            broken = (
                f"stopped working{_since(ending, 'at')}" if ending.seen_alive else f"has not worked{_since(ending)}"
            )
            return f"the connection {broken}: {error}"
        case CrewNotFound() | CrewNotACrew() if ending.verdict is Verdict.UNWATCHABLE:
            return f"no crew answers there ({error})"
    if ending.verdict in (Verdict.UNWATCHABLE, Verdict.TOO_LARGE):
        return error
    if ending.error and out_of_reach(ending.error):
        return f"the connection could not be read{_since(ending)}: {error}"
    return f"the API has not answered{_since(ending)}: {error}"


def _since(ending: Ending, word: str = "since") -> str:
    return f" {word} {moment(ending.since)}" if ending.since is not None else ""


def _why_lost(ending: Ending) -> str:
    if ending.seen_alive:
        return (
            ". It was known before. Either it waits for a human (then set human_input_webhook, so that somebody is "
            "told), or the deployment was replaced, or it has forgotten the run"
        )
    return ", at every look. The connection names another deployment, or the kickoff_id is wrong"


def _still(ending: Ending) -> str:
    if ending.verdict in OVER or ending.is_unread:
        return "The run is over."
    if ending.verdict is Verdict.LOST or not ending.seen_alive:
        return "It is not known whether the run goes on."
    return f"The run is probably still going, and still costing money.{_last_seen(ending)}"


def _last_seen(ending: Ending) -> str:
    if ending.run:
        return f" It was last seen {progress(ending.run)}."
    if ending.last and ending.last.state.is_alive:
        return f" It was last seen {ending.last.state} at {moment(ending.last.at)}."
    return ""


def no_run(error: CrewError, *, where: str, retried: bool, earlier: Record | None = None) -> str:
    """Return the message for a task that has no run to wait for, or none whose kickoff_id is known.

    :param where: the connection, in words.
    :param retried: whether Airflow will retry the task, if it has retries left.
    :param earlier: what an earlier try has left on record, if nobody has looked at that run.
    """
    if isinstance(error, CrewMayHaveStarted):
        never = "The task is not retried; clear it to start another run."
        after = "A retry starts another run." if retried else never
        return f"{str(error).rstrip('.')} (over {where}). {after}"
    if isinstance(error, CrewLedgerError | CrewChangedInputs):
        return f"{str(error).rstrip('.')} (over {where})."
    after = (
        "A retry tries again." if retried else "The task is not retried, because a retry would fail in the same way."
    )
    return f"The crew was not started over {where}: {advice(error).rstrip('.')}. {after}{_left_behind(earlier)}"


def advice(error: CrewError) -> str:
    """Return what kept us from asking the crew, and what to do about it."""
    match error:
        case CrewAuthError():
            return f"The crew refused the token ({error}). Copy the Bearer token from the crew's page again."
        case CrewNotFound() | CrewNotACrew():
            return f"Something answers there, but it is not a crew ({error}). Set the host to the crew's own URL."
        case _:
            return str(error)


def _left_behind(earlier: Record | None) -> str:
    if earlier is None:
        return ""
    run = f"Run {earlier.kickoff_id}" if earlier.kickoff_id else "A run whose kickoff_id we do not know"
    return f" {run}, started by try {earlier.try_number} at {moment(earlier.at)}, may still be going on."


def retry_text(ending: Ending, conn_id: str, *, on_record: bool | None, on_clear: OnClear, on_kill: OnKill) -> str:
    """Return what a retry of the task that started the run will do, and what a clear will do.

    :param on_record: whether the run is on record; None if nothing is recorded.
    """
    if ending.verdict in OVER:
        return "A retry starts a new run."
    if ending.is_unread or ending.verdict in (Verdict.AUTH_LOST, Verdict.UNWATCHABLE, Verdict.TOO_LARGE):
        command = f"`python -m airflow_provider_crewai status {ending.kickoff_id} --wait --conn-id {conn_id}`"
        return _after_mending(ending, command, on_record, on_clear, on_kill)
    if on_record is None:
        return "Recovery is off, so a retry or a clear starts a second run beside this one: stop this one first."
    if not on_record:
        return (
            f"Run {ending.kickoff_id} is not on record, so a retry cannot take it up: check it on the crew's page "
            "before you clear the task."
        )
    lost = ending.verdict is Verdict.LOST
    if on_clear == "reattach":
        # Nothing else leads to a new run.
        other = "; to start a new one, delete the record `crewai_run`" if lost else ""
        return f"A retry or a clear {_takes_up(lost)} and starts no new one{other}."
    return f"A retry {_takes_up(lost)} and starts no new one; a clear {_cleared(on_clear, on_kill)}."


def _after_mending(ending: Ending, command: str, on_record: bool | None, on_clear: OnClear, on_kill: OnKill) -> str:
    if not on_record:
        never = "The task is not retried, because a retry would pay for a second run"
        return f"{never}; {command} fetches this run's answer."
    if ending.is_unread:
        return f"A retry fetches the answer and starts no new run. To fetch it yourself, run {command}."
    clears = f"a clear {_cleared(on_clear, on_kill)}"
    return f"Fix the connection: a retry then {_takes_up()} and starts no new one; {clears}; {command} shows the run."


def _takes_up(lost: bool = False) -> str:
    return "looks for this run again" if lost else "takes this run up again"


def _cleared(on_clear: OnClear, on_kill: OnKill) -> str:
    if on_clear == "reattach":
        return f"{_takes_up()} and starts no new one"
    return "stops this run and starts a new one" if on_kill == "stop" else "starts a new run beside this one"
