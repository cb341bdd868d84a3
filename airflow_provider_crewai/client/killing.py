"""When a task is killed: is its run still wanted, and how is it stopped."""

from __future__ import annotations

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

_ENDED = frozenset({"success", "failed", "skipped", "removed", "upstream_failed"})
_GOES_ON = frozenset({"deferred", "up_for_retry", "up_for_reschedule"})


def is_ended(state: str | None, on_clear: OnClear, *, retried: bool) -> tuple[bool, str]:
    """Whether a run is abandoned by its task, whose process in a worker was told to end, and why, in words.

    A user who ends or clears a task changes its state first. Where the state stands as it was, a worker's machine is
    going down, or the worker cannot reach Airflow any more (3.3.2 ends a task after three lost heartbeats).

    :param state: the task instance's state now, Airflow's word, or `UNKNOWN`.
    :param retried: whether Airflow tries the task again by itself, and that try takes the run up.
    """
    if state in _ENDED:
        return True, f"the task is {state}"
    if state in _GOES_ON:
        return False, f"the task is {state}"
    if state in ("running", UNKNOWN):
        asked = "nobody has ended the task" if state == "running" else "Airflow does not say what became of the task"
        return not retried, f"{asked}, and {'a' if retried else 'no'} retry takes this run up"
    if on_clear == "reattach":
        return False, "the task was cleared, and its next try takes this run up"
    return True, "the task was cleared, and its next try starts a new run"


def is_abandoned(
    state: str | None, current: str | None, ours: str, on_clear: OnClear, *, durable: bool, doubted: bool = False
) -> tuple[bool | None, str]:
    """Whether a run whose trigger was cancelled is abandoned (None: ask again a little later), and why, in words.

    A trigger is cancelled when its row disappears: a user ended or cleared the task, but also when the task
    moved to another triggerer, or was woken, as by a human's answer. After a clear the next try may be running by
    then (its `execute` was seen a second before the old trigger's `on_kill`, Airflow 3.3.2). A try that finds the
    run on record sees to it; without a record, what it waits for decides: a try that starts anew first loses its
    XComs, one that comes back from a deferral keeps them.

    :param state: the task instance's state now, Airflow's word.
    :param current: the kickoff_id that the task instance has in XCom now, or None.
    :param ours: the run of the cancelled trigger.
    :param durable: whether the task's next try finds the run on record.
    :param doubted: whether the answer was None before, so that the task did not end while it was deferred.
    """
    if state in _ENDED and not (doubted and current == ours):
        return True, f"the task is {state}"
    if current not in (None, ours):
        return True, f"the task has moved on to run {current}"
    if state in _GOES_ON or state in _ENDED:
        return False, f"the task is {state} and has not left it"
    if on_clear == "reattach":
        return False, "the task was cleared, and its next try takes this run up"
    return _is_rerun(state, current, durable=durable)


def _is_rerun(state: str | None, current: str | None, *, durable: bool) -> tuple[bool | None, str]:
    if state is None or (current is None and not durable):
        return True, "the task was cleared, and its next try starts a new run"
    if durable:
        return False, f"the task is {state}, either cleared or woken, and sees to this run itself"
    return None, f"the task is {state}, either cleared or woken to come back for it"


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
