"""What the page of a run shows, and that nothing in it is markup of a crew's."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest
from support.html_document import Document
from support.run_views import HOSTILE, NOW, everywhere

from airflow_provider_crewai.run_page.outputs import Outputs
from airflow_provider_crewai.run_page.rendering import ASSETS, HEADERS, headers, run_html, whole_text
from airflow_provider_crewai.run_page.view import CrewTaskView, Fact, Link, RunView, StoryLine
from airflow_provider_crewai.wire.model import JSON, Progress, RunState

TAGS = re.findall(
    r"\w+",
    "html head meta title link script body a main p section code h1 h2 h3 h4 h5 h6 div dl dt dd span time bdi ol ul li pre "
    "svg rect details summary progress fieldset legend label input table thead tbody tr th td em strong s blockquote hr br",
)
"""All elements that a page may have."""


def page(view: RunView, **rest: Any) -> Document:
    return Document(run_html(view, **{"assets": "/crew/assets", "now": NOW, "texts": "/crew/texts"} | rest))


def shown(answer: JSON) -> Document:
    return page(RunView("brief", RunState.SUCCEEDED, answer=answer))


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("state", RunState)
def test_nothing_that_a_crew_says_is_more_than_text_and_safe_links(text: str, state: RunState) -> None:
    document = page(everywhere(text, state))
    assert {tag for tag, _ in document.elements} <= {*TAGS}
    attributes = {name for _, each in document.elements for name in each}
    assert not {name for name in attributes if name.startswith("on") or name in ("style", "srcdoc", "formaction")}
    assert [each["src"] for each in document.all("script")] == ["/crew/assets/page.js"]
    for link in document.all("a"):
        assert (link["href"] or "").startswith(("#main", "/", "https://")), link
        assert (link["href"] or "").startswith(("#main", "/crew/")) or "noopener" in (link["rel"] or "")
    assert text in document.text


def test_no_two_elements_have_one_id() -> None:
    for text in ("- a", '{"a": [{"b": {"c": 1}}]}'):
        ids = [each["id"] for _, each in page(everywhere(text)).elements if "id" in each]
        assert len(ids) == len(set(ids))


# ---- what an output is ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("One sentence.", "text"),
        ("Two lines\nof prose, 2 * 3 = 6.", "text"),
        ("# Heading", "markdown"),
        ("Findings:\n\n- one\n- two", "markdown"),
        ("1. one", "markdown"),
        ("It is **important**.", "markdown"),
        ("See [this](https://example.com).", "markdown"),
        ("Run `pip install x`.", "markdown"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "markdown"),
        ("```python\nprint()\n```", "markdown"),
        ('{"a": 1}', "json"),
        (' [1, {"a": null}]\n', "json"),
        ('```json\n{"a": 1}\n```', "json"),
        ('```\n["a"]\n```', "json"),
        ("{not json}", "text"),
        ("[1, 2", "text"),
        ("{}", "text"),
        ("[" * 10_000 + "]" * 10_000, "text"),
        ({"a": [1]}, "json"),
        ([], "text"),
        (7.5, "text"),
        (True, "text"),
        (None, "text"),
    ],
)
def test_an_output_is_shown_as_what_it_looks_like(value: JSON, kind: str) -> None:
    assert Outputs()(value, "x").kind == kind


def test_markdown_is_rendered_and_its_source_is_there() -> None:
    source = (
        "# Findings\n\n- **one**\n- ~~two~~\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n> quoted\n\n---\n\n```\ncode\n```"
    )
    document = shown(source)
    assert {"h3", "ul", "li", "strong", "s", "table", "blockquote", "hr", "code"} <= {
        tag for tag, _ in document.elements
    }
    assert source in document.text
    assert {each["type"] for each in document.all("input")} == {"radio"}


@pytest.mark.parametrize(
    ("value", "preview"),
    [
        ("# Found\n\n- **one** & [two](https://x.example)\n- `<b>`", "Found one & two <b>"),
        ("plain\ntext", "plain text"),
        ({"a": [1]}, '{ "a": [ 1 ] }'),
        ("- " + "x" * 200, "x" * 139 + "…"),
    ],
)
def test_a_preview_is_one_line_without_the_signs_of_markdown(value: JSON, preview: str) -> None:
    assert Outputs()(value, "x").preview == preview


def test_headings_go_down_one_level_at_a_time_below_those_of_the_page() -> None:
    document = shown("### a\n\n# b\n\n#### c\n\n###### d")
    levels = [tag for tag, _ in document.elements if tag in ("h1", "h2", "h3", "h4", "h5", "h6")]
    assert levels == ["h1", "h2", "h3", "h3", "h4", "h5", "h2", "h2"]


def test_an_image_is_a_link_and_nothing_is_loaded() -> None:
    document = shown("![a chart](https://example.com/chart.png)")
    assert document.all("img") == []
    link = {"href": "https://example.com/chart.png", "rel": "noopener noreferrer nofollow"}
    assert link in document.all("a")
    assert "a chart" in document.text


@pytest.mark.parametrize(
    "url", ["/dags", "x", "ftp://a.example/b", "file:///etc/passwd", "//a.example", "JAVASCRIPT:x"]
)
def test_a_link_in_markdown_leads_to_the_web_or_nowhere(url: str) -> None:
    assert [each["href"] for each in shown(f"- [x]({url}) ![y]({url})").all("a")] == ["#main"]


def test_json_is_a_tree_and_its_source_is_there() -> None:
    answer = {"topic": "AI", "count": 3, "good": True, "none": None, "list": [1.5, {"a": "b"}], "empty": []}
    document = shown(answer)
    assert next(each["class"] for each in document.all("ul")) == "tree"
    assert "list 2 items 0 1.5 1 1 field a b" in document.words
    assert "good true none null" in document.words
    assert json.dumps(answer, indent=2) in document.text


# ---- how much is shown ----------------------------------------------------------------------------

DEEP: Any = "x"
for _ in range(10_000):
    DEEP = [DEEP]
LARGE: dict[str, JSON] = {
    "text": "word " * 1_000_000,
    "one long line": "x" * 5_000_000,
    "lines": "x\n" * 2_000_000,
    "markdown": "# Title\n\n- **one** `two`\n" * 100_000,
    "json text": json.dumps([{"a": 1}] * 90_000),
    "a list of 100,000": [1] * 100_000,
    "a field of 100,000": {str(number): {"a": [number]} for number in range(100_000)},
    "a long key": {"k" * 1_000_000: "v" * 1_000_000},
    "10,000 levels": DEEP,
    "10,000 levels of text": "[" * 15_000 + "]" * 15_000,
    "brackets": "- " + "[" * 1_000_000,
    "images": "- " + "![" * 1_000_000,
    "links": "- " + "[a](" * 300_000,
    "stars": "- " + "*a **a " * 200_000,
    "a wide table": "|a" * 3000 + "\n" + "|-" * 3000 + "\n" + "|b\n" * 5000,
    "a long table": "|a" * 100 + "|\n" + "|-" * 100 + "|\n" + "x\n" * 90_000,
    "quotations": "> " * 1_000_000,
    "lists in lists": "- " * 1_000_000,
    "ticks": "- " + "".join("`" * number + " " for number in range(1500)),
    "entities": "- " + "&#x" * 500_000,
    "terminal": "- " + "\x1b[" * 500_000 + "\x1b]" * 500_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_what_is_large_is_cut_told_and_costs_little(name: str) -> None:
    view = RunView("x", RunState.SUCCEEDED, answer=LARGE[name])
    begun = time.process_time()
    html = run_html(view, assets="/a", now=NOW, texts="/t")
    assert time.process_time() - begun < 1.5, "seconds of one core, on a busy machine too"
    assert len(html) < 500_000
    assert "This is the beginning." in html
    assert 'href="/t/result"' in html


@pytest.mark.parametrize("text", ["- **x** `y`\n" * 1_000_000, "x" * 10_000_000, json.dumps([{"a": 1}] * 80_000)])
def test_a_page_of_large_texts_alone_costs_little(text: str) -> None:
    view = replace(everywhere(text), crew_tasks=(CrewTaskView(text, "done", text, NOW, 1, 1, text),) * 10_000)
    begun = time.process_time()
    html = run_html(view, assets="/a", now=NOW, texts="/t")
    assert time.process_time() - begun < 3, "seconds of one core, on a busy machine too"
    assert len(html) < 2_000_000
    assert "The first 9,700 are not shown." in html
    assert 'href="/t/step-9999"' in html


def test_a_long_output_is_folded_and_a_short_one_is_not() -> None:
    assert [each["type"] for each in shown("line\n" * 100).all("input")] == ["checkbox"]
    assert shown("line").all("input") == []


# ---- the whole ------------------------------------------------------------------------------------


def test_each_text_can_be_had_in_full() -> None:
    huge = "<b>\n" * 1_000_000
    view = everywhere(huge)
    for name in ("result", "failure", "question", "step-0"):
        assert whole_text(view, name) == huge
    assert json.loads(whole_text(view, "json")) == view.answer_json
    assert json.loads(whole_text(view, "inputs")) == view.inputs
    assert json.loads(whole_text(view, "step-1")) == {huge: [huge]}


@pytest.mark.parametrize(
    "name", ["", "nothing", "step", "step-", "step-9", "step--1", "step-x", "step-²", "step-2", "json"]
)
def test_a_text_that_is_not_there_is_not_found(name: str) -> None:
    view = RunView("x", RunState.FAILED, crew_tasks=(CrewTaskView("a", "done", output="x"),) * 2)
    with pytest.raises(LookupError):
        whole_text(view, name)


# ---- a run ----------------------------------------------------------------------------------------


def test_a_run_shows_all_that_is_known_of_it() -> None:
    view = RunView(
        "Brief on AI",
        RunState.RUNNING,
        kickoff_id="k-1",
        crew="https://crew.example",
        lines=("It works.", "A retry takes it up again."),
        progress=Progress(1, 3, "outline", "Editor"),
        kicked_off_at=NOW - 200,
        started_at=NOW - 190,
        deadline=NOW + 300,
        facts=(Fact("Try", "2"),),
        crew_tasks=(
            CrewTaskView("survey", "done", "Researcher", NOW - 190, 125, 1250, "Found"),
            CrewTaskView("outline", "now", "Editor", NOW - 65, 65),
            CrewTaskView("brief", "next"),
        ),
        usage={"total_tokens": 1250, "cached": 0},
        inputs={"topic": "AI", "token": "***"},
        story=(StoryLine(NOW - 200, "Try 1 kicked it off."),),
        links=(Link("Log", "/dags/a/runs/b"),),
        is_live=True,
    )
    document = page(view, refresh="/crew/run", every=5)
    for words in (
        "Run k-1 of https://crew.example Brief on AI Running 1 of 3 done, now outline (Editor)",
        "Deadline in 5 minutes",
        "Waited to start 10 seconds At it for 3 minutes 10 seconds",
        "Try 2",
        "Total tokens 1,250",
        "It works. A retry takes it up again.",
        "survey took 2 minutes 5 seconds · 1,250 tokens Researcher Output: Found",
        "outline at it for 1 minute 5 seconds Editor brief to come",
        "token ***",
        "Try 1 kicked it off.",
    ):
        assert words in document.words
    assert {"max": "3", "value": "1", "aria-label": "Progress"} in document.all("progress")
    assert {"href": "/dags/a/runs/b", "rel": "noopener noreferrer"} in document.all("a")
    assert document.all("html")[0] == {"lang": "en", "data-refresh": "/crew/run", "data-every": "5"}


@pytest.mark.parametrize("state", RunState)
def test_a_run_of_which_nothing_is_known_can_be_shown(state: RunState) -> None:
    document = page(RunView("brief", state, word="May have started"))
    assert "A run whose id is not known brief May have started" in document.words
    assert "data-refresh" not in document.all("html")[0]


def test_a_run_that_ended_unseen_is_not_said_to_be_at_work() -> None:
    view = RunView("brief", RunState.UNKNOWN, kicked_off_at=NOW - 60)
    assert "At it for" not in page(view).words
    assert "At it for 1 minute" in page(replace(view, is_live=True)).words


def test_a_usage_that_is_no_count_is_left_out() -> None:
    usage: Any = {
        "total_tokens": 1250,
        "note": "many",
        "none": None,
        "cached": 0,
        **{str(n): 7 for n in range(100_000)},
    }
    document = page(RunView("brief", RunState.SUCCEEDED, usage=usage))
    assert "Total tokens 1,250" in document.words
    assert not {"Note", "None", "Cached"} & {*document.words.split()}
    assert len(document.all("dd")) < 50


def test_a_page_can_be_framed_by_whom_its_server_names_and_by_nobody_else() -> None:
    assert "frame-ancestors 'none'" in HEADERS["Content-Security-Policy"]
    policy = headers(framed_by="'self'")["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert {"page.css", "page.js", "icon.svg"} == {file.name for file in ASSETS.iterdir()}
