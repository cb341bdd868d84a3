"""What a run used is told even if it never came to an answer."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aop_server import Server, Start

from airflow_provider_crewai.server.crew_process.report import Report
from airflow_provider_crewai.server.crew_process.usage import Usage
from airflow_provider_crewai.server.runs import Runs
from airflow_provider_crewai.server.schema import SCHEMA

COSTLY = Path(__file__).parent / "projects" / "costly"
CALLS = {"successful_requests": 2}
KINDS = pytest.mark.parametrize("attribute", ["build", "CostlyFlow"])


def costly(shared: Start, attribute: str, end: str) -> Server:
    return shared(f"main:{attribute}", "--llm", "stub", cwd=COSTLY, environment={"COSTLY_END": end})


def used(status: dict[str, Any]) -> int:
    usage = status["usage_metrics"]
    assert usage | CALLS == usage
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    return int(usage["total_tokens"])


@KINDS
def test_a_failed_run_tells_what_it_used(shared: Start, attribute: str) -> None:
    server = costly(shared, attribute, "fail")
    status = server.wait(server.kickoff({}), "FAILED")
    assert status["status"] == "ValueError: the second task cannot be (main.py:14)"
    assert used(status) > 0


@KINDS
def test_a_stopped_run_tells_what_it_had_used(shared: Start, attribute: str) -> None:
    server = costly(shared, attribute, "never")
    kickoff_id = server.kickoff({})
    deadline = time.monotonic() + 60
    while ((server.status(kickoff_id)["usage_metrics"] or {}).get("successful_requests")) != 2:
        assert time.monotonic() < deadline, server.status(kickoff_id)
        time.sleep(0.1)
    server.ask("POST", f"/stop/{kickoff_id}")
    status = server.status(kickoff_id)
    assert status["state"] == "REVOKED"
    assert used(status) > 0


def test_the_tokens_of_each_crew_task_add_up_to_those_of_the_run(shared: Start) -> None:
    server = costly(shared, "build", "fail")
    kickoff_id = server.kickoff({})
    total = used(server.wait(kickoff_id, "FAILED"))
    gather, draft = Runs(server.state / "runs" / "runs.sqlite").steps(kickoff_id)
    assert gather.tokens
    assert draft.tokens
    assert gather.tokens + draft.tokens == total


def test_what_an_earlier_process_of_a_run_used_is_not_forgotten(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    kickoff_id = runs.add({})
    for tokens in (100, 20, 3):
        used = SimpleNamespace(model_dump=lambda tokens=tokens: {"total_tokens": tokens, "successful_requests": 1})
        with Usage(Report(str(runs.path), kickoff_id), lambda used=used: used).kept():
            pass
    run = runs.get(kickoff_id)
    assert run
    assert run.answer["usage_metrics"] == {"total_tokens": 123, "successful_requests": 3}


def test_a_count_that_fails_does_not_change_how_a_run_ends(tmp_path: Path) -> None:
    runs = Runs(tmp_path / "runs.sqlite")
    usage = Usage(Report(str(runs.path), runs.add({})), lambda: {}["no such model"])
    with pytest.raises(ValueError, match="the crew's own"), usage.kept():
        raise ValueError("the crew's own")


def test_a_store_of_an_earlier_version_counts_tokens_from_now_on(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "runs.sqlite")) as db, db:
        db.executescript(SCHEMA.replace("    tokens INTEGER,\n", ""))
        db.execute("INSERT INTO steps VALUES ('x', 0, 'survey', 'Researcher', 1, 2, '{}')")
    (step,) = Runs(tmp_path / "runs.sqlite").steps("x")
    assert (step.name, step.tokens, step.output) == ("survey", None, {})
