"""Two runs side by side, a draft before and after an answer, and which pieces of two texts are marked as different."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_server import PageServer
from support.html_document import Document

from airflow_provider_crewai.server.page.differences import sides


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(tmp_path) as one:
        yield one


def marked(left: str, right: str) -> tuple[str, str]:
    """The two texts, with brackets around what differs."""
    made = sides(left, right)
    one, other = ("".join(f"[{p.text}]" if p.differs else p.text for p in side) for side in (made.left, made.right))
    return one, other


@pytest.mark.parametrize(
    ("left", "right", "wanted"),
    [
        ("the same", "the same", ("the same", "the same")),
        ("the North Sea.", "the Irish Sea.", ("the [North] Sea.", "the [Irish] Sea.")),
        ("**bold**", "**bald**", ("**[bold]**", "**[bald]**")),
        ("a b", "a b c", ("a b", "a b[ c]")),
        ("", "new", ("", "[new]")),
    ],
)
def test_the_words_that_differ_are_marked(left: str, right: str, wanted: tuple[str, str]) -> None:
    assert marked(left, right) == wanted


def test_long_texts_are_compared_by_lines_and_very_long_ones_not_at_all() -> None:
    lines = [f"{number} some words that are many\n" for number in range(500)]
    changed = [*lines[:250], "another\n", *lines[251:]]
    assert [piece.text for piece in sides("".join(lines), "".join(changed)).left if piece.differs] == [lines[250]]
    very_long = sides("a\n" * 5_000, "b\n" * 5_000)
    assert not very_long.is_marked
    assert very_long.differ


TEXTS = st.text(st.sampled_from("ab \n.*")) | st.text()


@given(TEXTS, TEXTS)
def test_each_side_is_its_text_and_what_is_not_marked_is_the_same_on_both(left: str, right: str) -> None:
    made = sides(left, right)
    assert ["".join(piece.text for piece in side) for side in (made.left, made.right)] == [left, right]
    kept = ["".join(piece.text for piece in side if not piece.differs) for side in (made.left, made.right)]
    assert kept[0] == kept[1]
    assert made.differ is (left != right)


def test_texts_that_are_made_to_be_slow_are_not() -> None:
    words = [str(number) for number in range(20_000)]
    for left, right in (
        (" ".join(words), " ".join(reversed(words))),
        ("a " * 20_000, "a b " * 10_000),
        ("\n".join(words[:1_400]), "\n".join(reversed(words[:1_400]))),
    ):
        begun = time.process_time()
        sides(left, right)
        assert time.process_time() - begun < 5


# ---- on the page ----------------------------------------------------------------------------------


def test_two_runs_stand_side_by_side_with_what_differs_marked(server: PageServer) -> None:
    first, second = server.run(topic="North Sea", audience="all"), server.run(topic="Irish Sea", audience="all")
    first.step(0, "survey", "Analyst", "tides", took=41, tokens=5200)
    second.step(0, "survey", "Analyst", "winds", took=31, tokens=4200)
    first.now("SUCCESS", result="The North Sea.", took=128, usage_metrics={"total_tokens": 18_500})
    second.now("SUCCESS", result="The Irish Sea.", took=140, usage_metrics={"total_tokens": 20_550})
    html = server.see(f"/compare?run={first.kickoff_id}&run={second.kickoff_id}")
    words = Document(html).words
    assert "Time 2 minutes 8 seconds 2 minutes 20 seconds +12 seconds (+9%)" in words
    assert "Tokens 18,500 20,550 +2,050 (+11%)" in words
    assert "Time of survey 41 seconds 31 seconds -10 seconds (-24%)" in words
    assert "Tokens of survey 5,200 4,200 -1,000 (-19%)" in words
    assert html.count("<del>North</del>") == html.count("<ins>Irish</ins>") == 2
    assert "<del>tides</del>" in html
    assert "audience the same" in words
    assert f"/compare?run={second.kickoff_id}&run={first.kickoff_id}" in {
        link["href"] for link in Document(html).all("a")
    }


def test_runs_of_any_kind_can_be_compared(server: PageServer) -> None:
    runs = [server.run(), server.run(topic="x", deep=[{"a": None}])]
    runs[0].now("FAILED", "no", took=1)
    runs[1].step(0, "survey", None, "found")
    for one in runs:
        for other in runs:
            server.see(f"/compare?run={one.kickoff_id}&run={other.kickoff_id}")


@pytest.mark.parametrize("count", [0, 1, 3, 50])
def test_neither_more_nor_fewer_than_two_can_be_compared(server: PageServer, count: int) -> None:
    run = server.run()
    seen = server.ask("GET", "/compare?" + "&".join([f"run={run.kickoff_id}"] * count))
    assert seen.status == 422
    assert "Tick two runs" in seen.text


def test_a_run_that_is_gone_cannot_be_compared(server: PageServer) -> None:
    assert server.ask("GET", f"/compare?run={server.run().kickoff_id}&run=x").status == 404


def test_a_secret_is_masked_in_a_comparison_too(server: PageServer) -> None:
    runs = [server.run(api_key="s3cret-1"), server.run(api_key="s3cret-2", topic="x")]
    seen = server.see("/compare?" + "&".join(f"run={run.kickoff_id}" for run in runs))
    assert "s3cret" not in seen
    assert "api_key" in seen


def test_a_run_that_has_ended_leads_to_a_comparison_with_the_one_before(server: PageServer) -> None:
    first, second = server.run(), server.run()
    for run in (first, second):
        run.now("SUCCESS", result="x", took=1)
    wanted = f"/compare?run={first.kickoff_id}&run={second.kickoff_id}"
    assert wanted in {link["href"] for link in Document(server.see(f"/runs/{second.kickoff_id}")).all("a")}
    assert "/compare" not in server.see(f"/runs/{first.kickoff_id}")


def test_what_feedback_changed_in_a_draft_is_marked(server: PageServer) -> None:
    run = server.run()
    run.ask("q1", "task", "Good?", "The Danube is long.")
    page = f"/runs/{run.kickoff_id}"
    assert "What changed" not in server.see(page)
    server.send("/questions/q1", {"approved": "no", "feedback": "Say Rhine."})
    run.ask("q2", "task", "Good now?", "The Rhine is long.")
    html = server.see(page)
    assert "The last answer: Say Rhine." in Document(html).words
    assert "<del>Danube</del>" in html
    assert "<ins>Rhine</ins>" in html


def test_a_failed_run_says_where_it_failed_and_what_had_been_done_before(server: PageServer) -> None:
    run = server.run()
    run.step(0, "survey", "Analyst", "tides", took=41, tokens=5200)
    run.step(1, "outline", "Editor", tokens=800, at=time.time())
    run.now("FAILED", "no", took=0)
    words = Document(server.see(f"/runs/{run.kickoff_id}")).words
    assert "It failed in outline ( Editor ), after" in words
    assert "and 800 tokens. Done before: survey , with 5,200 tokens." in words
    early = server.run()
    early.step(0, "survey", "Analyst")
    early.now("FAILED", "no", took=1)
    assert "Nothing had been done before." in server.see(f"/runs/{early.kickoff_id}")


def test_tokens_of_crew_tasks_are_bars_of_their_share(server: PageServer) -> None:
    run = server.run()
    run.step(0, "survey", "Analyst", "tides", tokens=500)
    run.step(1, "outline", "Editor", "1.", tokens=2000)
    run.now("SUCCESS", result="x", took=9)
    html = server.see(f"/runs/{run.kickoff_id}")
    bars = [part.partition("</svg>")[0] for part in html.split('class="span tokens"')[1:]]
    assert ['width="25.0"' in bars[0], 'width="100.0"' in bars[1]] == [True, True]
