"""A flow may ask more than one question at a time: its status tells of them all."""

from __future__ import annotations

import json
from pathlib import Path

from page_server import PageServer, Run
from support.html_document import Document

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


def test_the_page_shows_all_open_questions_and_each_has_its_own_form(tmp_path: Path) -> None:
    with PageServer(tmp_path) as server:
        run = server.run()
        run.ask("q1", "task", "Is it good?", "A draft")
        run.ask("q2", "ask", "Your name?", "Another text")
        page = Document(server.see(f"/runs/{run.kickoff_id}"))
        actions = [form["action"] for form in page.all("form")]
        assert [each for each in actions if "/questions/" in (each or "")] == ["/questions/q2", "/questions/q1"]
        ids = [element["id"] for _, element in page.elements if "id" in element]
        assert len(ids) == len(set(ids))
        server.send("/questions/q1", {"approved": "yes", "feedback": ""})
        assert [each.question_id for each in open_questions(server.runs.questions(run.kickoff_id))] == ["q2"]
