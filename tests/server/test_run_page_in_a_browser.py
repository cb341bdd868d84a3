"""The page of a run in a real browser, as any server may serve it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from browser import LOOKS, Window, browsing
from support.run_views import HOSTILE, MARKDOWN, NOW, a_run, everywhere

from airflow_provider_crewai.run_page.rendering import ASSETS, HEADERS, run_html, whole_text
from airflow_provider_crewai.run_page.view import RunView
from airflow_provider_crewai.wire.model import RunState

TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
BOTH = pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}], ids=["with script", "without script"])
PHONE = {"viewport": {"width": 390, "height": 844}}


class RunServer:
    """A server of one run's page."""

    def __init__(self, view: RunView) -> None:
        self.view = view
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, path: str) -> tuple[str, str]:
        _, room, name = path.split("/")
        if room == "assets":
            return TYPES[name.rpartition(".")[2]], (ASSETS / name).read_text()
        if room == "texts":
            return "text/plain; charset=utf-8", whole_text(self.view, name)
        refresh = "/run/" if self.view.is_live else None
        html = run_html(self.view, assets="/assets", now=NOW, refresh=refresh, every=1, texts="/texts")
        return "text/html; charset=utf-8", html

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                kind, body = answer(self.path)
                self.send_response(200)
                for name, value in {**HEADERS, "Content-Type": kind}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode("utf-8", "replace"))

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler

    def __enter__(self) -> RunServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as one:
        yield one


@pytest.fixture
def server() -> Iterator[RunServer]:
    with RunServer(a_run()) as one:
        yield one


def opened(window: Window) -> Any:
    window.go("/run/")
    return window.open_all()


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_crew_says_runs_nothing_and_asks_nobody(browser: Any, text: str) -> None:
    with RunServer(everywhere(text)) as server, Window(browser, server.url) as window:
        page = opened(window)
        for source in page.locator(".as-source").all():
            source.check()
        assert page.locator("#result").inner_text().strip() == text.strip()
        for link in page.locator(".rendered a").all():
            assert link.get_attribute("href").startswith("https://")
        assert window.is_clean()


@BOTH
def test_one_switches_between_what_is_rendered_and_its_source(
    browser: Any, server: RunServer, options: dict[str, Any]
) -> None:
    server.view = replace(a_run(), state=RunState.SUCCEEDED, answer=MARKDOWN, is_live=False)
    with Window(browser, server.url, options) as window:
        window.go("/run/")
        rendered, source = window.page.locator("#result-rendered"), window.page.locator("#result")
        assert rendered.get_by_role("heading", name="What we found").is_visible()
        assert not source.is_visible()
        window.page.locator("#result-as-rendered").focus()
        window.page.keyboard.press("ArrowRight")
        assert source.inner_text() == MARKDOWN
        assert not rendered.is_visible()


@BOTH
def test_a_tree_opens_and_closes_by_keyboard(browser: Any, server: RunServer, options: dict[str, Any]) -> None:
    with Window(browser, server.url, options) as window:
        window.go("/run/")
        window.page.locator("#step-1-summary").press("Enter")
        sources = window.page.locator("#output-1-1")
        assert sources.get_by_text("A survey").is_visible()
        sources.locator("summary").first.press("Enter")
        assert not sources.get_by_text("A survey").is_visible()


@BOTH
def test_a_long_output_is_unfolded(browser: Any, server: RunServer, options: dict[str, Any]) -> None:
    server.view = replace(a_run(), state=RunState.SUCCEEDED, answer="line\n" * 100, is_live=False)
    with Window(browser, server.url, options) as window:
        window.go("/run/")
        box, is_cut = window.page.locator("#result"), "box => box.scrollHeight > box.clientHeight"
        assert box.evaluate(is_cut) if "java_script_enabled" not in options else box.bounding_box()["height"] < 600
        window.page.get_by_label("Unfold: Result").check()
        assert box.bounding_box()["height"] > 1500


def test_a_live_run_is_followed_and_choices_are_kept(browser: Any, server: RunServer) -> None:
    with Window(browser, server.url) as window:
        window.go("/run/")
        page = window.page
        page.locator("#step-0-summary").click()
        page.locator("#output-0-as-source").check()
        page.locator("#step-1-summary").click()
        tree = page.locator("#output-1-rendered details").first
        tree.locator("summary").first.click()
        assert not tree.locator("ul").first.is_visible()
        server.view = replace(server.view, title="It goes on", crew_tasks=server.view.crew_tasks[:2])
        page.get_by_role("heading", name="It goes on").wait_for()
        page.get_by_text("to come").wait_for(state="hidden")
        assert page.locator("#output-0").is_visible()
        assert not page.locator("#output-0-rendered").is_visible()
        assert not tree.locator("ul").first.is_visible()
        assert window.is_clean()


@pytest.mark.parametrize("options", LOOKS, ids=str)
@pytest.mark.parametrize("state", [RunState.RUNNING, RunState.PAUSED, RunState.FAILED, RunState.SUCCEEDED])
def test_axe_finds_nothing(browser: Any, server: RunServer, options: dict[str, Any], state: RunState) -> None:
    server.view = a_run(state)
    with Window(browser, server.url, options) as window:
        window.go("/run/")
        assert window.suits_everybody()


@pytest.mark.parametrize("state", RunState)
def test_nothing_is_wider_than_a_phone(browser: Any, state: RunState) -> None:
    for view in (everywhere("wide" * 300, state), everywhere("- " + "wide" * 300, state), a_run(state)):
        with RunServer(view) as server, Window(browser, server.url, PHONE) as window:
            assert opened(window).evaluate("document.documentElement.scrollWidth") <= 390
