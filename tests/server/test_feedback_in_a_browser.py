"""A person judges the example crew's draft on the page, and sees what the feedback changed in it."""

from __future__ import annotations

import re

import pytest
from aop_server import INPUTS, Start
from browser import LOOKS, Window, browsing
from test_server_command_line import logged


def test_feedback_is_seen_to_change_the_draft_of_the_example_crew(
    start: Start, capfd: pytest.CaptureFixture[str]
) -> None:
    with browsing() as browser:
        server = start(environment={"BRIEF_ASKS": "yes"})
        ticket = logged(capfd, r"(/login\?ticket=\S+)")
        kickoff_id = server.kickoff(INPUTS)
        first = server.asked(kickoff_id)
        with Window(browser, server.url, LOOKS[0]) as window:
            window.go(f"{ticket}&next=/runs/{kickoff_id}")
            page = window.page
            page.get_by_label("Your feedback").fill("Mention the seals.")
            page.get_by_role("button", name="Ask for changes").click()
            server.asked(kickoff_id, other_than=first["task_id"])
            page.locator("#changed-summary").click()
            assert "Reworked as you asked: Mention the seals" in page.locator("#changed ins").all_inner_texts()[0]
            assert page.get_by_text("The last answer:").is_visible()
            assert window.suits_everybody()
            page.get_by_role("button", name="Approve").click()
            page.get_by_role("heading", name="Result", exact=True).wait_for(timeout=60_000)
            assert re.search("Mention the seals", page.locator("#outcome").inner_text())
