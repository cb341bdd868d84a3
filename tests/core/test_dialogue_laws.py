"""What is news about a run's questions: the table at the top of `dialogue`, and what holds for any story."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_crewai.client.dialogue import CLOSINGS, ON_ITS_WAY, Dialogue, Heard, Responded
from airflow_provider_crewai.wire.model import Question, Run, RunState

NOW = 1_800_000_000.0
ONE, TWO = Question("q-1", "Good?"), Question("q-2", "Better?")
ANNA = Responded(("Approve",), by="anna", at=NOW)
HIDES = st.sampled_from([RunState.PAUSED, RunState.NOT_FOUND])
GOES_ON = st.sampled_from([RunState.RUNNING, RunState.PENDING, RunState.UNKNOWN])
seconds = st.floats(0, 10 * ON_ITS_WAY)


def asking(question: Question | None, state: RunState = RunState.PAUSED) -> Run:
    return Run("run-1", state, question=question)


def test_a_question_is_news_until_an_action_is_open_for_it() -> None:
    dialogue = Dialogue()
    assert dialogue.saw(asking(ONE), NOW)
    assert dialogue.question == ONE
    dialogue.opened(ONE, None)
    assert not dialogue.saw(asking(ONE), NOW)
    assert dialogue.saw(asking(TWO), NOW)


@given(GOES_ON)
def test_a_question_that_is_gone_is_news(state: RunState) -> None:
    dialogue = Dialogue(asked="q-1")
    assert dialogue.saw(asking(None, state), NOW)
    assert dialogue.question is None


@given(HIDES)
def test_a_run_that_does_not_show_what_it_asks_is_no_news(state: RunState) -> None:
    for asked in ("q-1", None):
        dialogue = Dialogue(asked=asked)
        assert not dialogue.saw(asking(None, state), NOW)
        assert not dialogue.shows


@given(st.sampled_from(RunState), st.sampled_from([ONE, TWO, None]))
def test_a_response_is_always_news_while_an_action_is_open(state: RunState, question: Question | None) -> None:
    assert Dialogue(asked="q-1", heard=Heard(responded=ANNA)).saw(asking(question, state), NOW)
    assert Dialogue(heard=Heard(responded=ANNA)).responded is None


@given(seconds)
def test_a_question_that_was_answered_is_asked_again_only_after_a_while(after: float) -> None:
    dialogue = Dialogue(asked="q-1")
    dialogue.gave("q-1", NOW)
    assert dialogue.saw(asking(ONE), NOW + after) is (after >= ON_ITS_WAY)


@given(seconds)
def test_what_a_webhook_brought_is_asked_once(after: float) -> None:
    dialogue = Dialogue(heard=Heard((ONE,)))
    assert dialogue.saw(asking(None, RunState.NOT_FOUND), NOW)
    dialogue.opened(ONE, None)
    assert not dialogue.saw(asking(None, RunState.NOT_FOUND), NOW + after)
    dialogue.gave("q-1", NOW)
    assert not dialogue.saw(asking(None, RunState.NOT_FOUND), NOW + after)
    dialogue.heard = Heard((ONE, TWO))
    assert dialogue.saw(asking(None, RunState.NOT_FOUND), NOW + after)
    assert dialogue.question == TWO


def test_an_answer_clears_the_way_for_the_same_question_once_the_run_went_on() -> None:
    dialogue = Dialogue()
    dialogue.gave("q-1", NOW)
    assert not dialogue.saw(asking(ONE), NOW + 1)
    assert not dialogue.saw(asking(None, RunState.RUNNING), NOW + 2)
    assert dialogue.saw(asking(ONE), NOW + 3)


def test_a_webhook_tells_more_than_a_state_that_names_a_flow_alone() -> None:
    bare, whole = Question("f-1", flow_id="f-1"), Question("f-1", "Publish?", "A draft", ("yes", "no"), "f-1")
    dialogue = Dialogue(heard=Heard((whole,)))
    assert dialogue.saw(asking(bare), NOW)
    assert dialogue.question == whole


@given(st.floats(-100, 100))
def test_a_persons_time_is_over_at_the_deadline(late: float) -> None:
    dialogue = Dialogue(asked="q-1", deadline=NOW)
    assert dialogue.saw(asking(ONE), NOW + late) is (NOW + late >= NOW)


@given(st.text(), st.one_of(st.none(), st.text(min_size=1)), st.floats(0, 4e9))
def test_what_a_trigger_repeats_of_a_response_reads_as_it_was(text: str, by: str | None, at: float) -> None:
    said = Responded(("Ask for changes",), text, by, at)
    assert Responded.of(said.to_event()) == said


@given(st.sampled_from(CLOSINGS))
def test_what_we_close_an_action_with_is_no_response(word: str) -> None:
    assert Responded.of({"chosen_options": [word], "params_input": {}}) is None


@given(
    st.dictionaries(
        st.sampled_from(["chosen_options", "params_input", "responded_by_user", "responded_at"]),
        st.one_of(st.none(), st.text(), st.integers(), st.lists(st.text()), st.dictionaries(st.text(), st.text())),
    )
)
def test_whatever_an_event_says_is_a_response_or_none(said: dict[str, object]) -> None:
    responded = Responded.of(said)
    assert responded is None or (responded.chosen and isinstance(responded.text, str))
