"""The words that people read about a run and its endings, in one place.

Everything about an ending is told in a few short lines: what happened, in the crew's own words; whether it still costs
money; what a retry and a clear will do; where to look. The log, the XCom `crew_run` and the run's page show the same.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from textwrap import wrap

from airflow_provider_crewai.client import defaults
from airflow_provider_crewai.client.killing import OnKill
from airflow_provider_crewai.client.ledger import OnClear, Record
from airflow_provider_crewai.client.policy import out_of_reach
from airflow_provider_crewai.client.watch import Ending, Sight, Verdict
from airflow_provider_crewai.wire.errors import (
    CrewAnswerNotFetched,
    CrewAuthError,
    CrewChangedInputs,
    CrewConfigError,
    CrewError,
    CrewFeedbackInDoubt,
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
    CrewRunUnanswered,
    CrewRunUnreachable,
    CrewRunUnwatchable,
)
from airflow_provider_crewai.wire.model import Progress, Question, Run, RunState
from airflow_provider_crewai.wire.times import duration, moment
from airflow_provider_crewai.wire.words import line

WIDTH = 100
"""The most characters of a line: on a laptop, Airflow's UI shows no more beside the grid and the time of a line."""

_ERRORS: dict[Verdict, type[CrewRunError]] = {
    Verdict.STOPPED: CrewRunStopped,
    Verdict.TIMED_OUT: CrewRunTimedOut,
    Verdict.UNREACHABLE: CrewRunUnreachable,
    Verdict.LOST: CrewRunLost,
    Verdict.AUTH_LOST: CrewRunAuthLost,
    Verdict.UNWATCHABLE: CrewRunUnwatchable,
    Verdict.TOO_LARGE: CrewRunUnwatchable,
    Verdict.UNANSWERED: CrewRunUnanswered,
}
_HOW_IT_ENDED = {RunState.SUCCEEDED: "succeed", RunState.FAILED: "fail", RunState.STOPPED: "be stopped"}
_IN_SHORT = {
    Verdict.SUCCEEDED: "succeeded",
    Verdict.FAILED: "failed",
    Verdict.STOPPED: "was stopped before it ended",
    Verdict.TIMED_OUT: "did not end in time",
    Verdict.LOST: "is unknown to the deployment",
    Verdict.UNANSWERED: "asked, and nobody answered in time",
}
OVER = frozenset({Verdict.SUCCEEDED, Verdict.FAILED, Verdict.STOPPED})
"""The verdicts after which the run itself is certainly over."""

INDENT = "  "
WORDS = 180
"""The most characters of the crew's own words: two lines, wherever they are broken."""

LONGEST_TROUBLE = 200
"""The most characters of what kept us from looking: the log has told it before, when it began."""

_SENTENCES = re.compile(r"(?<=[.?!]) (?=[A-Z])")


# ---- while a run goes on ---------------------------------------------------------------------------


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


def waiting(run: Run, *, now: float, started_at: float | None, after: str, look: tuple[str, ...]) -> tuple[str, ...]:
    """Return the lines about a run that a task waits for.

    :param now: the epoch second.
    :param started_at: when the run was kicked off, epoch seconds, or None if that is not known.
    :param after: what a retry and a clear will do.
    :param look: where to look, a line each.
    """
    cost = _counted("It goes on and costs", run, started_at, now, otherwise=" money")
    return (*fill(f"Run {run.kickoff_id} is {progress(run)}.", cost, after), *look)


# ---- at the end of the waiting ---------------------------------------------------------------------


def said(
    ending: Ending, *, started_at: float | None, after: str, look: tuple[str, ...], whole: bool = False
) -> tuple[str, ...]:
    """Return the lines about an ending, each of at most `WIDTH` characters; only `look` may be longer.

    :param started_at: when the run was kicked off, epoch seconds, or None if that is not known.
    :param after: what a retry and a clear will do.
    :param look: where to look, a line each.
    :param whole: whether the crew's own words are not cut.
    """
    words = [f"The crew says: {ending.run.error}"] if whole and ending.run and ending.run.error else None
    told = [*fill(_what(ending)), *(words or fill(*_details(ending)))]
    return (*told, *fill(_cost(ending, started_at), after), *look)


def unusable(
    error: CrewError, ending: Ending, *, started_at: float | None, after: str, look: tuple[str, ...]
) -> tuple[str, ...]:
    """Return the lines about a run that succeeded, and whose answer cannot be returned; see `said`.

    :param error: says what is wrong with the answer.
    """
    what = f"Run {ending.kickoff_id} succeeded, but {error}"
    return (*fill(what, _cost(ending, started_at), after), *look)


def error_of(ending: Ending, *, where: str, lines: tuple[str, ...] = ()) -> CrewRunError:
    """Make the error for an ending that is not a success. Its own text is one line.

    :param where: the connection, in words.
    :param lines: what `said` returned.
    """
    text = f"Run {ending.kickoff_id} {_in_short(ending)} ({where})."
    if ending.verdict is Verdict.FAILED:
        reason = ending.run.reason if ending.run else None
        error: CrewRunError = CrewRunFailed(text, kickoff_id=ending.kickoff_id, reason=reason)
    else:
        kind = CrewAnswerNotFetched if ending.is_unread else _ERRORS[ending.verdict]
        error = kind(text, kickoff_id=ending.kickoff_id)
    error.said = lines
    return error


def _in_short(ending: Ending) -> str:
    if ending.is_unread and ending.last:
        return "ended, and its answer was not fetched"
    unseen = "could not be watched any longer" if ending.seen_alive else "could not be looked at"
    return _IN_SHORT.get(ending.verdict, unseen)


def _what(ending: Ending) -> str:
    run = f"Run {ending.kickoff_id}"
    if ending.is_unread and ending.last:
        return f"{run} was seen to {_HOW_IT_ENDED[ending.last.state]} at {moment(ending.last.at)}."
    match ending.verdict:
        case Verdict.FAILED | Verdict.STOPPED if _crew_task(ending.run):
            how = "failed" if ending.verdict is Verdict.FAILED else "was stopped"
            told = f"{run} {how} {_crew_task(ending.run)}."
            # The exception names the run, too.
            return told if len(told) <= WIDTH else f"The run {how} {_crew_task(ending.run, WIDTH - len(how) - 10)}."
        case Verdict.TIMED_OUT:
            return f"{run} did not end in time; we stopped waiting."
        case Verdict.LOST:
            return f"The deployment has not known run {ending.kickoff_id}{_since(ending)}."
        case _:
            return f"{run} {_in_short(ending)}."


def _crew_task(run: Run | None, room: int = WIDTH) -> str:
    """Return in which crew task a run is or ended: which of how many, its name, its agent."""
    at = run.progress if run else None
    if at is None or at.current is None:
        return f"after {_done(at)} crew tasks" if at and at.completed is not None else ""
    place = f"in crew task {_place(at)}: "
    room -= len(place)
    who = f" ({line(at.current_agent, max(10, room // 2))})" if at.current_agent else ""
    return f"{place}{line(at.current, max(10, room - len(who)))}{who}"


def _place(at: Progress) -> str:
    number = "?" if at.completed is None else str(at.completed + 1)
    return number if at.total is None else f"{number} of {at.total}"


def _done(at: Progress) -> str:
    return f"{at.completed}" if at.total is None else f"{at.completed} of {at.total}"


def _details(ending: Ending) -> Iterator[str]:
    """Yield what explains the first line."""
    match ending.verdict:
        case _ if ending.is_unread:
            yield f"Its answer could not be fetched: {_why_unread(ending)}."
            return
        case Verdict.FAILED | Verdict.STOPPED:
            yield from _crews_words(ending)
            return
        case Verdict.LOST:
            yield _why_lost(ending)
        case _ if ending.error:
            yield f"{_sentence(_trouble(ending))}."
    yield from _last_seen(ending.run, ending.last)


def _crews_words(ending: Ending) -> Iterator[str]:
    run = ending.run
    if run is None or not run.error:
        if ending.verdict is Verdict.FAILED:
            yield "The crew gave no reason."
        return
    # What went wrong stands at the end of a traceback.
    text = (run.reason or run.error).rstrip().splitlines()[-1] if run.error.startswith("Traceback") else run.error
    whole = line(f"The crew says: {text}", 10 * WIDTH)
    pointer = " (whole: XCom crew_run)"
    yield whole if len(whole) <= WORDS and text == run.error else line(whole, WORDS - len(pointer)) + pointer


def _why_unread(ending: Ending) -> str:
    if ending.error:
        return _trouble(ending)
    if ending.verdict is Verdict.LOST:
        return f"it has been unknown to the deployment{_since(ending)}"
    return "the deadline passed"


def _trouble(ending: Ending) -> str:
    """Return what kept us from looking at the run."""
    error = str(ending.error).rstrip(".")
    if not isinstance(ending.error, CrewConfigError):  # which says what to do about it
        error = line(error, LONGEST_TROUBLE)
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
        why = "it waits for a human (set human_input_webhook), is forgotten, or its deployment is new"
        return f"It was known before: {why}."
    return "No look ever showed it: the connection names another deployment, or the kickoff_id is wrong."


def _last_seen(run: Run | None, last: Sight | None) -> Iterator[str]:
    if run and run.state.is_alive and (where := _crew_task(run, WIDTH - 40)):
        yield f"It was last seen {run.state}, {where}."
    elif run and run.state.is_alive:
        yield f"It was last seen {progress(run)}."
    elif last and last.state.is_alive:
        yield f"It was last seen {last.state} at {moment(last.at)}."


def _cost(ending: Ending, started_at: float | None) -> str:
    """Return whether the run still costs money, since when it has, and its tokens."""
    if ending.verdict in OVER or ending.is_unread:
        return _counted("The run is over", ending.run, started_at, ending.at)
    if ending.verdict is Verdict.LOST or not ending.seen_alive:
        return _counted("It may go on and cost", ending.run, started_at, ending.at, otherwise=" money")
    return _counted("It probably goes on and costs", ending.run, started_at, ending.at, otherwise=" money")


def _counted(state: str, run: Run | None, started_at: float | None, now: float, *, otherwise: str = "") -> str:
    """Return the state of a run with what it has cost so far.

    :param otherwise: what to add if that is not known.
    """
    counts = []
    if run and (tokens := run.usage.get("total_tokens")):
        counts.append(f"{tokens:,} tokens")
    if started_at is not None:
        counts.append(f"{_roughly(now - started_at)} since {moment(started_at)}")
    return f"{state}{': ' + ', '.join(counts) if counts else otherwise}."


def _roughly(seconds: float) -> str:
    """Return a duration in its two largest units."""
    return " ".join(duration(seconds).split()[:4])


# ---- without a run ---------------------------------------------------------------------------------


def no_run(
    error: CrewError, *, otherwise: str, after: str, look: tuple[str, ...], earlier: Record | None = None
) -> tuple[str, ...]:
    """Return the lines for a task that has no run to wait for, or cannot name it.

    :param otherwise: what happened, where the kind of the error says nothing.
    :param after: what a retry and a clear will do; see `after_no_run`.
    :param look: where to look, a line each.
    :param earlier: what an earlier try has left on record, if nobody has looked at that run.
    """
    tells = isinstance(error, CrewMayHaveStarted | CrewLedgerError | CrewChangedInputs)
    what = advice(error) if tells else f"{otherwise}: {advice(error)}"
    return (*fill(what, *_left_behind(error, earlier), after), *look)


def no_run_in_short(error: CrewError, otherwise: str) -> str:
    """Return in a few words what became of a kickoff.

    :param otherwise: what to say where the kind of the error says nothing.
    """
    match error:
        case CrewMayHaveStarted():
            return "A paid run may have started"
        case CrewLedgerError():
            return "The record of this task's run cannot be used"
        case CrewChangedInputs():
            return "The crew or its inputs changed since the earlier run began"
        case _:
            return otherwise


def after_no_run(error: CrewError, *, retried: bool, rescheduled: bool = False) -> str:
    """Return what a retry and a clear will do where no run was started, or none that can be named.

    :param retried: whether Airflow will retry the task, if it has retries left.
    :param rescheduled: whether a retry policy may let the task try again later instead.
    """
    match error:
        case CrewMayHaveStarted():
            never = "The task is not retried. To start another run, clear it or set on_orphaned_kickoff='rerun'."
            return "A retry or a clear starts another run." if retried else never
        case CrewLedgerError() | CrewChangedInputs():
            return ""  # they say it themselves: it depends on what happened
    if rescheduled:
        return "The task's retry policy decides whether it is tried again later; a clear tries again now."
    if retried:
        return "A retry or a clear tries again."
    return "The task is not retried, because a retry would fail in the same way."


def no_feedback(error: CrewError, kickoff_id: str | None, conn_id: str, *, retried: bool) -> tuple[str, ...]:
    """Return the lines for a person's feedback that did not reach its run, as far as is known.

    :param retried: whether Airflow will retry the task, if it has retries left.
    """
    what = f"The feedback was not given over connection {conn_id!r}: {advice(error)}"
    if isinstance(error, CrewFeedbackInDoubt):
        what = advice(error)
        after = "A retry looks at the run again, and sends the feedback only if the run still shows the same question."
    elif retried:
        after = "A retry or a clear tries again. Neither sends twice what may have arrived."
    else:
        after = "The task is not retried. A clear looks at the run anew, and answers what it asks then."
    look = () if kickoff_id is None else look_at(None, kickoff_id, conn_id, fetch=False)
    return (*fill(what, after), *look)


def look_at_crew(error: CrewError, url: str | None, crew: str | None, conn_id: str) -> tuple[str, ...]:
    """Return the lines that say where to look where there is no run, or none that can be named.

    :param url: a page about the task's run, or None.
    :param crew: the crew's base URL, if it is known.
    """
    if isinstance(error, CrewMayHaveStarted):
        page = f"Look for it on the page of the crew {crew}, among the runs started at that time."
        return (*((f"Look: {url}",) if url else ()), page)
    return (
        f"Look: {url}" if url else f"Check the connection: python -m airflow_provider_crewai inputs{_flag(conn_id)}",
    )


def advice(error: CrewError) -> str:
    """Return what kept us from asking the crew, and what to do about it."""
    match error:
        case CrewAuthError():
            return f"The crew refused the token ({error}). Copy the Bearer token from the crew's page again."
        case CrewNotFound() | CrewNotACrew():
            return f"Something answers there, but it is not a crew ({error}). Set the host to the crew's own URL."
        case _:
            return f"{_sentence(str(error).rstrip('.'))}."


def _left_behind(error: CrewError, earlier: Record | None) -> Iterator[str]:
    if earlier is None or isinstance(error, CrewLedgerError | CrewChangedInputs | CrewMayHaveStarted):
        return
    run = f"Run {earlier.kickoff_id}" if earlier.kickoff_id else "A run whose kickoff_id we do not know"
    yield f"{run}, started by try {earlier.try_number} at {moment(earlier.at)}, may still be going on."


# ---- what comes next -------------------------------------------------------------------------------


def retry_text(ending: Ending | None, *, on_record: bool | None, on_clear: OnClear, on_kill: OnKill) -> str:
    """Return what a retry of the task that started the run will do, and what a clear will do.

    :param ending: how the waiting ended, or None while it goes on.
    :param on_record: whether the run is on record; None if nothing is recorded.
    """
    if ending and ending.verdict in OVER:
        return _after_the_end(ending, on_record, on_clear)
    if ending and ending.needs_a_hand:
        return _after_mending(ending, on_record, on_clear, on_kill)
    if on_record is None:
        return "Recovery is off, so a retry or a clear starts a second run beside this one: stop this one first."
    if not on_record:
        return "It is not on record, so a retry cannot take it up: check the crew's page before you clear the task."
    lost = ending is not None and ending.verdict is Verdict.LOST
    if on_clear == "reattach":
        # Nothing else leads to a new run.
        other = "; for a new one, delete the record `crewai_run`" if lost else ""
        return f"A retry or a clear {_takes_up(lost)}{other or ' and starts no new one'}."
    return f"A retry {_takes_up(lost)} and starts no new one; a clear {_cleared(on_kill)}."


def _after_the_end(ending: Ending, on_record: bool | None, on_clear: OnClear) -> str:
    if ending.verdict is not Verdict.SUCCEEDED:
        return "A retry or a clear starts a new run."
    return f"A clear {'returns this answer again' if on_record and on_clear == 'reattach' else 'starts a new run'}."


def _after_mending(ending: Ending, on_record: bool | None, on_clear: OnClear, on_kill: OnKill) -> str:
    if not on_record:
        return "The task is not retried, because a retry would pay for a second run; so would a clear."
    who = "a retry or a clear" if on_clear == "reattach" else "a retry"
    if ending.is_unread:
        clears = "" if on_clear == "reattach" else "; a clear starts a new run"
        return f"{who.capitalize()} fetches the answer and starts no new run{clears}."
    clears = "" if on_clear == "reattach" else f"; a clear {_cleared(on_kill)}"
    return f"Fix the connection: {who} then {_takes_up()}{clears}."


def _takes_up(lost: bool = False) -> str:
    return "looks for this run again" if lost else "takes this run up again"


def _cleared(on_kill: OnKill) -> str:
    return "stops it and starts a new one" if on_kill == "stop" else "starts a new run beside this one"


def look_at(url: str | None, kickoff_id: str, conn_id: str, *, fetch: bool) -> tuple[str, ...]:
    """Return the lines that say where to look at a run.

    :param url: a page about the run, or None.
    :param fetch: whether the command that fetches the answer is told, too.
    """
    command = f"python -m airflow_provider_crewai status {shlex.quote(kickoff_id)}{_flag(conn_id)}"
    page = (f"Look: {url}",) if url else ()
    if fetch:
        return (*page, f"Fetch its answer: {command} --wait")
    return page or (f"Look: {command}",)


def how_to_answer(question: Question, kickoff_id: str, conn_id: str) -> str:
    """Return the command that answers a question; a person replaces the text in it."""
    named = f"{shlex.quote(kickoff_id)} --task {shlex.quote(question.task_id)} --answer 'YOUR WORDS'"
    return f"python -m airflow_provider_crewai resume {named}{_flag(conn_id)}"


def _flag(conn_id: str) -> str:
    return "" if conn_id == defaults.CONN_ID else f" --conn-id {shlex.quote(conn_id)}"


# ---- on coming back --------------------------------------------------------------------------------


def back(kickoff_id: str, event: Mapping[str, object], waited: float) -> str:
    """Return the line that repeats in the worker what the trigger saw.

    :param event: the trigger's; it may come from an older or a newer version.
    :param waited: seconds since the run was kicked off, or since the waiting began.
    """
    state = event.get("state")
    seen = [f"it was seen {state}"] if state in tuple(RunState) else []
    done, total, tokens = (_count(event.get(name)) for name in ("crew_tasks_done", "crew_tasks_total", "tokens"))
    if done is not None:
        seen.append(f"{_done(Progress(done, total))} crew tasks done")
    if tokens:
        seen.append(f"{tokens:,} tokens")
    told = ", ".join(seen) or "it was not seen"
    return f"Run {kickoff_id}: back from the triggerer after {duration(waited)}; {told}."


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def fill(*texts: str) -> list[str]:
    """Return the texts as lines of at most `WIDTH` characters."""
    """Return texts in lines of at most `WIDTH` characters, each from a new line on."""
    return [piece for text in texts for piece in _filled(text)]


def _filled(text: str) -> list[str]:
    """Return a text in lines. All but the first are indented, so that nothing in it can look like a line of ours."""
    lines: list[str] = []
    for sentence in _SENTENCES.split(text):
        if lines and len(lines[-1]) + 1 + len(sentence) <= WIDTH:
            lines[-1] += f" {sentence}"
        else:
            lines += _wrapped(sentence, INDENT if lines else "")
    return lines


def _wrapped(text: str, indent: str) -> list[str]:
    # No word is broken, so that a path or a URL can be copied.
    return wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=INDENT, break_long_words=False, break_on_hyphens=False
    )


def _sentence(text: str) -> str:
    """Return a text with a capital at its head, unless that is the name of an argument."""
    return text[:1].upper() + text[1:] if text.startswith(("the ", "no ", "a ")) else text
