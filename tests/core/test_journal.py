"""What the task log says while a run goes on."""

from __future__ import annotations

import pytest

from airflow_provider_crewai.client.journal import Journal
from airflow_provider_crewai.wire.errors import CrewError, CrewServerError, CrewTransportError
from airflow_provider_crewai.wire.model import Progress, Question, Run, RunState

BEGAN = 1_800_000_000.0
MINUTE = 60.0
DAY = 86_400.0


class Log:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    def info(self, text: str, *values: object) -> None:
        self.lines.append(("info", text % values))

    def warning(self, text: str, *values: object) -> None:
        self.lines.append(("warning", text % values))


def at_work(task: str) -> Run:
    return Run("run-1", RunState.RUNNING, progress=Progress(1, 3, task, "Writer"))


def written(*looks: tuple[Run | CrewError, float]) -> list[tuple[str, str]]:
    """Return the lines that come of looks, each at so many seconds after the first."""
    log = Log()
    journal = Journal(log, "run-1")
    for seen, after in looks:
        journal(seen, BEGAN + after)
    return log.lines


def test_each_change_is_a_line_and_a_look_that_shows_the_same_is_none() -> None:
    lines = written((at_work("a"), 0), (at_work("a"), 2), (at_work("b"), 4), (at_work("b"), 6))
    assert [text for _, text in lines] == [
        "Run run-1: running, 1 of 3 done, now a (Writer)",
        "Run run-1: running, 1 of 3 done, now b (Writer)",
    ]


@pytest.mark.parametrize("seen", [at_work("research"), CrewServerError("HTTP 500", status=500)])
def test_when_nothing_changes_a_line_says_so_after_5_10_20_40_minutes(seen: Run | CrewError) -> None:
    lines = written(*((seen, 10.0 * number) for number in range(int(DAY / 10))))
    minutes = [index for index, (_, text) in enumerate(lines) if "still" in text]
    assert minutes == list(range(1, len(lines)))
    assert [text.split("(for ")[1].split(",")[0] for _, text in lines[1:]] == [
        "5 minutes",
        "10 minutes",
        "20 minutes",
        "40 minutes",
        "1 hour 20 minutes",
        "2 hours 40 minutes",
        "5 hours 20 minutes",
        "10 hours 40 minutes",
        "21 hours 20 minutes",
    ]
    assert all("since 2027-01-15 08:00:00 UTC)" in text for _, text in lines[1:])


def test_the_quiet_is_counted_anew_after_a_change() -> None:
    lines = written(
        (at_work("a"), 0), (at_work("b"), 4 * MINUTE), (at_work("b"), 8 * MINUTE), (at_work("b"), 9 * MINUTE)
    )
    assert [("still" in text) for _, text in lines] == [False, False, True]


def test_an_outage_is_one_line_whatever_its_words() -> None:
    lines = written(*((CrewTransportError(f"try {number}", sent=False), number) for number in range(20)))
    assert len(lines) == 1


def test_a_question_is_a_warning_with_all_that_is_to_be_judged() -> None:
    asks = Run("run-1", RunState.PAUSED, question=Question("task-7", "Is this right?", "A draft.\n    Two lines."))
    assert written((asks, 0), (asks, 5)) == [
        ("warning", "Run run-1: waiting for a human: Is this right? (task task-7)"),
        ("warning", "Run run-1: what is to be judged:"),
        ("warning", "    A draft."),
        ("warning", "    Two lines."),
    ]


@pytest.mark.parametrize(("conn_id", "flag"), [("crewai_default", ""), ("other", " --conn-id other")])
def test_a_question_that_is_not_asked_elsewhere_comes_with_the_command_that_answers_it(conn_id: str, flag: str) -> None:
    log = Log()
    Journal(log, "run-1", conn_id)(Run("run-1", RunState.PAUSED, question=Question("q 1", "Good?")), BEGAN)
    command = f"python -m airflow_provider_crewai resume run-1 --task 'q 1' --answer 'YOUR WORDS'{flag}"
    assert log.lines[-1] == ("warning", f"Answer it: {command}")
