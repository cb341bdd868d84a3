"""The rows of `scripts/chaos` with people in them: a crew asks, and what a person says must arrive once."""

from chaos_stage import Expected, Row, Setup
from people_acts import (
    approve,
    approve_here_and_there,
    approve_there_only,
    approve_while_no_triggerer_runs,
    ask_for_changes_and_approve,
    clear_while_asked,
    end_while_asked,
    kill_worker_that_sends,
    kill_worker_that_sends_and_approve_again,
    kill_worker_when_held_and_approve,
    let_the_question_overtake_the_kickoff,
    restart_while_asked,
)
from wire_faults import hold, is_feedback, is_kickoff, lose_feedback, lose_kickoff

LOOKING = Setup("a crew that asks", asks=True)
CALLED = Setup("a crew that asks by webhook", {"crewai": {"webhook_base_url": "{url}"}}, asks=True, strict=True)
TAKEN_UP = "called home"


def once(says: str = "", *, feedbacks: int = 1, rounds: int = 1) -> Expected:
    """One kickoff, and what a person said arrives once."""
    return Expected(1, says=says, feedbacks=feedbacks, rounds=rounds)


ROWS_WITH_PEOPLE = (
    Row(
        "a person asks for changes, then approves",
        "asks",
        once(feedbacks=2, rounds=2),
        ask_for_changes_and_approve,
        setup=LOOKING,
    ),
    Row(
        "worker killed between feedback's record and POST",
        "asks",
        once(),
        kill_worker_that_sends,
        refusal=lose_feedback,
        setup=LOOKING,
    ),
    Row(
        "worker killed between feedback's POST and answer",
        "asks",
        once(),
        kill_worker_that_sends,
        hold(is_feedback),
        setup=LOOKING,
    ),
    Row("triggerer killed while a person is asked", "asks", once(), restart_while_asked("triggerer"), setup=LOOKING),
    Row("approved while no triggerer runs", "asks", once(), approve_while_no_triggerer_runs, setup=LOOKING),
    Row(
        "api-server restarted while a person is asked", "asks", once(), restart_while_asked("api-server"), setup=LOOKING
    ),
    Row(
        "approved in Airflow and at the server at once",
        "asks",
        Expected(1, rounds=1),
        approve_here_and_there,
        setup=LOOKING,
    ),
    Row("approved at the server only", "asks", once(feedbacks=0), approve_there_only, setup=LOOKING),
    Row(
        "marked failed while a person is asked",
        "asks",
        Expected(1, "failed", stops=1, feedbacks=0, rounds=1),
        end_while_asked("failed"),
        setup=LOOKING,
    ),
    Row(
        "marked success while a person is asked",
        "asks",
        Expected(1, stops=1, feedbacks=0, rounds=1),
        end_while_asked("success"),
        setup=LOOKING,
    ),
    Row(
        "cleared while a person is asked",
        "asks",
        Expected(2, stops=1, feedbacks=1, rounds=2),
        clear_while_asked,
        setup=LOOKING,
    ),
    Row(
        "webhook: a person asks for changes, then approves",
        "asks",
        once(feedbacks=2, rounds=2),
        ask_for_changes_and_approve,
        setup=CALLED,
    ),
    Row(
        "webhook delivered three times",
        "asks",
        once(feedbacks=2, rounds=2),
        ask_for_changes_and_approve,
        deliveries=3,
        setup=CALLED,
    ),
    Row(
        "webhook before the kickoff's own answer",
        "asks",
        once(),
        let_the_question_overtake_the_kickoff,
        hold(is_kickoff),
        setup=CALLED,
    ),
    Row(
        "webhook: api-server restarted while a person is asked",
        "asks",
        once(),
        restart_while_asked("api-server"),
        setup=CALLED,
    ),
    Row(
        "webhook: triggerer killed while a person is asked",
        "asks",
        once(),
        restart_while_asked("triggerer"),
        setup=CALLED,
    ),
    Row(
        "webhook: worker killed between feedback's record and POST",
        "asks",
        once("is not sent again"),
        kill_worker_that_sends_and_approve_again,
        refusal=lose_feedback,
        setup=CALLED,
    ),
    Row("webhook: answer to the POST lost", "asks", once(TAKEN_UP), approve, lose_kickoff, setup=CALLED),
    Row(
        "webhook: killed between POST and record",
        "asks",
        once(TAKEN_UP),
        kill_worker_when_held_and_approve,
        hold(is_kickoff),
        setup=CALLED,
    ),
)
