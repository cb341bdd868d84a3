"""Decides what happens to the run when its task is killed, and stops it.

Airflow tells a worker to end, or cancels a trigger, but does not say why. The task's state in Airflow decides.

In a worker (`is_ended`)

    the task is now                           on_clear              a retry is due and    what happens to the run
                                                                    finds the record
    ----------------------------------------  --------------------  --------------------  -----------------------
    success, failed, skipped, removed         any                   any                   STOP: a user ended it
    deferred, up_for_retry                    any                   any                   leave
    running, or Airflow does not say          any                   yes                   leave: the machine shuts down
    running, or Airflow does not say          any                   no                    STOP: nobody takes it up
    scheduled, queued (Airflow lost track)    any                   yes, no               the same
    restarting, none                          rerun                 any                   STOP: a user cleared it
    restarting, none                          reattach, on record   any                   leave: the next try takes it
    restarting, none                          reattach, no record   any                   STOP: the clear discarded it

In a triggerer: `at_once` judges first, then `by_state`, then `by_xcom`, until one of them can tell. "Kept" means that
the record survives a clear: every record does on 3.3; on 3.4 only one in `[crewai] ledger_path` does. A task that is
not durable has no record.

    Airflow  the task is now                  on_clear, record      what happens to the run
    -------  -------------------------------  --------------------  ---------------------------------------------
    3.4      (not asked)                      rerun                 STOP: Airflow cancels it only for a user
    3.4      (not asked)                      reattach, none        STOP: the next try cannot find it
    any      success, failed, skipped, gone   any                   STOP: a user ended the task
    3.3+     any other, a person responded    any                   leave: the response woke the task
    any      none, scheduled, queued, ...     reattach, kept        leave: the next try takes it up
    3.4      none, scheduled, queued, ...     reattach, not kept    as the next try decides, which its XCom shows; leave
                                                                    if no try begins in time, because a triggerer cannot
                                                                    see whether "keep task state" was ticked
    3.3      deferred, up_for_retry           any, durable          leave: the trigger moved, or the next try decided
    3.3      none, scheduled, queued          rerun, or none        STOP: the task was cleared
    3.3      the same after the deadline      rerun, durable        leave: it may have been woken to time out
    3.3      running                          rerun, durable        leave: the running try handles the run
    3.3      deferred, running, ...           not durable           as XCom says: STOP if it names another run, or
                                                                    if a new try has deleted it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from airflow_provider_crewai.client import flows
from airflow_provider_crewai.client.held import Noun, had_ended, is_stopped
from airflow_provider_crewai.client.ledger import OnClear
from airflow_provider_crewai.wire.errors import CrewError, CrewNotFound, CrewUnknownRun

OnKill = Literal["stop", "leave"]

KILL_PATIENCE = 1.2
"""Seconds. Used three times (whole attempt, connect, read), so a stop takes at most 3.6 s. Airflow gives a killed task
five seconds, and `ASK_PATIENCE` takes one of them."""

ASK_PATIENCE = 1.0
"""Seconds for which a killed task waits for Airflow to say its state."""

UNKNOWN = "unknown"
"""Our state for a task instance when Airflow did not tell us its state."""

GONE = "removed"
"""Our state for a task instance that no longer exists."""

_ENDED = frozenset({"success", "failed", "skipped", GONE, "upstream_failed"})
_GOES_ON = frozenset({"deferred", "up_for_retry", "up_for_reschedule"})
_WAITS = frozenset({None, "scheduled", "queued"})

Judgement = tuple[bool | None, str]
"""Whether the task gave its run up (None: we cannot tell yet), and why, in words."""


def is_left_by_user(state: str | None) -> bool:
    """Return whether a user ended or cleared the task, as its worker sees it. Then a user wants the next try."""
    return state in _ENDED or state in (None, "restarting")


def is_refused(state: str | None) -> bool:
    """Return whether Airflow will refuse to defer the task, because a user ended or cleared it meanwhile."""
    return state in _ENDED or state == "restarting"


def is_ended(
    state: str | None, on_clear: OnClear, *, retried: bool, on_record: bool = True, noun: Noun = "run"
) -> tuple[bool, str]:
    """Return whether the task gave its run up when its worker got SIGTERM, and why.

    A user who ends or clears a task changes its state first. If the state is unchanged, the worker's machine is
    shutting down, or the worker can no longer reach Airflow (3.3.2 ends a task after three lost heartbeats).

    :param state: the task instance's state now, in Airflow's word, or `UNKNOWN`.
    :param retried: whether Airflow retries the task by itself, and the retry takes the run up.
    :param on_record: whether the next try will find the run, if a user cleared the task.
    :param noun: what the task holds: a run, or a batch of them.
    """
    if state in _ENDED:
        return True, f"the task is {state}"
    if state in _GOES_ON:
        return False, f"the task is {state}"
    if not is_left_by_user(state):
        return not retried, f"{_asked(state)}, and {'a' if retried else 'no'} retry takes this {noun} up"
    return _after_a_clear(on_clear, noun, on_record=on_record)


def _asked(state: str | None) -> str:
    match state:
        case "running":
            return "nobody has ended the task"
        case "scheduled" | "queued":
            # A running task that is cleared is "restarting" until its process has ended.
            return f"Airflow lost track of the task, which is {state} again"
    return "Airflow does not say what happened to the task"


def _after_a_clear(on_clear: OnClear, noun: Noun, *, on_record: bool) -> tuple[bool, str]:
    if on_clear == "reattach" and on_record:
        return False, _taken_up(noun)
    if on_clear == "reattach":
        return True, f"{_cleared(noun)}, because this {noun} is no longer on record"
    return True, _cleared(noun)


def _cleared(noun: Noun) -> str:
    return f"the task was cleared, and its next try starts a new {noun}"


def _taken_up(noun: Noun) -> str:
    return f"the task was cleared, and its next try takes this {noun} up"


@dataclass(frozen=True, slots=True)
class Bond:
    """What a trigger knows about its task and its run before it asks Airflow. The runs of a batch share one bond.

    :param kickoff_id: the run's id, or the batch's.
    :param durable: whether a retry of the task finds the run on record.
    :param kept: whether the next try also finds it after a user's clear.
    :param may_have_moved: whether Airflow also cancels a trigger when no user did anything (3.3): the trigger moved to
        another triggerer, or the task was woken from there.
    :param overdue: whether the task's deadline has passed, so that it may have been woken to time out.
    :param responded: whether a person has responded to the task's Required Action, which wakes the task.
    :param noun: what the task holds: a run, or a batch of them.
    """

    kickoff_id: str
    on_clear: OnClear = "rerun"
    durable: bool = False
    kept: bool = False
    may_have_moved: bool = True
    overdue: bool = False
    responded: bool = False
    noun: Noun = "run"

    @property
    def reattaches(self) -> bool:
        """Return whether the next try may take the run up after a clear."""
        return self.on_clear == "reattach" and self.durable


def at_once(bond: Bond) -> Judgement:
    """Judge without asking Airflow."""
    if bond.may_have_moved or bond.reattaches or bond.responded:
        return None, "Airflow has to say what happened to the task"
    return True, "a user ended or cleared the task"


def by_state(state: str | None, bond: Bond, *, doubted: bool = False) -> Judgement:
    """Judge by the task instance's state.

    :param state: the state now, in Airflow's word.
    :param doubted: whether an earlier judgement was None, so that the task did not end while it was deferred.
    """
    if state in _ENDED:
        return (None if doubted else True), f"the task is {state}"
    if bond.responded:
        return False, f"a person has responded, and the task comes back for this {bond.noun}"
    if state in _GOES_ON and bond.may_have_moved:
        return (False if bond.durable else None), f"the task is {state} and still wants it"
    if bond.reattaches:
        not_yet = "the task was cleared, and its next try has not begun"
        return (False, _taken_up(bond.noun)) if bond.kept else (None, not_yet)
    if state in _WAITS and not (bond.overdue or doubted):
        return True, _cleared(bond.noun)
    either = f"the task is {state}, was either cleared or woken, and handles this {bond.noun} itself"
    doubt = f"the task is {state}: it was either cleared, or woken to come back for this {bond.noun}"
    return (False, either) if bond.durable else (None, doubt)


def by_xcom(state: str | None, current: object, bond: Bond, why: str) -> Judgement:
    """Judge by the id that the task instance has in XCom now, when its state cannot tell.

    :param current: the XCom's value; a new try has none until it has a run. What cannot be an id proves nothing.
    :param why: what the state said.
    """
    if current == bond.kickoff_id:
        if state in _ENDED or state in _GOES_ON or not bond.may_have_moved:
            return False, f"the task is {state} and still wants it"
        return None, why
    if isinstance(current, str) and _LIKE_AN_ID.fullmatch(current):
        return True, f"the task has moved on to {bond.noun} {current}"
    if current is not None or (bond.reattaches and state not in _ENDED):
        return None, why
    if state in _GOES_ON:
        return False, f"the task is {state} and still wants it"
    return True, f"the task is {state}" if state in _ENDED else _cleared(bond.noun)


_LIKE_AN_ID = re.compile(r"[\w.-]{1,200}")
"""What a kickoff_id looks like. A path or a URL is a reference that an XCom backend stores instead of the value."""


def kill(kickoff_id: str, patience: float) -> flows.Flow[str]:
    """Stop a run, and return a sentence that says what happened to it. Raises nothing.

    :param patience: seconds for which we try.
    """
    try:
        stopped = yield from flows.stop(kickoff_id, patience)
    except CrewUnknownRun as error:
        return f"Run {kickoff_id} could not be stopped, because the deployment does not know it ({error})."
    except CrewNotFound as error:
        return f"Run {kickoff_id} GOES ON: this deployment has no way to stop a run ({error})."
    except CrewError as error:
        return f"Run {kickoff_id} could not be stopped and may go on: {error}"
    return is_stopped(kickoff_id) if stopped else had_ended(kickoff_id)
