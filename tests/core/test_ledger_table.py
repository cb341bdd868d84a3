"""Start, adopt or refuse: the table at the top of `ledger`, row by row, and what a record can be read from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.values import TEXTS, WILD_TEXTS, json_values

from airflow_provider_crewai.client.ledger import Claim, Decision, Move, Record, Rules, decide, fingerprint
from airflow_provider_crewai.wire.codec import kickoff_request
from airflow_provider_crewai.wire.errors import CrewLedgerError
from airflow_provider_crewai.wire.model import Kickoff, Request, RunState

CLAIM = Claim("same", "https://crew.example", try_number=2, max_tries=3)
INTENT = Record("same", "https://crew.example", try_number=1, max_tries=3, at=1e9)
RUN = INTENT.submitted("run-1")
CLEARED = replace(CLAIM, max_tries=4)
CHANGED = replace(CLAIM, fingerprint="other")
CLEARED_AND_CHANGED = replace(CLEARED, fingerprint="other")
FAIL = Rules(on_changed_inputs="fail")
RERUN_MISMATCHES = Rules(on_output_mismatch="rerun")
RERUN_ORPHANS = Rules(on_orphaned_kickoff="rerun")
REATTACH = Rules(on_clear="reattach")
REATTACH_OR_FAIL = Rules(on_clear="reattach", on_changed_inputs="fail")

OF_MONDAY_INTENT = replace(INTENT, dag_run="monday")
OF_MONDAY = OF_MONDAY_INTENT.submitted("run-1")
TUESDAY = replace(CLAIM, try_number=1, dag_run="tuesday")

BEFORE = replace(RUN, clears=0)
AFTER = replace(CLAIM, clears=1)
"""Some task of the Dag run was cleared meanwhile, and `max_tries` stands as it was."""

OVER = (RunState.SUCCEEDED, RunState.FAILED, RunState.STOPPED)
NOT_OVER = (None, *(state for state in RunState if state not in OVER))
ANY = (*OVER, *NOT_OVER)
ENDED_BADLY = (RunState.FAILED, RunState.STOPPED)
ADOPTABLE = tuple(state for state in ANY if state not in ENDED_BADLY)

START, ADOPT, ORPHAN, REFUSE = Move.START, Move.ADOPT, Move.REFUSE_ORPHAN, Move.REFUSE_CHANGED
ROWS: list[tuple[str, Record | None, Claim, Rules, tuple[RunState | None, ...], Move]] = [
    ("nothing on record", None, CLAIM, Rules(), (None,), START),
    ("an intent, on a retry", INTENT, CLAIM, Rules(), (None,), ORPHAN),
    ("an intent, on a retry with other inputs", INTENT, CHANGED, Rules(), (None,), ORPHAN),
    ("an intent, on a retry, orphans are rerun", INTENT, CLAIM, RERUN_ORPHANS, (None,), START),
    ("an intent, cleared", INTENT, CLEARED, Rules(), (None,), START),
    ("an intent, cleared, reattach", INTENT, CLEARED, REATTACH, (None,), START),
    ("a run, cleared after the retries were lowered", RUN, replace(CLAIM, max_tries=2), Rules(), ANY, START),
    ("a run, cleared", RUN, CLEARED, Rules(), ANY, START),
    ("a run, cleared while its worker ran", RUN.after_a_clear(), CLAIM, Rules(), ANY, START),
    ("a run, cleared while its worker ran, reattach", RUN.after_a_clear(), CLAIM, REATTACH, ADOPTABLE, ADOPT),
    ("a run, another task was cleared", BEFORE, AFTER, Rules(), ADOPTABLE, ADOPT),
    ("a run, answered, cleared with fewer retries", BEFORE.after_its_answer(), AFTER, Rules(), ANY, START),
    ("a run, answered, on a retry", BEFORE.after_its_answer(), replace(CLAIM, clears=0), Rules(), ADOPTABLE, ADOPT),
    ("a run, answered, clears not known", RUN.after_its_answer(), CLAIM, Rules(), ADOPTABLE, ADOPT),
    (
        "a run of the last try, cleared",
        replace(BEFORE, try_number=4),
        replace(AFTER, try_number=5),
        Rules(),
        ANY,
        START,
    ),
    (
        "a run of the last try, tried again",
        replace(RUN, try_number=4),
        replace(CLAIM, try_number=5),
        Rules(),
        ADOPTABLE,
        ADOPT,
    ),
    ("a run of a Dag run that was deleted", OF_MONDAY, TUESDAY, Rules("fail", "fail", "reattach"), ANY, START),
    ("an intent of a Dag run that was deleted", OF_MONDAY_INTENT, TUESDAY, Rules(), (None,), START),
    (
        "a run, in the second try of a Dag run made anew",
        OF_MONDAY,
        replace(TUESDAY, try_number=2),
        Rules(),
        ADOPTABLE,
        ADOPT,
    ),
    ("a run, the same try again", OF_MONDAY, replace(TUESDAY, dag_run="monday"), Rules(), ADOPTABLE, ADOPT),
    ("a run, the beginning of its Dag run not known", RUN, replace(CLAIM, try_number=1), Rules(), ADOPTABLE, ADOPT),
    ("a run, cleared with other inputs that may not change", RUN, CLEARED_AND_CHANGED, FAIL, ANY, START),
    ("a run, other inputs", RUN, CHANGED, Rules(), ANY, START),
    ("a run that is over, other inputs that may not change", RUN, CHANGED, FAIL, OVER, START),
    ("a run, other inputs that may not change", RUN, CHANGED, FAIL, NOT_OVER, REFUSE),
    ("a run, cleared to reattach, other inputs", RUN, CLEARED_AND_CHANGED, REATTACH, ANY, START),
    ("a run, cleared to reattach, fixed inputs", RUN, CLEARED_AND_CHANGED, REATTACH_OR_FAIL, NOT_OVER, REFUSE),
    ("a run that ended badly, on a retry", RUN, CLAIM, Rules(), ENDED_BADLY, START),
    ("a run that ended badly and nobody read why, on a retry", RUN.left_unread(), CLAIM, Rules(), ENDED_BADLY, ADOPT),
    ("a run that ended badly and nobody read why, cleared", RUN.left_unread(), CLEARED, Rules(), ENDED_BADLY, START),
    ("a run whose answer does not fit, on a retry", RUN.left_mismatched(), CLAIM, Rules(), ADOPTABLE, ADOPT),
    ("a run whose answer does not fit, to be run again", RUN.left_mismatched(), CLAIM, RERUN_MISMATCHES, ANY, START),
    (
        "a run whose answer does not fit, cleared to reattach",
        RUN.left_mismatched(),
        CLEARED,
        Rules(on_clear="reattach", on_output_mismatch="rerun"),
        ADOPTABLE,
        ADOPT,
    ),
    ("a run, on a retry", RUN, CLAIM, Rules(), ADOPTABLE, ADOPT),
    ("a run, on a retry, whatever the rules", RUN, CLAIM, Rules("fail", "rerun", "reattach"), ADOPTABLE, ADOPT),
    ("a run that ended badly, cleared to reattach", RUN, CLEARED, REATTACH, ENDED_BADLY, START),
    ("a run, cleared to reattach", RUN, CLEARED, REATTACH, ADOPTABLE, ADOPT),
]


@pytest.mark.parametrize(("record", "claim", "rules", "remotes", "move"), [row[1:] for row in ROWS],
                         ids=[row[0] for row in ROWS])  # fmt: skip
def test_the_table_holds(
    record: Record | None, claim: Claim, rules: Rules, remotes: tuple[RunState | None, ...], move: Move
) -> None:
    for remote in remotes:
        decision = decide(record, claim, rules, remote)
        assert decision.move is move
        assert decision.why


@pytest.mark.parametrize("remote", ANY)
@pytest.mark.parametrize("claim", [CLAIM, CLEARED, CHANGED])
def test_a_run_that_is_replaced_is_named_exactly_while_it_may_go_on(remote: RunState | None, claim: Claim) -> None:
    decision = decide(RUN, claim, Rules(), remote)
    if decision.move is Move.START:
        assert decision.superseded == (None if remote in OVER else "run-1")


@pytest.mark.parametrize(
    ("remote", "why"),
    [
        (None, "the earlier run is out of reach"),
        (RunState.SUCCEEDED, "the earlier run is done"),
        (RunState.NOT_FOUND, "the earlier run is unknown to the deployment"),
        (RunState.RUNNING, "still going on"),
        (RunState.PAUSED, "still going on"),
    ],
)
def test_a_decision_says_what_it_saw(remote: RunState | None, why: str) -> None:
    assert why in decide(RUN, CLAIM, Rules(), remote).why
    assert "reattach" in decide(RUN, CLEARED, REATTACH, remote).why


def test_taking_a_run_up_after_a_clear_makes_the_next_try_a_retry() -> None:
    adopted = RUN.adopted(CLEARED)
    assert decide(adopted, replace(CLEARED, try_number=3), Rules(), RunState.RUNNING).move is Move.ADOPT


def test_a_decision_without_a_record_supersedes_nothing() -> None:
    assert decide(None, CLAIM, Rules()) == Decision(Move.START, "no earlier run of this task is on record")


# ---- the record ------------------------------------------------------------------------------------

STORED = INTENT.to_json()
NEEDED = {"version", "fingerprint", "crew", "try_number", "max_tries", "at", "kickoff_id"}
"""What the first records held. What came later has a default."""

RECORDS = st.builds(
    Record,
    fingerprint=st.text(max_size=8),
    crew=st.text(max_size=8),
    try_number=st.integers(0, 10**6),
    max_tries=st.integers(0, 10**6),
    at=st.floats(0, 4e9),
    kickoff_id=st.one_of(st.none(), st.text(min_size=1, max_size=8)),
)


@given(RECORDS)
def test_a_record_reads_as_it_was_written(record: Record) -> None:
    assert Record.from_json(record.to_json()) == record


@given(json_values(WILD_TEXTS))
def test_anything_else_on_record_is_an_error_and_never_nothing(stored: Any) -> None:
    with pytest.raises(CrewLedgerError, match="cannot be understood"):
        Record.from_json(stored)


def test_whoever_takes_a_run_up_reads_why_it_ended() -> None:
    assert not RUN.left_unread().adopted(CLAIM).unread
    assert Record.from_json(RUN.left_unread().to_json()).unread


@given(st.sampled_from(sorted(STORED)), st.one_of(json_values(WILD_TEXTS), st.just(float("inf")), st.just(10**400)))
def test_a_record_with_one_wrong_field_is_read_or_is_an_error(key: str, value: Any) -> None:
    try:
        record = Record.from_json({**STORED, key: value})
    except CrewLedgerError:
        return
    assert isinstance(record.at, float)
    assert record.kickoff_id is None or isinstance(record.kickoff_id, str)


@pytest.mark.parametrize("key", sorted(STORED.keys() & NEEDED))
def test_a_record_with_a_field_missing_is_an_error(key: str) -> None:
    with pytest.raises(CrewLedgerError):
        Record.from_json({name: value for name, value in STORED.items() if name != key})


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_a_record_of_another_version_is_an_error(version: object) -> None:
    with pytest.raises(CrewLedgerError):
        Record.from_json({**STORED, "version": version})  # type: ignore[dict-item]


# ---- the fingerprint -------------------------------------------------------------------------------


def digest(crew: str = "https://a", **fields: Any) -> str:
    return fingerprint(crew, kickoff_request(Kickoff(**fields)))


def test_a_fingerprint_differs_with_the_crew_and_with_whatever_the_crew_is_given() -> None:
    prints = [
        digest(),
        digest("https://b"),
        digest(inputs={"a": 1}),
        digest(inputs={"a": "1"}),
        digest(inputs={"a": None}),
        digest(restore_from_state_id="x"),
    ]
    assert len(set(prints)) == len(prints)


def test_a_fingerprint_is_blind_to_who_is_told() -> None:
    assert digest(crew_webhook_url="https://w", webhooks={"url": "https://v"}) == digest()


def test_a_fingerprint_is_blind_to_meta_and_to_the_order_of_keys() -> None:
    assert digest(inputs={"a": 1, "b": 2}, meta={"try": 1}) == digest(inputs={"b": 2, "a": 1}, meta={"try": 2})
    assert fingerprint("c", Request("POST", "/kickoff", None)) == fingerprint("c", Request("POST", "/kickoff", {}))


@given(st.dictionaries(TEXTS, json_values(), max_size=4))
def test_any_inputs_have_a_short_fingerprint(inputs: dict[str, Any]) -> None:
    assert len(digest(inputs=inputs)) == 32
    assert digest(inputs=inputs) == digest(inputs=dict(reversed(inputs.items())))


def test_a_run_that_is_taken_up_after_a_clear_is_no_longer_cleared() -> None:
    adopted = RUN.after_a_clear().adopted(CLAIM)
    assert decide(adopted, replace(CLAIM, try_number=3), Rules(), RunState.RUNNING).move is Move.ADOPT


def test_a_record_of_before_these_fields_is_read() -> None:
    assert Record.from_json({key: value for key, value in RUN.to_json().items() if key in NEEDED}) == RUN


def test_a_person_reads_the_crew_the_time_and_what_deleting_the_record_does() -> None:
    stored = RUN.to_json()
    assert (stored["crew"], stored["kickoff_sent_at"]) == ("https://crew.example", "2001-09-09T01:46:40.000+00:00")
    assert "If you delete it, the task forgets the run" in str(stored["about"])


def test_whoever_takes_a_run_up_checks_its_answer_again() -> None:
    assert not RUN.left_mismatched().adopted(CLAIM).mismatched
    assert Record.from_json(RUN.left_mismatched().to_json()).mismatched


@pytest.mark.parametrize(
    ("claim", "rules", "warned"),
    [
        (CLAIM, REATTACH, False),
        (replace(CLAIM, clear_keeps_record=False), REATTACH, True),
        (replace(CLAIM, clear_keeps_record=False), Rules(), False),
        (replace(CLAIM, clear_keeps_record=False, try_number=1), REATTACH, False),
    ],
)
def test_a_task_that_shall_reattach_says_when_a_clear_may_have_discarded_the_record(
    claim: Claim, rules: Rules, *, warned: bool
) -> None:
    decision = decide(None, claim, rules)
    assert decision.move is Move.START
    assert ("keep task state" in decision.why) is warned
