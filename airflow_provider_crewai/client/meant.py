"""Decides which of a run's questions a person's feedback answers."""

from __future__ import annotations

from airflow_provider_crewai.client.messages import progress
from airflow_provider_crewai.wire.errors import CrewNothingAsked
from airflow_provider_crewai.wire.model import Question, Run


def meant(run: Run, named: str | None) -> Question:
    """Return the question that a person means: the one that a run asks, or the one that the person names.

    :param run: what a look showed.
    :param named: the question's id, as a webhook told it, or None.
    :raises CrewNothingAsked: the run is over, or does not show a question, or asks another one.
    """
    if run.state.is_final:
        raise _nothing(run, f"is over ({progress(run)}), so it asks nothing any more", retry_helps=False)
    asked = run.question
    if asked is None and named is None:
        raise _nothing(
            run,
            f"shows no question: it is {progress(run)}. A deployment tells what a crew asks to a webhook alone: then "
            "name the question by its task_id",
        )
    if asked is None:
        return Question(str(named))
    if named is None and asked.others:
        others = " and ".join(asked.others)
        raise _nothing(run, f"asks more than one question: {asked}, and the question {others}")
    if named in asked.others:
        return Question(str(named))  # by the flow's id the newest would be answered
    if named in (None, asked.task_id, asked.flow_id, asked.key):
        return asked
    if asked.task_id == asked.flow_id:
        return Question(str(named), flow_id=asked.flow_id)  # a deployment names the flow alone
    raise _nothing(run, f"asks question {asked.task_id!r} now, not {named!r}", retry_helps=False)


def _nothing(run: Run, why: str, *, retry_helps: bool = True) -> CrewNothingAsked:
    return CrewNothingAsked(
        f"Run {run.kickoff_id} {why}. Nothing was sent.", kickoff_id=run.kickoff_id, retry_helps=retry_helps
    )
