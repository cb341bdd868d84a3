"""The form that kicks a project off: controls by type, defaults, what was used last, and what is sent."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Window, browsing
from page_server import PageServer
from support.html_document import Document

from airflow_provider_crewai.server.project import Description

TYPES: dict[str, Any] = {
    "topic": {"type": "string", "description": "What to write about"},
    "lines": {"type": "integer", "minimum": 1, "maximum": 9},
    "ratio": {"type": "number"},
    "rhymes": {"type": "boolean"},
    "tone": {"type": "string", "enum": ["dry", "warm & kind"]},
    "size": {"enum": [1, 2]},
    "tags": {"type": "array"},
    "api_key": {"type": "string"},
}
DEFAULTS: dict[str, Any] = {"lines": 4, "rhymes": True, "tone": "dry", "tags": ["a"]}
TYPED = Description("flow", "poem", [*TYPES, "free"], defaults=DEFAULTS, types=TYPES)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    with PageServer(tmp_path) as one:
        one.backend.described = TYPED
        yield one


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as one:
        yield one


def kicked_off(server: PageServer) -> object:
    return server.runs.inputs(server.listed(1)[0].kickoff_id)


def control(page: Document, name: str) -> dict[str, str | None]:
    tags = ("input", "select", "textarea")
    return next(each for tag in tags for each in page.all(tag) if each.get("name") == f"input.{name}")


def test_each_type_has_its_control(server: PageServer) -> None:
    page = Document(server.see("/"))
    lines = control(page, "lines")
    assert (lines["type"], lines["min"], lines["max"], lines["step"], lines["value"]) == ("number", "1", "9", "1", "4")
    assert control(page, "ratio")["step"] == "any"
    assert control(page, "api_key")["type"] == "password"
    assert "rows" in control(page, "topic")
    assert "What to write about" in page.words
    selected = [option["value"] for option in page.all("option") if "selected" in option]
    assert selected == ["true", '"dry"']
    assert [box["value"] for box in page.all("input") if box.get("type") == "checkbox"] == ["free"]


@pytest.mark.parametrize("script", [True, False])
def test_what_is_filled_in_is_sent_with_its_type(browser: Any, server: PageServer, script: bool) -> None:
    with Window(browser, server.url, {"java_script_enabled": script}) as window:
        window.go(server.page.ticket())
        page = window.page
        page.get_by_label("topic").fill("5")
        page.get_by_label("lines").fill("7")
        page.get_by_label("ratio").fill("0.5")
        page.get_by_label("rhymes").select_option("false")
        page.get_by_label("tone").select_option(label="warm & kind")
        page.get_by_label("size").select_option("2")
        page.get_by_label("tags").fill('["b", 1]')
        page.get_by_label("api_key").fill("s3cret")
        page.get_by_role("button", name="Kick off", exact=True).click()
    assert kicked_off(server) == {
        "topic": "5",
        "lines": 7,
        "ratio": 0.5,
        "rhymes": False,
        "tone": "warm & kind",
        "size": 2,
        "tags": ["b", 1],
        "api_key": "s3cret",
    }


def test_what_is_left_as_it_stands_is_the_defaults(browser: Any, server: PageServer) -> None:
    with Window(browser, server.url) as window:
        window.go(server.page.ticket())
        window.page.get_by_role("button", name="Kick off", exact=True).click()
    assert kicked_off(server) == DEFAULTS


def test_a_link_fills_in_what_was_used_last_without_its_secrets(browser: Any, server: PageServer) -> None:
    assert "used last" not in server.see("/")
    last: dict[str, Any] = {
        "topic": "tides",
        "lines": 2,
        "rhymes": False,
        "tone": "warm & kind",
        "tags": [],
        "free": [1],
    }
    server.run(topic="earlier")
    server.run(**last, api_key="s3cret")
    with Window(browser, server.url) as window:
        window.go(server.page.ticket())
        window.page.get_by_role("link", name="Fill in what was used last").click()
        assert window.page.get_by_text("The secrets of that run are left out").is_visible()
        assert window.page.get_by_label("api_key").input_value() == ""
        assert "s3cret" not in window.page.content()
        window.page.get_by_role("button", name="Kick off", exact=True).click()
    assert kicked_off(server) == last


def test_a_refused_form_keeps_its_types(server: PageServer) -> None:
    seen = server.send("/runs", {"input.lines": "7", "input.tags": "[", "input.rhymes": "false", "json": [*TYPES]})
    assert seen.status == 422
    page = Document(seen.text)
    assert control(page, "lines")["value"] == "7"
    assert [option["value"] for option in page.all("option") if "selected" in option] == ["false", '"dry"']


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": ["integer", "null"]},
        {"type": 7},
        {"enum": "x"},
        {"enum": [None, {"a": 1}]},
        {"description": 5},
        {"minimum": "x", "type": "number"},
    ],
)
def test_a_schema_of_any_shape_makes_a_form(server: PageServer, schema: dict[str, Any]) -> None:
    server.backend.described = Description("flow", "poem", ["x"], defaults={"x": [1]}, types={"x": schema})
    assert control(Document(server.see("/")), "x")


def test_axe_finds_nothing_in_a_form_of_all_types(browser: Any, server: PageServer) -> None:
    with Window(browser, server.url, {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}) as window:
        window.go(server.page.ticket())
        assert window.suits_everybody()
        assert window.page.evaluate("document.documentElement.scrollWidth") <= 390


def test_the_form_can_be_filled_in_by_keyboard_alone(browser: Any, server: PageServer) -> None:
    with Window(browser, server.url) as window:
        window.go(server.page.ticket())
        window.page.get_by_label("topic").focus()
        for keys in ("tides", "Tab", "7", "Tab", "Tab", "Tab", "Tab", "Tab", "Tab", "Tab", "Tab", "Tab", "Enter"):
            window.page.keyboard.press(keys) if keys in ("Tab", "Enter") else window.page.keyboard.type(keys)
        window.page.get_by_text("Waiting for a free slot").first.wait_for()
    assert kicked_off(server) == DEFAULTS | {"topic": "tides", "lines": 7}
