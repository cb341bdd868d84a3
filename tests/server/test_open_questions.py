"""A flow may ask more than one question at a time: its status tells of them all."""

from __future__ import annotations

import json
from pathlib import Path

from page_server import Run

from airflow_provider_crewai.server.records import open_questions
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.status import status_of
from airflow_provider_crewai.wire.codec import read_status
from airflow_provider_crewai.wire.model import Question, Response


def told(runs: Runs, kickoff_id: str, *, strict: bool = False) -> Question | None:
    """What a client reads of a run's questions."""
    run = runs.get(kickoff_id)
    assert run
    body = status_of(run, [], open_questions(runs.questions(kickoff_id)), strict=strict)
    return read_status(kickoff_id, Response(200, {}, json.dumps(body).encode())).question


def test_the_status_tells_of_all_open_questions_and_of_no_answered_one(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    run = Run(runs.path, runs.add({}))
    for number in ("1", "2", "3"):
        run.ask(f"q{number}", "ask", f"Question {number}?")
    question = told(runs, run.kickoff_id)
    assert question
    assert (question.task_id, question.others) == ("q3", ("q2", "q1"))
    for answered in ("q3", "q1"):
        runs.answer(answered, "yes", approved=None)
    question = told(runs, run.kickoff_id)
    assert question
    assert (question.task_id, question.others) == ("q2", ())
    assert told(runs, run.kickoff_id, strict=True) is None
