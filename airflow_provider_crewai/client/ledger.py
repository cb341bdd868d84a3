"""Decides whether a try starts a run, adopts one, or refuses. A pure decision about the record of earlier tries.

A kickoff costs money, cannot be repeated safely and cannot be looked up. So a try records an *intent* before it sends
the kickoff, and the *kickoff_id* after it. Then a later try knows which run may exist.

    record                 what changed since             remote run         move
    ---------------------  -----------------------------  -----------------  ------------------------------
    none                                                                     START
    cannot be read                                                           (error, nothing is sent)
    any                    the Dag run was created again                     START
    intent, no id          its run has called home                           (as with that kickoff_id)
    intent, no id          cleared by a user                                 START
    intent, no id                                                            REFUSE; START if on_orphaned_kickoff=rerun
    kickoff_id             cleared, on_clear=rerun        any                START
    kickoff_id             inputs                         over               START
    kickoff_id             inputs                         any other          START, or REFUSE if on_changed_inputs=fail
    kickoff_id             nothing, or reattach           failed, stopped    START; ADOPT if nobody has read the reason
    kickoff_id             nothing, its answer misfits    any                ADOPT; START if on_output_mismatch=rerun
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
from airflow_provider_crewai.wire.times import iso

VERSION = 1
ABOUT = (
    "What this task knows of its run. If you delete it, the task forgets the run: the next try starts a new run, which "
    "costs money, and a run that still goes on is neither stopped nor taken up."
)
"""For the person who finds the record in Airflow's UI or in a file."""

_END_OF_TIME = 1e11
"""Epoch seconds. No calendar can write a later time, or NaN."""

OnChangedInputs = Literal["rerun", "fail"]
OnOrphanedKickoff = Literal["fail", "rerun"]
OnClear = Literal["rerun", "reattach"]
OnOutputMismatch = Literal["fail", "rerun"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What this try is about to start.

    :param fingerprint: of the crew and the body, see `fingerprint()`.
    :param crew: the crew's base URL, for the person who reads the record.
    :param try_number: Airflow's number of this try.
    :param max_tries: changes when a user clears the task, but never on a retry, so it distinguishes the two (Airflow
        2.11 to 3.4; a clear sets it to the tries so far plus `retries`, which the author may have lowered meanwhile).
    :param dag_run: when the Dag run began, as Airflow says it: a Dag run that was deleted and created again has the
        same names but began at another time.
    :param clears: how often tasks of the Dag run were cleared, this one or another; None if Airflow does not say.
    :param clear_keeps_record: False if there may be no record after a clear: in Airflow 3.4's task state store, unless
        the user ticks "keep task state", and with `[state_store] clear_on_success` after a success.
    """

    fingerprint: str
    crew: str
    try_number: int
    max_tries: int
    dag_run: str = ""
    clear_keeps_record: bool = True
    clears: int | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """What a try recorded: an intent, and the kickoff_id once there is one.

    :param at: epoch second of the intent, just before the kickoff was sent.
    :param dag_run: when the Dag run of that try began; empty if unknown.
    :param cleared: whether a worker was told to end because a user cleared the task: `max_tries` does not show every
        clear of a running task (Airflow 2.11 to 3.3).
    :param clears: how often tasks of the Dag run had been cleared by then.
    :param answered: whether the task returned the run's answer. Then Airflow has no reason to try it again by itself.
    :param unread: whether we saw that the run failed or was stopped, but could not fetch the reason. The next try
        fetches it before it pays for another run.
    :param mismatched: whether the run's answer was not what the task's `output_type` says.
    :param feedback: what a person last said to a question of the run, and whether it was sent; see `feedback.Note`.
    """

    fingerprint: str
    crew: str
    try_number: int
    max_tries: int
    at: float
    kickoff_id: str | None = None
    dag_run: str = ""
    cleared: bool = False
    clears: int | None = None
    answered: bool = False
    unread: bool = False
    mismatched: bool = False
    feedback: JSONObject | None = None

    @classmethod
    def intent(cls, claim: Claim, at: float) -> Record:
        """Return the record of a kickoff that is about to be sent."""
        return cls(
            claim.fingerprint,
            claim.crew,
            claim.try_number,
            claim.max_tries,
            at,
            dag_run=claim.dag_run,
            clears=claim.clears,
        )

    def submitted(self, kickoff_id: str) -> Record:
        """Return the record with the run that the kickoff started."""
        return replace(self, kickoff_id=kickoff_id)

    def adopted(self, claim: Claim) -> Record:
        """Return the record for a try that goes on with the run of an earlier one."""
        return replace(
            self,
            try_number=claim.try_number,
            max_tries=claim.max_tries,
            dag_run=claim.dag_run or self.dag_run,
            cleared=False,
            clears=claim.clears,
            answered=False,
            unread=False,
            mismatched=False,
        )

    def after_a_clear(self) -> Record:
        """Return the record with the note that a user cleared the task while its worker was waiting for the run."""
        return replace(self, cleared=True)

    def after_its_answer(self) -> Record:
        """Return the record with the note that the task returned the run's answer."""
        return replace(self, answered=True)

    def left_unread(self) -> Record:
        """Return the record with the note that the run ended without success, and that nobody has read why."""
        return replace(self, unread=True)

    def left_mismatched(self) -> Record:
        """Return the record with the note that the run's answer is not what the task expects."""
        return replace(self, mismatched=True)

    def is_cleared(self, claim: Claim) -> bool:
        """Return whether a user cleared the task after this was recorded."""
        return self.cleared or self.max_tries != claim.max_tries or self._is_tried_for_a_clear(claim)

    def _is_tried_for_a_clear(self, claim: Claim) -> bool:
        """Return whether a task of the Dag run was cleared since, and Airflow had no reason of its own for this try."""
        if self.clears is None or claim.clears is None or self.clears == claim.clears:
            return False
        return self.answered or self.max_tries < self.try_number < claim.try_number

    def is_of_another_dag_run(self, claim: Claim) -> bool:
        """Return whether the Dag run was deleted and created again with the same run_id after this was recorded."""
        # Neither condition is enough alone: one try may run twice (Airflow 3.4 reschedules without using up a try), and
        # a Dag run that a user queues again while its tasks run gets a new start time.
        return self.try_number >= claim.try_number and "" != self.dag_run != claim.dag_run != ""

    def to_json(self) -> JSONObject:
        """Return what is stored. People see it in the UI, so it says what it is, and gives times as texts, too."""
        return {"about": ABOUT, "version": VERSION, **asdict(self), "kickoff_sent_at": iso(self.at)}

    @classmethod
    def from_json(cls, stored: JSON) -> Record:
        """Return the record that was stored.

        :raises CrewLedgerError: it is not our record, or its version is unknown.
        """
        try:
            return cls._from_object(stored)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CrewLedgerError(
                f"The stored record of this task's run cannot be understood: {stored!r}. Nothing was sent, because the "
                "record may name a run that goes on: look on the crew's page. A retry fails in the same way until "
                "somebody deletes the record (`crewai_run` in the task state store, or its file below [crewai] "
                "ledger_path)"
            ) from error

    @classmethod
    def _from_object(cls, stored: JSON) -> Record:
        if not isinstance(stored, dict) or stored["version"] != VERSION:
            raise ValueError(stored)
        # A wrong type raises, here and below, which is right.
        kickoff_id = stored["kickoff_id"]
        return cls(
            fingerprint=str(stored["fingerprint"]),
            crew=str(stored["crew"]),
            try_number=int(stored["try_number"]),  # type: ignore[arg-type]  # whatever was stored
            max_tries=int(stored["max_tries"]),  # type: ignore[arg-type]  # whatever was stored
            at=stored_number(stored["at"]),
            kickoff_id=None if kickoff_id is None else str(kickoff_id),
            dag_run=str(stored.get("dag_run", "")),
            cleared=bool(stored.get("cleared", False)),
            clears=None if stored.get("clears") is None else int(stored["clears"]),  # type: ignore[arg-type]  # whatever was stored
            answered=bool(stored.get("answered", False)),
            unread=bool(stored.get("unread", False)),
            mismatched=bool(stored.get("mismatched", False)),
            feedback=feedback if isinstance(feedback := stored.get("feedback"), dict) else None,
        )


def stored_number(stored: JSON) -> float:
    """Return a time or a duration that was stored, in seconds.

    :raises TypeError, ValueError, OverflowError: it is none that a calendar can write.
    """
    number = float(stored)  # type: ignore[arg-type]  # whatever was stored
    if not 0 <= number < _END_OF_TIME:
        raise ValueError(stored)
    return number


@dataclass(frozen=True, slots=True)
class Rules:
    """What the Dag's author wants a try to do when it finds a record."""

    on_changed_inputs: OnChangedInputs = "rerun"
    on_orphaned_kickoff: OnOrphanedKickoff = "fail"
    on_clear: OnClear = "rerun"
    on_output_mismatch: OnOutputMismatch = "fail"


class Move(enum.StrEnum):
    """What a try does first."""

    START = "start"
    ADOPT = "adopt"
    REFUSE_ORPHAN = "refuse: an earlier kickoff may have started"
    REFUSE_CHANGED = "refuse: the inputs changed"


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do first, and why, in words for the log.

    :param superseded: the run that the new one replaces although it may still go on, or None.
    """

    move: Move
    why: str
    superseded: str | None = None


def fingerprint(crew: str, request: Request) -> str:
    """Return a short digest of what a kickoff would start: the crew, its inputs and the state to start from.

    It leaves out `meta`, which names the try, and the webhooks, whose tokens may be rotated between two tries.
    """
    body = request.body or {}
    # Through JSON, so that all keys are texts: Python cannot sort texts and numbers together.
    started = json.loads(json.dumps([crew, body.get("inputs"), body.get("restoreFromStateId")]))
    text = json.dumps(started, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def decide(record: Record | None, claim: Claim, rules: Rules, remote: RunState | None = None) -> Decision:
    """Decide what this try does first. The table is at the top of this module.

    :param remote: the state of the recorded run, or None if it could not be read.
    """
    if record is None:
        return Decision(Move.START, _nothing_on_record(claim, rules))
    over = record.mismatched or (remote is not None and remote.is_final)
    old = None if over else record.kickoff_id
    if record.is_of_another_dag_run(claim):
        return Decision(Move.START, "the record is from a deleted Dag run with the same run_id", old)
    cleared = record.is_cleared(claim)
    if record.kickoff_id is None:
        return _after_an_intent(cleared, rules)
    if why := _why_anew(record, rules, cleared):
        return Decision(Move.START, why, old)
    if record.fingerprint != claim.fingerprint:
        return _after_a_change(over, old, rules)
    return _after_nothing(remote, _since(record, claim, cleared), unread=record.unread)


def _nothing_on_record(claim: Claim, rules: Rules) -> str:
    why = "no earlier run of this task is on record"
    if claim.try_number <= 1 or claim.clear_keeps_record or rules.on_clear == "rerun":
        return why
    return (
        f"{why}. If a user cleared the task, Airflow has discarded the record, so a run of an earlier try could not be "
        "taken up and may still be going on: set [crewai] ledger_path, or tick 'keep task state' when you clear"
    )


def _since(record: Record, claim: Claim, cleared: bool) -> str:
    if cleared:
        return "the task was cleared, and on_clear is 'reattach'"
    if record.try_number >= claim.try_number:
        # For example, `airflow tasks test` on a date that has run.
        return "this same try has run before (clear the task to start a new run)"
    return "this is a retry"


def _why_anew(record: Record, rules: Rules, cleared: bool) -> str | None:
    """Return why a run that we know is not taken up, as its author wants, or None."""
    if cleared:
        return "the task was cleared" if rules.on_clear == "rerun" else None
    if record.mismatched and rules.on_output_mismatch == "rerun":
        return "the answer of the earlier run does not fit, and on_output_mismatch is 'rerun'"
    return None


def _after_an_intent(cleared: bool, rules: Rules) -> Decision:
    if cleared:
        return Decision(Move.START, "the task was cleared after a kickoff whose answer was lost")
    if rules.on_orphaned_kickoff == "rerun":
        return Decision(Move.START, "an earlier kickoff may have started, and on_orphaned_kickoff is 'rerun'")
    return Decision(Move.REFUSE_ORPHAN, "an earlier kickoff was sent, and it is not known which run it started")


def _after_a_change(over: bool, old: str | None, rules: Rules) -> Decision:
    if rules.on_changed_inputs == "rerun" or over:
        return Decision(Move.START, "the crew or its inputs changed since the earlier run began", old)
    return Decision(Move.REFUSE_CHANGED, "the crew or its inputs changed since the earlier run began", old)


def _after_nothing(remote: RunState | None, since: str, *, unread: bool) -> Decision:
    if remote in (RunState.FAILED, RunState.STOPPED):
        move, then = (Move.ADOPT, ", but nobody has read why") if unread else (Move.START, "")
        return Decision(move, f"{since}, and the earlier run ended without success{then}")
    return Decision(Move.ADOPT, f"{since}, and the earlier run is {_WORDS.get(remote, 'still going on')}")


_WORDS: Mapping[RunState | None, str] = {
    None: "out of reach",
    RunState.SUCCEEDED: "done",
    RunState.NOT_FOUND: "unknown to the deployment",
}
