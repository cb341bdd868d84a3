"""Start, adopt, or refuse on this attempt? A pure decision about the record that earlier attempts left.

A kickoff costs money, cannot be repeated safely and cannot be looked up. So an *intent* is written down
before it is sent, and the *kickoff_id* after it: whoever comes later knows what may be out there.

    record                 what changed since             remote run         move
    ---------------------  -----------------------------  -----------------  ------------------------------
    none                                                                     START
    cannot be read                                                           (error, nothing is sent)
    intent, no id          cleared by a user                                 START
    intent, no id                                                            REFUSE; START if on_orphaned_kickoff=rerun
    kickoff_id             cleared, on_clear=rerun        any                START
    kickoff_id             inputs                         over               START
    kickoff_id             inputs                         any other          START, or REFUSE if on_changed_inputs=fail
    kickoff_id             nothing, or reattach           failed, stopped    START
    kickoff_id             nothing, or reattach           succeeded          ADOPT (its result is returned)
    kickoff_id             nothing, or reattach           any other          ADOPT (and wait for it)
"""

from __future__ import annotations

import enum
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal

from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import JSON, JSONObject, Request, RunState

VERSION = 1
_END_OF_TIME = 1e11
"""Epoch seconds: beyond it (and beside it: NaN) no calendar can say when that was."""

OnChangedInputs = Literal["rerun", "fail"]
OnOrphanedKickoff = Literal["fail", "rerun"]
OnClear = Literal["rerun", "reattach"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What this attempt is about to start.

    :param fingerprint: of the crew and the body, see `fingerprint()`.
    :param crew: the crew's base URL, for the person who reads the record.
    :param try_number: Airflow's count of attempts.
    :param max_tries: changes when a user clears the task, and never on a retry: that tells the two apart (Airflow
        2.11 to 3.3.2; a clear makes it the tries so far plus `retries`, which the author may have lowered meanwhile).
    """

    fingerprint: str
    crew: str
    try_number: int
    max_tries: int


@dataclass(frozen=True, slots=True)
class Record:
    """What an attempt wrote down: an intent, and the kickoff_id once there is one.

    :param at: epoch second of the intent, just before the kickoff was sent.
    """

    fingerprint: str
    crew: str
    try_number: int
    max_tries: int
    at: float
    kickoff_id: str | None = None

    @classmethod
    def intent(cls, claim: Claim, at: float) -> Record:
        """Write down that a kickoff is about to be sent."""
        return cls(claim.fingerprint, claim.crew, claim.try_number, claim.max_tries, at)

    def submitted(self, kickoff_id: str) -> Record:
        """Write down which run it started."""
        return replace(self, kickoff_id=kickoff_id)

    def adopted(self, claim: Claim) -> Record:
        """Write down that this attempt goes on with the run of an earlier one."""
        return replace(self, try_number=claim.try_number, max_tries=claim.max_tries)

    def to_json(self) -> JSONObject:
        """Return what is stored. Keys are readable: people see them in the UI."""
        return {"version": VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, stored: JSON) -> Record:
        """Read what was stored.

        :raises CrewLedgerError: it is not a record of ours, or of a version that we do not know.
        """
        try:
            return cls._from_object(stored)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CrewLedgerError(
                f"The stored record of this task's run cannot be understood: {stored!r}. Nothing was sent, since it "
                "may name a run that goes on: look on the crew's page. A retry meets the same until somebody deletes "
                "the record (`crewai_run` in the task state store, or its file below [crewai] ledger_path)"
            ) from error

    @classmethod
    def _from_object(cls, stored: JSON) -> Record:
        if not isinstance(stored, dict) or stored["version"] != VERSION:
            raise ValueError(stored)
        kickoff_id, at = stored["kickoff_id"], float(stored["at"])  # type: ignore[arg-type]
        if not 0 <= at < _END_OF_TIME:
            raise ValueError(stored)
        return cls(
            fingerprint=str(stored["fingerprint"]),
            crew=str(stored["crew"]),
            try_number=int(stored["try_number"]),  # type: ignore[arg-type]  # a wrong type raises, as it should
            max_tries=int(stored["max_tries"]),  # type: ignore[arg-type]
            at=at,
            kickoff_id=None if kickoff_id is None else str(kickoff_id),
        )


@dataclass(frozen=True, slots=True)
class Rules:
    """What the author of the Dag wants to happen when an attempt finds a record."""

    on_changed_inputs: OnChangedInputs = "rerun"
    on_orphaned_kickoff: OnOrphanedKickoff = "fail"
    on_clear: OnClear = "rerun"


class Move(enum.StrEnum):
    """What an attempt does first."""

    START = "start"
    ADOPT = "adopt"
    REFUSE_ORPHAN = "refuse: an earlier kickoff may have started"
    REFUSE_CHANGED = "refuse: the inputs changed"


@dataclass(frozen=True, slots=True)
class Decision:
    """The move, and why, in words for the log.

    :param superseded: the run that the new one replaces while it may still go on, or None.
    :param cleared: whether it is a user who cleared the task that replaces it.
    """

    move: Move
    why: str
    superseded: str | None = None
    cleared: bool = False


def fingerprint(crew: str, request: Request) -> str:
    """Return a short digest of what a kickoff would start: the crew, its inputs and the state to start from.

    Not `meta`, which names the attempt, nor who is told: a webhook's token may be rotated between two tries.
    """
    body = request.body or {}
    # As JSON has it, where all keys are texts: Python cannot sort a number among them.
    started = json.loads(json.dumps([crew, body.get("inputs"), body.get("restoreFromStateId")]))
    text = json.dumps(started, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def decide(record: Record | None, claim: Claim, rules: Rules, remote: RunState | None = None) -> Decision:
    """Decide what this attempt does first; the table stands at the top of this module.

    :param remote: the state of the recorded run, or None where it could not be read.
    """
    if record is None:
        return Decision(Move.START, "no earlier run of this task is on record")
    cleared = record.max_tries != claim.max_tries
    if record.kickoff_id is None:
        return _after_an_intent(cleared, rules)
    over = remote is not None and remote.is_final
    old = None if over else record.kickoff_id
    if cleared and rules.on_clear == "rerun":
        return Decision(Move.START, "the task was cleared", old, cleared=True)
    if record.fingerprint != claim.fingerprint:
        return _after_a_change(over, old, rules)
    return _after_nothing(remote, cleared)


def _after_an_intent(cleared: bool, rules: Rules) -> Decision:
    if cleared:
        return Decision(Move.START, "the task was cleared after a kickoff whose answer was lost")
    if rules.on_orphaned_kickoff == "rerun":
        return Decision(Move.START, "an earlier kickoff may have started, and on_orphaned_kickoff is 'rerun'")
    return Decision(Move.REFUSE_ORPHAN, "an earlier kickoff was sent, and which run it started is not known")


def _after_a_change(over: bool, old: str | None, rules: Rules) -> Decision:
    if rules.on_changed_inputs == "rerun" or over:
        return Decision(Move.START, "the crew or its inputs changed since the earlier run began", old)
    return Decision(Move.REFUSE_CHANGED, "the crew or its inputs changed since the earlier run began", old)


def _after_nothing(remote: RunState | None, cleared: bool) -> Decision:
    since = "the task was cleared, and on_clear is 'reattach'" if cleared else "this is a retry"
    if remote in (RunState.FAILED, RunState.STOPPED):
        return Decision(Move.START, f"{since}, and the earlier run ended without success")
    return Decision(Move.ADOPT, f"{since}, and the earlier run is {_WORDS.get(remote, 'still going on')}")


_WORDS: Mapping[RunState | None, str] = {
    None: "out of sight",
    RunState.SUCCEEDED: "done",
    RunState.NOT_FOUND: "not in sight",
}
