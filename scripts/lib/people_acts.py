"""What people do while a crew asks them, and what breaks meanwhile: for rows of `scripts/chaos`."""

import time
from concurrent.futures import ThreadPoolExecutor

from airflow_acts import Act
from airflow_api import DagRun, eventually
from chaos_stage import TASK, Stage
from required_actions import APPROVE, CHANGES, open_actions, wait_for_action

WISH = "Say where the tides come in."


def approve(stage: Stage, run: DagRun) -> None:
    """Approve what the crew asks."""
    stage.release()
    wait_for_action(run, TASK).respond(APPROVE)


def ask_for_changes_and_approve(stage: Stage, run: DagRun) -> None:
    """Ask for changes once, then approve."""
    wait_for_action(run, TASK).respond(CHANGES, WISH)
    eventually(lambda: len(stage.seen.questions) > 1 or None, "the crew to ask again")
    approve(stage, run)


def approve_after(act: Act) -> Act:
    """Break something while a person is asked, and approve then."""

    def both(stage: Stage, run: DagRun) -> None:
        wait_for_action(run, TASK)
        act(stage, run)
        approve(stage, run)

    return both


def restart_while_asked(component: str) -> Act:
    """End a component at once, and start it again."""

    def act(stage: Stage, run: DagRun) -> None:
        stage.airflow.kill(component)
        time.sleep(1)
        stage.airflow.start(component)
        stage.airflow.wait_healthy()

    return approve_after(act)


def approve_while_no_triggerer_runs(stage: Stage, run: DagRun) -> None:
    """End the triggerer, approve, and start it again."""
    action = wait_for_action(run, TASK)
    stage.airflow.kill("triggerer")
    action.respond(APPROVE)
    time.sleep(1)
    stage.airflow.start("triggerer")


def kill_worker_that_sends(stage: Stage, run: DagRun) -> None:
    """Approve, and kill the worker that is about to send it."""
    wait_for_action(run, TASK).respond(APPROVE)
    stage.wait_until_reached()
    stage.kill_worker(run)


def kill_worker_that_sends_and_approve_again(stage: Stage, run: DagRun) -> None:
    """Approve, kill the worker that is about to send it, and approve again once the person is asked to look."""
    kill_worker_that_sends(stage, run)
    eventually(lambda: run.task(TASK)["try_number"] > 1 or None, "a retry")
    wait_for_action(run, TASK, patience=180).respond(APPROVE)  # the retry first looks for a minute whether it arrived


def approve_here_and_there(stage: Stage, run: DagRun) -> None:
    """Approve in Airflow and at the crew's server at the same moment."""
    action = wait_for_action(run, TASK)
    (kickoff_id,) = stage.seen.kickoffs
    (question,) = stage.seen.questions
    with ThreadPoolExecutor(2) as both:
        there = both.submit(stage.resume_directly, kickoff_id, question)
        here = both.submit(action.respond, APPROVE)
    stage.figures["the server's own answer"] = there.result()
    here.result()


def approve_there_only(stage: Stage, run: DagRun) -> None:
    """Approve at the crew's server, and nowhere else; the action must close."""
    wait_for_action(run, TASK)
    (kickoff_id,) = stage.seen.kickoffs
    (question,) = stage.seen.questions
    stage.resume_directly(kickoff_id, question)
    run.wait()
    assert not open_actions(run), "the action is still open"  # noqa: S101 - told in the table


def end_while_asked(state: str) -> Act:
    """Mark the task while a person is asked."""

    def act(stage: Stage, run: DagRun) -> None:
        wait_for_action(run, TASK)
        run.mark_task(TASK, state)

    return act


def clear_while_asked(stage: Stage, run: DagRun) -> None:
    """Clear the task while a person is asked, and approve what the next run asks."""
    wait_for_action(run, TASK)
    run.clear(TASK)
    stage.wait_for_kickoff(2)
    eventually(lambda: len(stage.seen.questions) > 1 or None, "the second run to ask")
    approve(stage, run)


def let_the_question_overtake_the_kickoff(stage: Stage, run: DagRun) -> None:
    """Hold the kickoff's answer until the crew's question has arrived; then approve."""
    stage.wait_until_reached()
    eventually(lambda: stage.seen.delivered or None, "the crew's question to arrive")
    time.sleep(1)
    approve(stage, run)


def kill_worker_when_held_and_approve(stage: Stage, run: DagRun) -> None:
    """Kill the worker that waits for an answer, and approve what the crew asks."""
    stage.wait_until_reached()
    stage.kill_worker(run)
    approve(stage, run)
