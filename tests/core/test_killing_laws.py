"""When a task is killed: the tables at the top of `killing`, and what holds for all of their rows."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.values import WILD_TEXTS, json_values

from airflow_provider_crewai.client.killing import Bond, at_once, by_state, by_xcom, is_ended, is_refused

OURS = "4f1c0a"
ENDED = ("success", "failed", "skipped", "removed", "upstream_failed")
WAITS = (None, "scheduled", "queued")
STATES = (*ENDED, *WAITS, "running", "restarting", "deferred", "up_for_retry", "up_for_reschedule", "a new word")
states, booleans = st.sampled_from(STATES), st.booleans()
bonds = st.builds(Bond, st.just(OURS), st.sampled_from(["rerun", "reattach"]), booleans, booleans, booleans, booleans)


@given(states, bonds, booleans)
def test_a_response_of_a_person_never_stops_the_run_of_a_task_that_goes_on(
    state: str, known: Bond, doubted: bool
) -> None:
    assume(state not in ENDED)
    bond = replace(known, responded=True)
    assert at_once(bond)[0] is None
    assert by_state(state, bond, doubted=doubted)[0] is False


@given(st.sampled_from(ENDED), bonds)
def test_a_run_whose_task_a_user_has_ended_is_abandoned_whatever_the_author_wants(state: str, bond: Bond) -> None:
    assert by_state(state, bond)[0] is True
    assert is_ended(state, bond.on_clear, retried=True)[0]


@given(bonds)
def test_nothing_is_asked_exactly_where_only_a_user_cancels_and_nothing_can_take_the_run_up(bond: Bond) -> None:
    asks = bond.may_have_moved or (bond.on_clear == "reattach" and bond.durable)
    assert at_once(bond)[0] is (None if asks else True)


@given(states, booleans, booleans, booleans)
def test_a_run_that_the_next_try_takes_up_is_spared_unless_the_task_was_ended(
    state: str | None, may_have_moved: bool, overdue: bool, doubted: bool
) -> None:
    assume(state not in ENDED)
    bond = Bond(OURS, "reattach", durable=True, kept=True, may_have_moved=may_have_moved, overdue=overdue)
    assert by_state(state, bond, doubted=doubted)[0] is False


@given(states, bonds)
def test_a_run_that_still_stands_in_xcom_is_never_abandoned(state: str | None, bond: Bond) -> None:
    assert by_xcom(state, OURS, bond, "why")[0] is not True


@given(states, bonds, json_values(WILD_TEXTS))
def test_only_what_looks_like_an_id_proves_that_a_task_has_moved_on(
    state: str | None, bond: Bond, value: object
) -> None:
    assume(value is not None and value != OURS)
    abandoned, why = by_xcom(state, value, bond, "why")
    if abandoned:
        assert isinstance(value, str)
        assert why == f"the task has moved on to run {value}"
        assert not set(value) & set('/:{}[]" \n')


@given(st.sampled_from(["deferred", "up_for_retry"]), bonds, booleans)
def test_a_task_that_moved_keeps_its_run(state: str, known: Bond, doubted: bool) -> None:
    """On Airflow 3.3: the task is deferred as before, and its run is on record or stands in XCom."""
    bond = replace(known, may_have_moved=True)
    abandoned, why = by_state(state, bond, doubted=doubted)
    assert abandoned is False or by_xcom(state, OURS, bond, why)[0] is False


@pytest.mark.parametrize("value", ["s3://bucket/key", "/xcoms/1.json", {"ref": 1}, 7, "", "a b"])
def test_a_reference_of_an_xcom_backend_is_no_proof(value: object) -> None:
    assert by_xcom("running", value, Bond(OURS), "why") == (None, "why")


def test_what_the_next_try_has_decides_where_a_clear_may_have_discarded_the_record() -> None:
    bond = Bond(OURS, "reattach", durable=True, kept=False, may_have_moved=False)
    assert by_state("queued", bond)[0] is None
    assert by_xcom("running", OURS, bond, "why")[0] is False
    assert by_xcom("running", "another", bond, "why")[0] is True
    assert by_xcom("queued", None, bond, "why") == (None, "why")


@given(
    st.sampled_from(["running", "scheduled", "queued", "unknown"]),
    st.sampled_from(["rerun", "reattach"]),
    booleans,
    booleans,
)
def test_a_worker_that_goes_down_leaves_its_run_exactly_to_a_retry_that_finds_it(
    state: str, on_clear: str, retried: bool, on_record: bool
) -> None:
    ended, _ = is_ended(state, on_clear, retried=retried, on_record=on_record)  # type: ignore[arg-type]
    assert ended is not retried


@given(st.sampled_from([None, "restarting"]), booleans, booleans)
def test_a_cleared_task_keeps_its_run_exactly_where_the_next_try_finds_it_and_wants_it(
    state: str | None, retried: bool, on_record: bool
) -> None:
    assert is_ended(state, "rerun", retried=retried, on_record=on_record)[0]
    assert is_ended(state, "reattach", retried=retried, on_record=on_record)[0] is not on_record


def test_airflow_refuses_to_defer_what_a_user_has_ended_or_cleared_and_nothing_else() -> None:
    assert {state for state in STATES if is_refused(state)} == {*ENDED, "restarting"}
