"""Carry out the verbs, with the same client, flows and messages as the operator."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial

from airflow_provider_crewai.cli.arguments import inputs_of, json_object, kickoff_hooks
from airflow_provider_crewai.cli.crew import Crew, open_crew
from airflow_provider_crewai.cli.doctor import examine
from airflow_provider_crewai.cli.outcome import Exit, Outcome, exit_of_ending, exit_of_error, exit_of_state
from airflow_provider_crewai.cli.screen import LiveLine, Screen
from airflow_provider_crewai.client.feedback import APPROVED, Fate, Given
from airflow_provider_crewai.client.flows import look_once
from airflow_provider_crewai.client.inputs import check_names
from airflow_provider_crewai.client.meant import meant
from airflow_provider_crewai.client.messages import progress, said
from airflow_provider_crewai.client.questions import APPROVE, CHANGES
from airflow_provider_crewai.client.watch import Again, Ending, Patience, Verdict, Watch
from airflow_provider_crewai.wire.errors import (
    CrewError,
    CrewFeedbackInDoubt,
    CrewMayHaveStarted,
    CrewNotFound,
    CrewNothingAsked,
    CrewUnknownRun,
)
from airflow_provider_crewai.wire.model import CrewInputs, Feedback, JSONObject, Kickoff, Question, Run
from airflow_provider_crewai.wire.times import duration
from airflow_provider_crewai.wire.words import listing

LOOK_FIRST = "Look for it on the crew's page before you start another"

LONGEST_LOOK = 10.0
"""Seconds between two looks, at most: a person is watching."""

Act = Callable[[argparse.Namespace, Screen, Crew], Outcome]


def act(options: argparse.Namespace) -> int:
    """Carry out a verb, show the outcome, and return the exit code."""
    screen, crew = Screen(as_json=options.json), None
    kickoff_id = getattr(options, "kickoff_id", None)
    try:
        if options.verb == "doctor":
            outcome = examine(options, screen)
        else:
            crew = open_crew(options, screen.note)
            outcome = _ACTS[options.verb](options, screen, crew)
    except CrewError as error:  # its message says what is wrong with the command line or the connection
        outcome = Outcome(exit_of_error(error), str(error), kickoff_id=kickoff_id)
    except KeyboardInterrupt:
        code, said = _cut_short(options.verb, crew)
        outcome = Outcome(code, f"Interrupted{said}.", kickoff_id=kickoff_id)
    screen.show(outcome)
    return outcome.code


def _cut_short(verb: str, crew: Crew | None) -> tuple[Exit, str]:
    """Return the exit code after Ctrl-C outside of waiting, and what may have happened."""
    if crew is None or not crew.client.posted:
        return Exit.INTERRUPTED, ". Nothing was sent that changes anything"
    sent = f" while this was sent to {crew.where}"
    match verb:
        case "kickoff":
            return Exit.MAY_HAVE_STARTED, f"{sent}: a paid run may have started. {LOOK_FIRST}"
        case "resume":
            return Exit.MAY_HAVE_STARTED, f"{sent}: the run may have the answer, or still wait for it"
        case _:
            return Exit.INTERRUPTED, f"{sent}: the run may be stopped, or go on"


def _inputs(_options: argparse.Namespace, _screen: Screen, crew: Crew) -> Outcome:
    try:
        names = crew.client.get_inputs().names
    except CrewError as error:
        said = _said(error)
        return Outcome(exit_of_error(error), f"The crew did not say which inputs it takes over {crew.where}: {said}.")
    return Outcome(Exit.DONE, answer="\n".join(names), more={"inputs": list(names)})


# ---- kickoff ---------------------------------------------------------------------------------------


def _kickoff(options: argparse.Namespace, screen: Screen, crew: Crew) -> Outcome:
    kickoff = replace(
        _hooks(options),
        inputs=inputs_of(options.inputs, options.input),
        meta=json_object(options.meta, "--meta") or None,
        restore_from_state_id=options.restore_from,
    )
    try:
        check = None if options.no_validate else partial(_validate, kickoff, screen)
        kickoff_id, at = crew.client.kickoff(kickoff, check), time.time()
    except CrewError as error:
        return Outcome(exit_of_error(error), _no_run(error, crew))
    started = f"Run {kickoff_id} is started over {crew.where}."
    if _waits(options):
        screen.say(started)
        patience = _patience(options, human_input=kickoff.declares_human_input)
        return _wait(screen, crew, Watch(kickoff_id, patience, started_at=at, seen_alive=True), at)
    again = crew.command("status", kickoff_id, "--wait")
    return Outcome(Exit.DONE, f"{started} For its answer: {again}", kickoff_id, kickoff_id)


def _validate(kickoff: Kickoff, screen: Screen, listed: CrewInputs) -> None:
    missing = check_names(kickoff.inputs, listed.names, unchecked="use --no-validate")
    if missing:
        # Not refused here: a flow has defaults, and a crew refuses by itself before it costs anything.
        screen.say(f"The crew also lists these inputs, which you do not give: {listing(missing)}")


def _no_run(error: CrewError, crew: Crew) -> str:
    if isinstance(error, CrewMayHaveStarted):
        return f"{_said(error)} (over {crew.where}). {LOOK_FIRST}."
    return f"The crew was not started over {crew.where}: {_said(error)}."


# ---- status ----------------------------------------------------------------------------------------


def _status(options: argparse.Namespace, screen: Screen, crew: Crew) -> Outcome:
    kickoff_id = options.kickoff_id
    if _waits(options):
        patience = _patience(options, human_input=options.human_input)
        return _wait(screen, crew, Watch(kickoff_id, patience, started_at=time.time()), None)
    try:
        return _seen(crew.client.get_status(kickoff_id), crew)
    except CrewError as error:
        said = f"Run {kickoff_id} could not be looked at over {crew.where}: {_said(error)}. It may go on."
        return Outcome(exit_of_error(error), said, kickoff_id=kickoff_id)


def _seen(run: Run, crew: Crew) -> Outcome:
    code, kickoff_id = exit_of_state(run.state), run.kickoff_id
    if run.state.is_final:
        return _ended(Ending(Verdict(run.state.value), kickoff_id, time.time(), run), crew, None)
    if code is Exit.STILL_RUNNING:
        answered = _how_to_answer(run.question, kickoff_id, crew) if run.question else None
        return Outcome(code, answered, f"Run {kickoff_id}: {progress(run)}{_judged(run.question)}", kickoff_id, run)
    said = f"Run {kickoff_id} is {progress(run)}, over {crew.where}. It is not known whether it goes on."
    return Outcome(code, said, kickoff_id=kickoff_id, run=run)


def _judged(question: Question | None) -> str:
    """Return what a human is to judge, below the line about a run."""
    return f"\n\n{question.output}" if question and question.output else ""


def _how_to_answer(question: Question, kickoff_id: str, crew: Crew) -> str:
    either = " or ".join(map(shlex.quote, question.options))
    said = f"--answer TEXT, which begins with {either}" if either else "--approve, --feedback TEXT or --answer TEXT"
    return f"Answer it: {crew.command('resume', kickoff_id, '--task', shlex.quote(question.task_id))} with {said}"


# ---- waiting ---------------------------------------------------------------------------------------


def _waits(options: argparse.Namespace) -> bool:
    return options.wait or options.wait_timeout is not None


def _patience(options: argparse.Namespace, *, human_input: bool) -> Patience:
    given = {"poll_interval": options.poll_interval, "unreachable_timeout": options.unreachable_timeout}
    known = {name: value for name, value in given.items() if value is not None}
    longest = max(LONGEST_LOOK, options.poll_interval or 0)
    deadline = None if options.wait_timeout is None else time.time() + options.wait_timeout
    return Patience(max_poll_interval=longest, deadline=deadline, human_input=human_input, **known)


def _wait(screen: Screen, crew: Crew, watch: Watch, started_at: float | None) -> Outcome:
    """Wait for a run, and show how it goes on.

    :param started_at: when it was kicked off, epoch seconds, or None if that is not known.
    """
    observe = LiveLine(screen, watch.kickoff_id, watch.started_at)
    try:
        step = crew.client.drive(look_once(watch, crew.client.dialect, observe))
        ending = crew.client.wait(watch, observe) if isinstance(step, Again) else step
    except KeyboardInterrupt:
        return _interrupted(watch, crew)
    return _ended(ending, crew, started_at)


def _ended(ending: Ending, crew: Crew, started_at: float | None) -> Outcome:
    code, kickoff_id, run = exit_of_ending(ending), ending.kickoff_id, ending.run
    if run is not None and ending.verdict is Verdict.SUCCEEDED:
        after = "" if started_at is None else f", {duration(ending.at - started_at)} after it was started"
        remarks = [f"The answer {remark}." for remark in run.remarks]
        return Outcome(code, "\n".join([f"Run {kickoff_id} succeeded{after}.", *remarks]), run.answer, kickoff_id, run)
    again = () if code is Exit.RUN_FAILED else (f"Look again: {crew.command('status', kickoff_id, '--wait')}",)
    lines = said(ending, started_at=started_at, after="", look=(f"Asked: {crew.where}", *again), whole=True)
    return Outcome(code, "\n".join(lines), kickoff_id=kickoff_id, run=run)


def _interrupted(watch: Watch, crew: Crew) -> Outcome:
    kickoff_id = watch.kickoff_id
    seen = f" It was last seen {progress(watch.run)}." if watch.run else ""
    said = (
        f"Interrupted: we stopped waiting. Run {kickoff_id} goes on over {crew.where}, and still costs money.{seen}\n"
        f"Look again: {crew.command('status', kickoff_id, '--wait')}\n"
        f"Stop it:    {crew.command('stop', kickoff_id)}"
    )
    return Outcome(Exit.INTERRUPTED, said, kickoff_id=kickoff_id, run=watch.run)


# ---- resume and stop -------------------------------------------------------------------------------


def _resume(options: argparse.Namespace, _screen: Screen, crew: Crew) -> Outcome:
    kickoff_id = options.kickoff_id
    hooks = _hooks(options)
    try:
        question = meant(crew.client.get_status(kickoff_id), options.task)
    except CrewNothingAsked as nothing:
        return _nothing_asked(nothing, kickoff_id, crew)
    except CrewError as error:
        said = f"Run {kickoff_id} could not be looked at over {crew.where}, so nothing was answered: {_said(error)}."
        return Outcome(exit_of_error(error), said, kickoff_id=kickoff_id)
    try:
        given = crew.client.give(_feedback(options, question), question, kickoff_id, hooks, again=False)
    except CrewError as error:
        return _not_resumed(error, kickoff_id, crew)
    return _given(given, kickoff_id, crew)


def _given(given: Given, kickoff_id: str, crew: Crew) -> Outcome:
    more: JSONObject = {"fate": given.fate.value, "resumed": asdict(given.resumed)}
    said = f"{given.said} Asked: {crew.where}."
    if given.fate is Fate.TOO_LATE:
        return Outcome(Exit.WRONG_USE, said, kickoff_id=kickoff_id, more=more)
    look = crew.command("status", kickoff_id, "--wait", "--human-input")
    said = f"{said} This does not prove that the run goes on. Look: {look}"
    return Outcome(Exit.DONE, said, kickoff_id=kickoff_id, more=more)


def _nothing_asked(nothing: CrewNothingAsked, kickoff_id: str, crew: Crew) -> Outcome:
    way_out = " Name it with --task." if nothing.retry_helps else ""
    return Outcome(Exit.WRONG_USE, f"{nothing}{way_out} Asked: {crew.where}.", kickoff_id=kickoff_id)


def _feedback(options: argparse.Namespace, question: Question) -> Feedback:
    if options.approve:
        return Feedback(question.key, APPROVED, APPROVE)
    if options.feedback is not None:
        return Feedback(question.key, options.feedback, CHANGES)
    return Feedback(question.key, options.answer)


def _not_resumed(error: CrewError, kickoff_id: str, crew: Crew) -> Outcome:
    in_doubt = isinstance(error, CrewFeedbackInDoubt)
    code = Exit.MAY_HAVE_STARTED if in_doubt else exit_of_error(error)
    what = "may have arrived" if in_doubt else "was not accepted"
    said = f"The answer to run {kickoff_id} {what} over {crew.where}: {_said(error)}."
    return Outcome(code, f"{said} See what it does: {crew.command('status', kickoff_id)}", kickoff_id=kickoff_id)


def _stop(options: argparse.Namespace, _screen: Screen, crew: Crew) -> Outcome:
    kickoff_id = options.kickoff_id
    try:
        stopped = crew.client.stop(kickoff_id)
    except CrewNotFound as error:
        return _unstoppable(error, kickoff_id, crew)
    except CrewError as error:
        said = f"Run {kickoff_id} could not be stopped over {crew.where} and may go on: {_said(error)}."
        return Outcome(exit_of_error(error), said, kickoff_id=kickoff_id)
    said = f"Run {kickoff_id} {'is stopped' if stopped else 'had already ended'}."
    return Outcome(Exit.DONE, said, kickoff_id=kickoff_id, more={"stopped": stopped})


def _unstoppable(error: CrewNotFound, kickoff_id: str, crew: Crew) -> Outcome:
    """Say what the run does after a 404 to the stop: either there is no such run, or no way to stop one."""
    if isinstance(error, CrewUnknownRun):
        said = (
            f"The deployment does not know run {kickoff_id}, so it was not stopped over {crew.where}: {_said(error)}."
        )
        return Outcome(Exit.NOT_FOUND, f"{said} It is not known whether it goes on.", kickoff_id=kickoff_id)
    why = f"This deployment has no way to stop it ({_said(error)})."
    try:
        seen = _seen(crew.client.get_status(kickoff_id), crew)
    except CrewError as unseen:
        said = f"Run {kickoff_id} could not be stopped over {crew.where} and may go on: {_said(error)}."
        return Outcome(exit_of_error(unseen), said, kickoff_id=kickoff_id)
    if seen.code is Exit.STILL_RUNNING:
        return replace(seen, message=f"Run {kickoff_id} GOES ON over {crew.where}. {why}", answer=None)
    return replace(seen, answer=None)


def _hooks(options: argparse.Namespace) -> Kickoff:
    return kickoff_hooks(
        human=options.human_input_webhook,
        task=options.task_webhook,
        step=options.step_webhook,
        crew=options.crew_webhook,
        events=options.webhooks,
    )


def _said(error: CrewError) -> str:
    return str(error).rstrip(".")


_ACTS: dict[str, Act] = {
    "inputs": _inputs,
    "kickoff": _kickoff,
    "status": _status,
    "resume": _resume,
    "stop": _stop,
}
