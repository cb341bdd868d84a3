"""What people do with the page, in a real browser."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from browser import LOOKS, Window, browsing
from page_server import FLOW, HINT, TOKEN, PageServer
from test_page import HOSTILE, UGLY, WORDS, everywhere

from airflow_provider_crewai.server.project import ProjectError, StillLoading
from airflow_provider_crewai.server.records import open_question

NO_SCRIPT = {"java_script_enabled": False}
BOTH = pytest.mark.parametrize("options", [{}, NO_SCRIPT], ids=["with script", "without script"])


DOOR = re.compile(r"/at/[0-9a-f]{32}(?=/)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as one:
        yield one


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(tmp_path) as one:
        yield one


@pytest.fixture
def window(browser: Any, server: PageServer) -> Iterator[Window]:
    with Window(browser, server.url) as one:
        yield one


def logged_in(window: Window, server: PageServer, path: str = "/") -> Any:
    window.go(server.page.ticket())
    window.door = DOOR.search(window.page.url)[0]
    if path != "/":
        window.go(path)
    return window.page


@BOTH
def test_a_link_logs_in_once(browser: Any, server: PageServer, options: dict[str, Any]) -> None:
    ticket = server.page.ticket()
    with Window(browser, server.url, options) as window:
        window.go(ticket)
        assert DOOR.sub("", window.page.url) == server.url + "/"
        assert window.page.get_by_role("heading", name="brief").is_visible()
        window.page.get_by_role("button", name="Log out").click()
        window.go(ticket)
        assert "has been used" in window.page.get_by_role("alert").inner_text()


def test_a_link_that_was_used_leads_a_live_session_on_and_ends_none(window: Window, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    link = f"{server.page.ticket()}&next=/runs/{run.kickoff_id}"
    window.go(link)
    tab = window.context.new_page()
    for _ in range(2):
        tab.goto(server.url + link)
        tab.get_by_role("heading", name="topic: AI agents").wait_for()
    tab.goto(f"{server.url}{server.page.ticket()}&next=/runs/{run.kickoff_id}")
    tab.get_by_role("heading", name="topic: AI agents").wait_for()
    window.page.reload()
    assert window.page.get_by_role("heading", name="topic: AI agents").is_visible(), "two sessions live side by side"


@BOTH
def test_the_token_logs_in_and_leads_where_one_wanted_to_go(
    browser: Any, server: PageServer, options: dict[str, Any]
) -> None:
    run = server.run(topic="AI agents")
    with Window(browser, server.url, options) as window:
        window.go(f"/runs/{run.kickoff_id}")
        assert HINT in window.page.inner_text("main")
        window.page.get_by_label("Token").fill("wrong")
        window.page.get_by_role("button", name="Log in").click()
        assert window.page.get_by_role("alert").inner_text() == "That is not the token."
        window.page.get_by_label("Token").fill(TOKEN)
        window.page.get_by_role("button", name="Log in").click()
        assert DOOR.sub("", window.page.url) == f"{server.url}/runs/{run.kickoff_id}"
        window.page.get_by_role("heading", name="topic: AI agents").wait_for()


@pytest.mark.parametrize("text", ["\n".join(HOSTILE), UGLY], ids=["hostile", "ugly"])
def test_what_a_crew_says_runs_nothing_and_asks_nobody(window: Window, server: PageServer, text: str) -> None:
    paths = everywhere(server, text)
    logged_in(window, server)
    for path in paths:
        window.go(path)
        window.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        assert window.is_clean()


def test_what_a_crew_says_runs_nothing_as_it_comes_in(window: Window, server: PageServer) -> None:
    text = "\n".join(HOSTILE)
    run = server.run(topic="AI agents")
    run.now("RUNNING")
    page = logged_in(window, server, f"/runs/{run.kickoff_id}")
    run.step(0, text, text, text)
    server.backend.logs[run.kickoff_id] = text
    run.ask("q", "flow", text, text, [text])
    page.locator("#timeline .done h3").wait_for()
    page.locator(".message").wait_for()
    assert page.locator(".message").inner_text() == text
    assert page.locator("#output-0").text_content() == text
    assert window.is_clean()


@BOTH
def test_a_form_kicks_off(browser: Any, server: PageServer, options: dict[str, Any]) -> None:
    server.backend.described = FLOW
    with Window(browser, server.url, options) as window:
        page = logged_in(window, server)
        page.get_by_role("textbox", name="topic").fill("the \u5c71\nand the sea")
        page.get_by_role("button", name="Kick off", exact=True).click()
        run = server.listed(1)[0]
        assert page.url == f"{server.url}{window.door}/runs/{run.kickoff_id}"
        assert server.runs.inputs(run.kickoff_id) == {"topic": "the \u5c71\nand the sea", "lines": 4}
        page.get_by_text("Waiting for a free slot").wait_for()


@BOTH
def test_a_refused_form_keeps_what_was_typed(browser: Any, server: PageServer, options: dict[str, Any]) -> None:
    with Window(browser, server.url, options) as window:
        page = logged_in(window, server)
        page.get_by_text("Or all inputs as one JSON object").click()
        page.get_by_label("Inputs").fill('{"topic": "AI"}')
        page.get_by_role("button", name="Kick off with this").click()
        assert page.get_by_role("alert").inner_text() == "Missing inputs: audience"
        assert page.get_by_label("Inputs").input_value() == '{"topic": "AI"}'
        page.get_by_label("Inputs").fill('{"topic": "AI", "audience": []}')
        page.get_by_role("button", name="Kick off with this").click()
        assert server.runs.inputs(server.listed(1)[0].kickoff_id) == {"topic": "AI", "audience": []}


def test_a_run_is_followed_to_its_end_without_a_reload(window: Window, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    page = logged_in(window, server, f"/runs/{run.kickoff_id}")
    page.evaluate("window.sameDocument = true")
    run.now("RUNNING", unit="task", total=3)
    run.step(0, "survey", "Researcher")
    page.get_by_text("0 of 3 done, now survey (Researcher)").wait_for()
    run.step(0, "survey", "Researcher", "Found <b>three</b> things")
    page.get_by_text("Found <b>three</b> things").first.wait_for()
    page.locator("#step-0-summary").click()
    run.step(1, "outline", "Editor", "First, agents")
    page.get_by_text("First, agents").first.wait_for()
    assert page.locator("#output-0").is_visible(), "what somebody opened stays open"
    run.now("SUCCESS", result="The brief", took=5)
    page.locator("#result").wait_for()
    assert page.title() == "Succeeded: topic: AI agents"
    assert page.locator("#announcement").text_content() == page.title()
    assert page.evaluate("window.sameDocument")
    asked = len(window.asked)
    page.wait_for_timeout(2500)
    assert len(window.asked) == asked, "a run that has ended is not asked for again"
    assert window.is_clean()


NO_LOOK_BY_THE_CLOCK = """
const wait = window.setTimeout;
window.setTimeout = (act, milliseconds) => wait(act, milliseconds > 1000 ? 3600000 : milliseconds);
"""
NO_LOOK = "window.setTimeout = () => 0;"


def test_what_happens_is_shown_at_once_by_the_stream_of_events(window: Window, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    window.context.add_init_script(NO_LOOK_BY_THE_CLOCK)
    page = logged_in(window, server, f"/runs/{run.kickoff_id}")
    for state in ("RUNNING", "PAUSED", "SUCCESS"):
        run.now(state, took=None if state != "SUCCESS" else 1.0)
        page.get_by_text(WORDS[state], exact=True).wait_for()
    assert any(url.endswith("/events") for url in window.asked)
    assert window.is_clean()


def test_the_list_shows_at_once_what_its_stream_tells(window: Window, server: PageServer) -> None:
    window.context.add_init_script(NO_LOOK_BY_THE_CLOCK)
    page = logged_in(window, server)
    for topic in ("one", "two"):
        run = server.run(topic=topic)
        page.get_by_role("link", name=f"topic: {topic}").wait_for()
    run.now("FAILED", "ValueError: no")
    page.get_by_text("ValueError: no").wait_for()
    assert any(url.endswith("/events") for url in window.asked)
    assert window.is_clean()


def test_what_somebody_types_or_marks_is_left_alone(window: Window, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    run.ask("q", "task", "Good?", "A draft")
    page = logged_in(window, server, f"/runs/{run.kickoff_id}")
    page.get_by_label("Your feedback").fill("Shorter, ple")
    page.locator("h1").click()
    run.asked_earlier("q", seconds=60)
    run.step(0, "survey", "Researcher", "Found")
    page.get_by_text("Found").first.wait_for()
    assert page.get_by_label("Your feedback").input_value() == "Shorter, ple"
    page.locator("#step-0-summary").focus()
    run.step(1, "outline", "Editor", "Outlined")
    page.get_by_text("Outlined").first.wait_for()
    assert page.evaluate("document.activeElement.id") == "step-0-summary"


def test_the_list_shows_new_runs_as_they_come(window: Window, server: PageServer) -> None:
    page = logged_in(window, server)
    page.get_by_role("textbox", name="topic").fill("half a tho")
    server.run(topic="from elsewhere").now("FAILED", "ValueError: no")
    page.get_by_role("link", name="topic: from elsewhere").wait_for()
    page.get_by_text("ValueError: no").wait_for()  # the run fails after it was made, and the page may look between
    assert page.get_by_role("textbox", name="topic").input_value() == "half a tho"
    assert window.is_clean()


def test_a_server_that_is_gone_is_told_and_so_is_its_return(window: Window, server: PageServer) -> None:
    page = logged_in(window, server)
    window.context.set_offline(True)
    page.get_by_text("The server does not answer just now").wait_for()
    window.context.set_offline(False)
    page.get_by_text("The server does not answer just now").wait_for(state="hidden")


def _approve(page: Any) -> None:
    page.get_by_role("button", name="Approve").click()


def _ask_for_changes(page: Any) -> None:
    page.get_by_label("Your feedback").fill("Shorter.")
    page.get_by_role("button", name="Ask for changes").click()


def _choose(page: Any) -> None:
    page.get_by_role("button", name="redo").click()


def _tell(page: Any) -> None:
    page.get_by_label("Your answer").fill("42")
    page.get_by_role("button", name="Answer").click()


@BOTH
@pytest.mark.parametrize(
    ("kind", "options_of", "act", "feedback", "approved"),
    [
        ("task", None, _approve, "", True),
        ("task", None, _ask_for_changes, "Shorter.", False),
        ("flow", ["publish", "redo"], _choose, "redo", None),
        ("ask", None, _tell, "42", None),
    ],
)
def test_a_question_is_answered(
    browser: Any,
    server: PageServer,
    options: dict[str, Any],
    kind: str,
    options_of: list[str] | None,
    act: Callable[[Any], None],
    feedback: str,
    approved: bool | None,
) -> None:
    run = server.run(topic="AI agents")
    run.ask("q", kind, "Is it good?", "A draft", options_of)
    with Window(browser, server.url, options) as window:
        page = logged_in(window, server, f"/runs/{run.kickoff_id}")
        assert page.locator("#judged").inner_text() == "A draft"
        act(page)
        page.get_by_role("heading", name="Asked and answered").wait_for()
        assert not page.locator("#feedback").is_visible()
    answered = server.runs.question("q")
    assert answered
    assert (answered.feedback, answered.approved) == (feedback, approved)


def test_a_question_is_answered_by_keyboard_alone(window: Window, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    run.ask("q", "task", "Is it good?", "A draft")
    page = logged_in(window, server, f"/runs/{run.kickoff_id}")
    page.locator("#judged").focus()
    page.keyboard.press("Tab")
    page.keyboard.type("Shorter.")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Approve"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Asked and answered").wait_for()
    assert [(each.feedback, each.approved) for each in server.runs.questions(run.kickoff_id)] == [("Shorter.", False)]


@BOTH
def test_two_runs_are_ticked_and_compared_by_keyboard(
    browser: Any, server: PageServer, options: dict[str, Any]
) -> None:
    for topic in ("tides", "winds", "waves"):
        server.run(topic=topic).now("SUCCESS", result=f"About {topic}.", took=1)
    with Window(browser, server.url, options) as window:
        page = logged_in(window, server)
        for box in page.get_by_label("compare: run").all()[:2]:
            box.focus()
            page.keyboard.press("Space")
        if not options:
            server.run(topic="one more")
            page.get_by_role("link", name="topic: one more").wait_for()
        page.get_by_role("button", name="Compare the two ticked").focus()
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Two runs compared").wait_for()
        page.wait_for_load_state()
        assert page.locator("del").all_inner_texts()[:1] == ["waves"]
        assert page.locator("ins").all_inner_texts()[:1] == ["winds"]


def test_changes_without_a_word_are_not_asked_for(window: Window, server: PageServer) -> None:
    run = server.run()
    run.ask("q", "task", "Is it good?", "A draft")
    page = logged_in(window, server, f"/runs/{run.kickoff_id}")
    page.get_by_role("button", name="Ask for changes").click()
    assert page.locator("#feedback:invalid").is_visible()
    assert open_question(server.runs.questions(run.kickoff_id))


@BOTH
def test_a_run_is_stopped_after_a_second_click(browser: Any, server: PageServer, options: dict[str, Any]) -> None:
    run = server.run(topic="AI agents")
    run.now("RUNNING")
    with Window(browser, server.url, options) as window:
        page = logged_in(window, server, f"/runs/{run.kickoff_id}")
        page.get_by_text("Stop", exact=True).click()
        page.get_by_role("button", name="Stop this run for good").click()
        page.get_by_text("Stopped", exact=True).wait_for()
    assert server.listed(1)[0].state == "REVOKED"


def test_without_a_script_a_run_is_followed_by_reloads_unless_it_asks(browser: Any, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    run.now("RUNNING")
    reload = "meta[http-equiv=refresh]"
    with Window(browser, server.url, NO_SCRIPT) as window:
        page = logged_in(window, server, f"/runs/{run.kickoff_id}")
        assert page.locator(reload).get_attribute("content") == f"5; url={window.door}/runs/{run.kickoff_id}"
        run.ask("q", "task", "Good?")
        page.get_by_label("Your feedback").wait_for()
        assert page.locator(reload).count() == 0, "it would take away what somebody types"


def test_a_project_that_cannot_be_loaded_is_told_and_once_mended_there(window: Window, server: PageServer) -> None:
    server.backend.described = ProjectError("brief cannot be loaded: <script>window.pwned = 1</script>")
    page = logged_in(window, server)
    assert "<script>" in page.get_by_label("Why").inner_text()
    server.backend.described = FLOW
    page.get_by_role("link", name="reload this page").click()
    page.get_by_role("heading", name="poem").wait_for()
    assert window.is_clean()


def test_a_project_that_is_still_loading_is_shown_as_soon_as_it_is_there(window: Window, server: PageServer) -> None:
    server.backend.described = StillLoading("poem")
    page = logged_in(window, server)
    assert page.get_by_text("still being loaded").is_visible()
    assert page.get_by_text("What is wrong with it").count() == 0
    assert window.suits_everybody()
    server.backend.described = ProjectError("poem cannot be loaded")
    page.get_by_text("poem cannot be loaded").wait_for()
    server.backend.described = FLOW
    page.get_by_role("heading", name="poem").wait_for()
    assert page.get_by_role("button", name="Kick off", exact=True).is_visible()
    assert window.is_clean()


@pytest.mark.parametrize("path", ["result", "log"])
def test_a_text_in_full_is_never_a_page(window: Window, server: PageServer, path: str) -> None:
    run = server.run()
    run.now("SUCCESS", result=HOSTILE[0])
    server.backend.logs[run.kickoff_id] = HOSTILE[0]
    page = logged_in(window, server, f"/runs/{run.kickoff_id}/text/{path}")
    assert HOSTILE[0] in page.inner_text("body")
    assert window.is_clean()


def test_every_control_has_a_name(window: Window, server: PageServer) -> None:
    paths = everywhere(server, "word")
    window.context.add_init_script(NO_LOOK)  # a control that is shown anew has no name for a moment
    page = logged_in(window, server)
    for path in [*paths, "/login"]:
        window.go(path)
        for role in ("textbox", "button", "link", "checkbox", "progressbar"):
            for control in page.get_by_role(role).all():
                snapshot = control.aria_snapshot()
                assert re.match(rf"- '?{role} \"", snapshot), snapshot


@pytest.mark.parametrize("options", LOOKS, ids=str)
def test_axe_finds_nothing(browser: Any, server: PageServer, options: dict[str, Any]) -> None:
    paths = everywhere(server, "# Word\n\n- **word** in [a link](https://x.example)")
    with Window(browser, server.url, options) as window:
        window.go("/login")
        assert window.suits_everybody()
        logged_in(window, server)
        for path in [*paths, "/docs"]:
            window.go(path)
            assert window.suits_everybody()


def test_nothing_is_wider_than_a_narrow_window(browser: Any, server: PageServer) -> None:
    paths = everywhere(server, "wide" * 300)
    with Window(browser, server.url, {"viewport": {"width": 320, "height": 640}}) as window:
        page = logged_in(window, server)
        for path in [*paths, "/login"]:
            window.go(path)
            assert page.evaluate("document.documentElement.scrollWidth") <= 320


# ---- from other sites -----------------------------------------------------------------------------

ATTACK = """<!doctype html><form method=post action="{url}"><input name=key value="{key}"><input name=input.topic value=a>
<input name=input.audience value=b></form><script>document.forms[0].submit()</script>"""
FRAME = '<!doctype html><iframe src="{url}"></iframe>'
LINK = '<!doctype html><a href="{url}">There</a>'


class Elsewhere:
    """Another server on this machine, with a page of its own."""

    def __init__(self, html: str) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(html.encode())

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]

    def __enter__(self) -> Elsewhere:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_form_on_another_page_of_this_machine_does_nothing_even_if_it_knew_the_key(
    window: Window, server: PageServer, host: str
) -> None:
    page = logged_in(window, server)
    key = page.locator("input[name=key]").first.get_attribute("value")
    with Elsewhere(ATTACK.format(url=server.url + "/runs", key=key)) as elsewhere:
        page.goto(f"http://{host}:{elsewhere.port}/")
        page.wait_for_url(server.url + "/runs")
        assert "Another site sent this form" in page.get_by_role("alert").inner_text()
    assert server.listed(1) == []


def test_the_page_is_not_framed(window: Window, server: PageServer) -> None:
    page = logged_in(window, server)
    with Elsewhere(FRAME.format(url=server.url + "/")) as elsewhere:
        page.goto(f"http://127.0.0.1:{elsewhere.port}/")
        assert page.frames[1].get_by_role("heading").count() == 0
    assert any("frame-ancestors" in complaint for complaint in window.complaints)


def test_a_link_on_another_site_finds_one_logged_in(window: Window, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    page = logged_in(window, server)
    with Elsewhere(LINK.format(url=f"{server.url}/runs/{run.kickoff_id}")) as elsewhere:
        page.goto(f"http://localhost:{elsewhere.port}/")
        page.get_by_role("link").click()
        page.get_by_role("heading", name="topic: AI agents").wait_for()


def test_a_bookmark_of_another_page_finds_one_logged_in_until_one_logs_out(window: Window, server: PageServer) -> None:
    run = server.run(topic="AI agents")
    page = logged_in(window, server)
    door, window.door = window.door, ""
    for path, heading in ((f"/runs/{run.kickoff_id}", "topic: AI agents"), ("/", "brief")):
        window.go(path)
        page.get_by_role("heading", name=heading, exact=True).wait_for()
        assert page.url == server.url + door + path
    page.get_by_role("button", name="Log out").click()
    page.get_by_label("Token").wait_for()
    for _ in range(2):
        window.go("/")
        page.wait_for_timeout(300)
        page.get_by_label("Token").wait_for()


def test_a_link_on_another_site_lets_nobody_else_in(window: Window, server: PageServer) -> None:
    with Elsewhere(LINK.format(url=server.url + "/")) as elsewhere:
        window.page.goto(f"http://localhost:{elsewhere.port}/")
        window.page.get_by_role("link").click()
        window.page.get_by_label("Token").wait_for()
        window.page.wait_for_timeout(300)
        assert window.asked.count(server.url + "/") == 2, "it asks once more, not for ever"
