"""Begins a run exactly once: the ledger around the kickoff, as a flow.

The process may die between any two steps. The order of the steps makes sure that the next try then finds either the
run, or the warning that there may be one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_crewai.client import defaults, flows, ledger
from airflow_provider_crewai.client.killing import kill
from airflow_provider_crewai.client.ledger import Claim, Decision, Move, Record, Rules
from airflow_provider_crewai.client.watch import Sight
from airflow_provider_crewai.wire.errors import (
    CrewChangedInputs,
    CrewError,
    CrewLedgerError,
    CrewMayHaveStarted,
    CrewTooLate,
)
from airflow_provider_crewai.wire.model import Kickoff, Run, RunState
from airflow_provider_crewai.wire.times import moment

Seal = Callable[[Kickoff, float], Kickoff]

CALL_HOME_PATIENCE = 60.0
"""Seconds after a kickoff in which its run may call home, if the answer to the kickoff was lost."""

LISTEN_EVERY = 2.0
"""Seconds between two looks whether it has called."""


def as_it_is(kickoff: Kickoff, _sent: float) -> Kickoff:
    """Seal a kickoff by adding nothing."""
    return kickoff


@dataclass(frozen=True, slots=True)
class Plan:
    """What to start, and what to do with the record of an earlier try.

    :param stop_replaced: whether to stop the run of an earlier try before a new one takes its place.
    :param warn: called with a sentence if the state that the run shall begin with may be gone.
    :param check: gets the inputs that the crew lists, before a new run is started; raises to refuse it.
    :param confirm: called last before a kickoff; raises if nobody wants the run any more.
    :param patience: seconds for which we try one call.
    :param seal: adds what only the kickoff itself may hold, such as a webhook's credentials; called just before a new
        run is started, with the epoch second that the record will give for the kickoff.
    :param listen: returns the run that has called home about the kickoff of that epoch second, or None; no `listen` if
        no run is asked to.
    :param deadline: epoch second at which the task stops waiting. No kickoff is sent after it.
    """

    kickoff: Kickoff
    claim: Claim
    rules: Rules
    stop_replaced: bool = False
    warn: flows.Say | None = None
    check: flows.Check | None = None
    confirm: Callable[[], None] | None = None
    patience: float = defaults.CALL_PATIENCE
    seal: Seal = as_it_is
    listen: Callable[[float], str | None] | None = None
    deadline: float = math.inf


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that this try now waits for.

    :param at: epoch second at which it was kicked off.
    :param adopted: whether an earlier try started it.
    :param last: what we saw of it when we took it up, or None.
    """

    kickoff_id: str
    at: float
    adopted: bool
    decision: Decision
    last: Sight | None = None


def begin(plan: Plan, dialect: flows.Dialect, say: flows.Say) -> flows.Flow[Begun]:
    """Start the run, or take up the one that an earlier try started.

    :param say: called with a sentence that says what happens next, and why.
    :raises CrewMayHaveStarted: a kickoff was sent, now or earlier, and we do not know which run it started.
    :raises CrewLedgerError: the record cannot be read, or the intent cannot be written. No kickoff was sent.
    :raises CrewChangedInputs: the inputs changed, and the author chose to fail then.
    :raises CrewTooLate: the deadline passed before the kickoff was sent.
    :raises CrewError: the run was not started.
    """
    record = yield from _named((yield from load_record()), plan, say)
    last = yield from _last(record, dialect)
    decision = ledger.decide(record, plan.claim, plan.rules, last.state if last else None)
    if decision.move is Move.START:
        return (yield from _start(plan, record, decision, dialect, say))
    assert record is not None  # noqa: S101 - only START needs no record
    if decision.move is Move.ADOPT and record.kickoff_id is not None:
        return (yield from _adopt(plan, record, record.kickoff_id, decision, last, say))
    raise _refusal(record, decision, plan.rules)


def _adopt(
    plan: Plan, record: Record, kickoff_id: str, decision: Decision, last: Sight | None, say: flows.Say
) -> flows.Flow[Begun]:
    say(f"Taking up run {kickoff_id}: {decision.why}. No new run is started.")
    if error := (yield from _save(record.adopted(plan.claim))):
        # The run is on record anyway, with the number of an earlier try.
        say(f"Run {kickoff_id} is taken up, but this could not be recorded ({error}).")
    return Begun(kickoff_id, record.at, adopted=True, decision=decision, last=last)


def _start(
    plan: Plan, earlier: Record | None, decision: Decision, dialect: flows.Dialect, say: flows.Say
) -> flows.Flow[Begun]:
    yield from in_time(plan.deadline)
    yield from flows.wake(plan.check, plan.patience, plan.deadline)
    yield from _look_for_the_state(plan, dialect)
    yield from in_time(plan.deadline)
    say(f"Starting a new run: {decision.why}.")
    if decision.superseded:
        yield from _leave_behind(plan, decision.superseded, say)
    sent = (yield flows.Pause(0)).now
    kickoff = plan.seal(plan.kickoff, sent)
    if plan.confirm:
        plan.confirm()
    intent = Record.intent(plan.claim, sent)
    if error := (yield from _save(intent)):
        raise CrewLedgerError(
            f"{error} Without the record a crash could lead to a second run, so nothing was sent. A retry tries again."
        )
    kickoff_id = yield from _kickoff(plan, kickoff, earlier, sent, say)
    if error := (yield from _save(intent.submitted(kickoff_id))):
        # The run exists and we know its id: to fail now would be worse than to go on without the record.
        say(f"Run {kickoff_id} was started, but this could not be recorded yet ({error}).")
    return Begun(kickoff_id, intent.at, adopted=False, decision=decision)


def _look_for_the_state(plan: Plan, dialect: flows.Dialect) -> flows.Flow[None]:
    """Warn if the deployment does not know the run whose state the new one shall begin with.

    It accepts any id: without the state the flow silently begins with its defaults, and no answer of the API says so
    (vendor's guide on `restore_from_state_id`; crewai 1.15).
    """
    earlier = plan.kickoff.restore_from_state_id
    if earlier is None or plan.warn is None:
        return
    seen, _ = yield from flows.look(earlier, dialect)
    if isinstance(seen, Run) and seen.state is RunState.NOT_FOUND:
        plan.warn(
            f"The deployment does not know run {earlier}, with whose state the new run shall begin. It may still have "
            "that state, because it forgets runs sooner. If not, the flow begins with its defaults and nobody says so: "
            "compare its answer with the earlier one."
        )


def _kickoff(plan: Plan, kickoff: Kickoff, earlier: Record | None, sent: float, say: flows.Say) -> flows.Flow[str]:
    try:
        yield from in_time(plan.deadline)
        return (yield from flows.kickoff_awake(kickoff, plan.patience, plan.deadline))
    except CrewMayHaveStarted as error:
        if plan.listen:
            say(f"{error} If a run has started, it calls home: waiting {CALL_HOME_PATIENCE:g} seconds for that.")
        now = (yield flows.Pause(0)).now
        if (kickoff_id := (yield from _listen(plan, sent, now + CALL_HOME_PATIENCE))) is None:
            raise
        say(f"Run {kickoff_id} has called home: it is the one that the kickoff started.")
        return kickoff_id
    except CrewError:
        # No run was started, so the intent would be a false alarm for the next try. Put the earlier record back: a run
        # that it names or warns of may still go on.
        yield flows.Save(None if earlier is None else earlier.to_json())
        raise


def _named(record: Record | None, plan: Plan, say: flows.Say) -> flows.Flow[Record | None]:
    """Return the record with the run that it could not name, if that has called home meanwhile."""
    if record is None or record.kickoff_id is not None or record.is_of_another_dag_run(plan.claim):
        return record
    kickoff_id = yield from _listen(plan, record.at, record.at + CALL_HOME_PATIENCE)
    if kickoff_id is None:
        return record
    say(f"Run {kickoff_id} has called home: try {record.try_number} started it, and ended before it knew that.")
    named = record.submitted(kickoff_id)
    yield from _save(named)  # if that fails, the call is still there
    return named


def _listen(plan: Plan, sent: float, until: float) -> flows.Flow[str | None]:
    """Return the run that calls home about a kickoff, or None if none does before it is too late."""
    if plan.listen is None:
        return None
    while True:
        now = (yield flows.Pause(0)).now
        if (kickoff_id := plan.listen(sent)) is not None:
            return kickoff_id
        left = min(until, plan.deadline) - now
        if left <= 0:
            return None
        yield flows.Pause(min(LISTEN_EVERY, left))


def in_time(deadline: float) -> flows.Flow[None]:
    """Go on before the deadline.

    :raises CrewTooLate: it has passed.
    """
    now = (yield flows.Pause(0)).now
    if now >= deadline:
        raise CrewTooLate(f"the deadline passed at {moment(deadline)}, before the kickoff could be sent")


def _leave_behind(plan: Plan, kickoff_id: str, say: flows.Say) -> flows.Flow[None]:
    if plan.stop_replaced:
        left = plan.deadline - (yield flows.Pause(0)).now
        say((yield from kill(kickoff_id, min(plan.patience, left))))
    else:
        say(f"Run {kickoff_id}, started by an earlier try, may still be going on and still cost money.")


def load_record() -> flows.Flow[Record | None]:
    """Return the record of this task's run, or None if there is none.

    :raises CrewLedgerError: it cannot be read, which does not mean that there is none.
    """
    answer = (yield flows.Load()).answer
    if isinstance(answer, CrewError):
        raise answer
    if not isinstance(answer, flows.Stored):
        raise CrewLedgerError("The record of this task's run could not be read. Nothing was sent.")
    return None if answer.record is None else Record.from_json(answer.record)


def _save(record: Record) -> flows.Flow[CrewError | None]:
    answer = (yield flows.Save(record.to_json())).answer
    return answer if isinstance(answer, CrewError) else None


def _last(record: Record | None, dialect: flows.Dialect) -> flows.Flow[Sight | None]:
    """Look at the recorded run once. If no answer comes, the watch waits for it later."""
    if record is None or record.kickoff_id is None:
        return None
    seen, reply = yield from flows.look(record.kickoff_id, dialect)
    return Sight(seen.state, reply.now) if isinstance(seen, Run) else None


def _refusal(record: Record, decision: Decision, rules: Rules) -> CrewError:
    when = moment(record.at)
    if decision.move is Move.REFUSE_CHANGED:
        reattaches = rules.on_clear == "reattach"
        also, way_out = (
            (" or a clear", "set on_clear='rerun' and clear the task") if reattaches else ("", "clear the task")
        )
        return CrewChangedInputs(
            f"The crew or its inputs changed since try {record.try_number} started run {record.kickoff_id} at {when}, "
            f"and on_changed_inputs is 'fail'. That run may still go on. Nothing was sent. While it may, a retry{also} "
            f"refuses again; {way_out} to start a new run."
        )
    return CrewMayHaveStarted(
        f"Try {record.try_number} sent a kickoff at {when} and ended before it knew which run that started. A paid run "
        "may be going on whose kickoff_id is not known. Nothing was sent now.",
        kickoff_id=None,
    )
