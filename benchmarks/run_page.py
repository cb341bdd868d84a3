"""Measures what the page of a run costs where the crew's answer is a megabyte.

    python benchmarks/run_page.py

Each figure is the least of several renderings, in milliseconds of one core. The first rendering of a text and a later
one are told apart, because what Markdown became is kept for a page that follows a run.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from airflow_provider_crewai.run_page import markdown
from airflow_provider_crewai.run_page.rendering import run_html
from airflow_provider_crewai.run_page.view import RunView
from airflow_provider_crewai.wire.model import JSON, RunState

MB = 1_000_000
TIMES = 15
REPORT = "## Findings\n\nAgents are **at work**, see [the survey](https://example.com/survey) and `crew.kickoff()`:\n\n- one\n- two\n\n"
RECORD = {"title": "A survey", "year": 2026, "peer_reviewed": True, "authors": ["A", "B"]}
ANSWERS: dict[str, JSON] = {
    "one sentence": "The crew found nothing.",
    "1 MB of Markdown": REPORT * (MB // len(REPORT)),
    "1 MB of JSON": [RECORD] * (MB // len(json.dumps(RECORD))),
    "1 MB of JSON as text": json.dumps([RECORD] * (MB // len(json.dumps(RECORD)))),
}


def main() -> None:
    print(f"{'answer':24}{'first':>10}{'again':>10}{'page':>12}")
    for name, answer in ANSWERS.items():
        view = RunView("brief", RunState.SUCCEEDED, answer=answer)
        page = rendered(view)
        first, again = (least(view, before) for before in (markdown.html.cache_clear, lambda: None))
        print(f"{name:24}{first:7.1f} ms{again:7.1f} ms{len(page) // 1000:9} kB")


def rendered(view: RunView) -> str:
    return run_html(view, assets="/assets", now=time.time(), texts="/texts")


def least(view: RunView, before: Callable[[], None]) -> float:
    return min(milliseconds(view, before) for _ in range(TIMES))


def milliseconds(view: RunView, before: Callable[[], None]) -> float:
    before()
    begun = time.process_time()
    rendered(view)
    return 1000 * (time.process_time() - begun)


if __name__ == "__main__":
    main()
