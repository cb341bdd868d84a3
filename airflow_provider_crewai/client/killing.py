"""When a task is killed: is its run still wanted, and how is it stopped.

A worker is told to end, or a trigger is cancelled, and neither is told why. What Airflow says of the task decides.

In a worker (`is_ended`)

    the task is now                           on_clear              a retry is due and    what becomes of the run
                                                                    finds the record
    ----------------------------------------  --------------------  --------------------  -----------------------
    success, failed, skipped, removed         any                   any                   STOP: a user ended it
    deferred, up_for_retry                    any                   any                   leave
    running, or Airflow does not say          any                   yes                   leave: a machine goes down
    running, or Airflow does not say          any                   no                    STOP: nobody takes it up
    scheduled, queued (Airflow lost sight)    any                   yes, no               the same
    restarting, none                          rerun                 any                   STOP: a user cleared it
    restarting, none                          reattach, on record   any                   leave: the next try takes it
    restarting, none                          reattach, no record   any                   STOP: the clear discarded it

In a triggerer (`at_once`, then `by_state`, then `by_xcom`, as long as what is known does not decide). "Kept" says
whether a record outlives a clear: on 3.3 each does, on 3.4 only one in `[crewai] ledger_path`. A task that is not
durable has none.

    Airflow  the task is now                  on_clear, record      what becomes of the run
    -------  -------------------------------  --------------------  ---------------------------------------------
    3.4      (not asked)                      rerun                 STOP: only a user makes Airflow cancel it
    3.4      (not asked)                      reattach, none        STOP: the next try cannot find it
    any      success, failed, skipped, gone   any                   STOP: a user ended the task
    any      none, scheduled, queued, ...     reattach, kept        leave: the next try takes it up
    3.4      none, scheduled, queued, ...     reattach, not kept    as the next try decides, seen by its XCom; leave
                                                                    if none begins in time, since a ticked "keep task
                                                                    state" cannot be told from here
    3.3      deferred, up_for_retry           any, durable          leave: the trigger moved, or the next try saw to it
    3.3      none, scheduled, queued          rerun, or none        STOP: the task was cleared
    3.3      the same after the deadline      rerun, durable        leave: it may have been woken to fail with that
    3.3      running                          rerun, durable        leave: the try that runs sees to the run
    3.3      deferred, running, ...           not durable           as XCom says: STOP where it names another run, or
                                                                    where a new try has wiped it
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from airflow_provider_crewai.client import flows
from airflow_provider_crewai.client.ledger import OnClear
from airflow_provider_crewai.wire.errors import CrewError, CrewNotFound, CrewUnknownRun

OnKill = Literal["stop", "leave"]

KILL_PATIENCE = 1.2
"""Seconds within which stopping a run from a worker may be tried, and for which a try may wait to connect, and for an
answer: 3.6 in all, where Airflow gives a killed task five, and one of those goes for `ASK_PATIENCE`."""

ASK_PATIENCE = 1.0
"""Seconds for which a killed task asks Airflow what became of it."""

UNKNOWN = "unknown"
"""Stands for the state of a task instance that could not be asked for."""

GONE = "removed"
"""The state of a task instance that there is no more."""

_ENDED = frozenset({"success", "failed", "skipped", GONE, "upstream_failed"})
_GOES_ON = frozenset({"deferred", "up_for_retry", "up_for_reschedule"})
_WAITS = frozenset({None, "scheduled", "queued"})

_CLEARED = "the task was cleared, and its next try starts a new run"
_TAKEN_UP = "the task was cleared, and its next try takes this run up"

Judgement = tuple[bool | None, str]
"""Whether a run is abandoned (None: what is known does not tell), and why, in words."""


def is_left_by_user(state: str | None) -> bool:
    """Whether a user has ended or cleared a task, as its worker sees: the next try is one that a user wants."""
    return state in _ENDED or state in (None, "restarting")


def is_refused(state: str | None) -> bool:
    """Whether Airflow will refuse to defer a task, since a user has ended or cleared it meanwhile."""
    return state in _ENDED or state == "restarting"


def is_ended(state: str | None, on_clear: OnClear, *, retried: bool, on_record: bool = True) -> tuple[bool, str]:
    """Whether a run is abandoned by its task, whose process in a worker was told to end, and why, in words.

    A user who ends or clears a task changes its state first. Where the state stands as it was, a worker's machine is
    going down, or the worker cannot reach Airflow any more (3.3.2 ends a task after three lost heartbeats).

    :param state: the task instance's state now, Airflow's word, or `UNKNOWN`.
    :param retried: whether Airflow tries the task again by itself, and that try takes the run up.
    :param on_record: whether the next try will find the run, if a user cleared the task.
    """
    if state in _ENDED:
        return True, f"the task is {state}"
    if state in _GOES_ON:
        return False, f"the task is {state}"
    if not is_left_by_user(state):
        return not retried, f"{_asked(state)}, and {'a' if retried else 'no'} retry takes this run up"
    return _after_a_clear(on_clear, on_record=on_record)


def _asked(state: str | None) -> str:
    match state:
        case "running":
            return "nobody has ended the task"
        case "scheduled" | "queued":
            # A running task that is cleared is "restarting" until its process has ended.
            return f"Airflow lost sight of the task, which is {state} again"
    return "Airflow does not say what became of the task"


def _after_a_clear(on_clear: OnClear, *, on_record: bool) -> tuple[bool, str]:
    if on_clear == "reattach" and on_record:
        return False, _TAKEN_UP
    if on_clear == "reattach":
        return True, f"{_CLEARED}, since nothing of this one is on record any more"
    return True, _CLEARED


@dataclass(frozen=True, slots=True)
class Bond:
    """What a trigger knows about its task and its run before it asks anything.

    :param kickoff_id: the run.
    :param durable: whether a retry of the task finds the run on record.
    :param kept: whether the next try finds it after a user's clear, too.
    :param may_have_moved: whether Airflow cancels a trigger also where no user did anything (3.3): the trigger moved to
        another triggerer, or the task was woken from there.
    :param overdue: whether the task's deadline has passed, so that it may have been woken to say so.
    """

    kickoff_id: str
    on_clear: OnClear = "rerun"
    durable: bool = False
    kept: bool = False
    may_have_moved: bool = True
    overdue: bool = False

    @property
    def reattaches(self) -> bool:
        """Whether the next try may take the run up after a clear."""
        return self.on_clear == "reattach" and self.durable


def at_once(bond: Bond) -> Judgement:
    """Judge without asking Airflow for anything."""
    if bond.may_have_moved or bond.reattaches:
        return None, "Airflow has to say what became of the task"
    return True, "a user ended or cleared the task"


def by_state(state: str | None, bond: Bond, *, doubted: bool = False) -> Judgement:
    """Judge by the task instance's state.

    :param state: Airflow's word, now.
    :param doubted: whether a judgement was None before, so that the task did not end while it was deferred.
    """
    if state in _ENDED:
        return (None if doubted else True), f"the task is {state}"
    if state in _GOES_ON and bond.may_have_moved:
        return (False if bond.durable else None), f"the task is {state} and has not left it"
    if bond.reattaches:
        return (False, _TAKEN_UP) if bond.kept else (None, "the task was cleared, and its next try has not begun")
    if state in _WAITS and not (bond.overdue or doubted):
        return True, _CLEARED
    if bond.durable:
        return False, f"the task is {state}, either cleared or woken, and sees to this run itself"
    return None, f"the task is {state}, either cleared or woken to come back for it"


def by_xcom(state: str | None, current: object, bond: Bond, why: str) -> Judgement:
    """Judge by the kickoff_id that the task instance has in XCom now, where its state does not tell.

    :param current: the XCom's value; a new try has none before it has a run. What is no kickoff_id proves nothing.
    :param why: what the state said.
    """
    if current == bond.kickoff_id:
        if state in _ENDED or state in _GOES_ON or not bond.may_have_moved:
            return False, f"the task is {state} and has not left it"
        return None, why
    if isinstance(current, str) and _LIKE_AN_ID.fullmatch(current):
        return True, f"the task has moved on to run {current}"
    if current is not None or (bond.reattaches and state not in _ENDED):
        return None, why
    if state in _GOES_ON:
        return False, f"the task is {state} and has not left it"
    return True, f"the task is {state}" if state in _ENDED else _CLEARED


_LIKE_AN_ID = re.compile(r"[\w.-]{1,200}")
"""What an id of a run looks like. A path or a URL is a reference that somebody's XCom backend stores in its place."""


def kill(kickoff_id: str, patience: float) -> flows.Flow[str]:
    """Stop a run, and return in a sentence what became of it. Raises nothing.

    :param patience: seconds for which it is tried.
    """
    try:
        stopped = yield from flows.stop(kickoff_id, patience)
    except CrewUnknownRun as error:
        return f"Run {kickoff_id} is not known to the deployment, so it could not be stopped ({error})."
    except CrewNotFound as error:
        return f"Run {kickoff_id} GOES ON: this deployment has no way to stop a run ({error})."
    except CrewError as error:
        return f"Run {kickoff_id} could not be stopped and may go on: {error}"
    return f"Run {kickoff_id} is stopped." if stopped else f"Run {kickoff_id} had already ended."
