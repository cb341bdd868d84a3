"""A real browser: the machine's own Chromium, driven by Playwright. Where either is missing, its tests are skipped."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
LOOKS: list[dict[str, Any]] = [
    {"color_scheme": scheme, "viewport": {"width": width, "height": 900}}
    for scheme in ("light", "dark")
    for width in (1440, 390)
]
"""Light and dark, on a desk and on a phone."""

NAMES = ("chromium", "chromium-browser", "google-chrome")
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def _program() -> str:
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(NAMES)} is in PATH")
    return program


@contextmanager
def browsing() -> Iterator[Any]:
    """Start the browser; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="no browser: playwright is not installed")
    program = _program()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=[*OPTIONS])
        yield browser
        browser.close()


@dataclass
class Window:
    """A browser window with nobody logged in, that notes what must never happen.

    :param origin: the only one that may be asked for anything.
    :param door: the path that its session is good below.
    """

    browser: Any
    origin: str
    options: dict[str, Any] = field(default_factory=dict)
    door: str = ""

    def __enter__(self) -> Window:
        self.context = self.browser.new_context(**self.options)
        self.context.set_default_timeout(30_000)
        self.page = self.context.new_page()
        self.asked: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()

    def go(self, path: str) -> None:
        self.page.goto(self.origin + ("" if path.startswith("/login") else self.door) + path)

    def open_all(self) -> Any:
        """Open all that is folded away."""
        self.page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
        return self.page

    def suits_everybody(self) -> bool:
        """Tell that axe finds nothing in all that the page holds."""
        axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed").Axe()
        found = axe.run(self.open_all(), options={"runOnly": RULES, "resultTypes": ["violations"]}).response
        assert [(each["id"], [node["html"] for node in each["nodes"]]) for each in found["violations"]] == []
        return True

    def is_clean(self) -> bool:
        """Tell that no script but ours ran, nothing was refused, and nobody else was asked."""
        assert self.complaints == []
        assert [url for url in self.asked if not url.startswith(self.origin + "/")] == []
        return bool(self.page.evaluate("window.pwned === undefined"))


@contextmanager
def on_a_laptop() -> Iterator[Any]:
    """A window of a laptop's size, for pages that a busy Airflow takes long to show."""
    with browsing() as browser:
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.set_default_timeout(30_000)
        yield context.new_page()
