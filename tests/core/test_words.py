"""Text that others wrote is shown printable, of limited length, and without our secrets."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_crewai.wire.words import MAX_LINES, document, line, listing, paragraphs, printable, scrub

TOKEN = "pk/ab+c=d&e<f>'~secret"
WILD = st.one_of(
    st.text(),
    st.lists(st.sampled_from(["::group::", "##[", "\x1b[2J", "\n", "\u202e", "\u200b", TOKEN, "word", " "])).map(
        "".join
    ),
)
ESCAPED: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in a URL": lambda text: quote(text, safe=""),
    "in a URL, in small letters": lambda text: quote(text, safe="").replace("%2F", "%2f").replace("%3D", "%3d"),
    "in a URL, twice": lambda text: quote(quote(text, safe=""), safe=""),
    "in JSON": lambda text: json.dumps(text)[1:-1],
    "in JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "in JSON by code": lambda text: text.replace("=", "\\u003d").replace("&", "\\u0026").replace("+", "\\u002B"),
    "in JSON within JSON": lambda text: json.dumps(json.dumps(text).replace("/", "\\/"))[1:-1],
    "in HTML": html.escape,
    "in HTML, twice": lambda text: html.escape(html.escape(text)),
    "in HTML by name": lambda text: text.replace("/", "&sol;").replace("=", "&equals;").replace("+", "&plus;"),
    "in HTML by code": lambda text: text.replace("/", "&#47;").replace("+", "&#x2B;").replace("=", "&#061;"),
    "in a URL, each sign": lambda text: "".join(f"%{ord(sign):02X}" for sign in text),
    "in JSON by code, each sign": lambda text: "".join(f"\\u{ord(sign):04x}" for sign in text),
    "in HTML by code, each sign": lambda text: "".join(f"&#{ord(sign)};" for sign in text),
    "in HTML by code, each sign, twice": lambda text: "".join(f"&amp;#x{ord(sign):X};" for sign in text),
    "as Python writes bytes": lambda text: text.replace("'", "\\'").replace("=", "\\x3d"),
}


@pytest.mark.parametrize("escape", ESCAPED.values(), ids=ESCAPED)
def test_a_secret_is_masked_however_it_is_escaped(escape: Callable[[str], str]) -> None:
    said = f"Bearer {escape(TOKEN)} is unknown"
    masked = scrub(said, [TOKEN])
    assert masked.startswith("Bearer ")
    assert "***" in masked
    assert "secret" not in masked


@pytest.mark.parametrize("unseen", ["\u200b", "\u00ad", "\u2060", "\u202e", "\0", "\x08", "\x1b[0m", "\U000e0041"])
def test_a_secret_is_masked_where_nothing_that_is_seen_parts_it(unseen: str) -> None:
    assert line(f"Bearer {unseen.join(TOKEN)} is unknown", secrets=[TOKEN]) == "Bearer *** is unknown"


def test_the_longer_of_two_secrets_is_masked_as_a_whole() -> None:
    assert scrub("abcdefgh-more", ["abcdefgh", "abcdefgh-more", ""]) == "***"


def test_a_text_without_secrets_stays_as_it_is() -> None:
    said = "50% of &amp; \\u0041 \n std::vector"
    assert scrub(said, [TOKEN]) == said


@given(WILD, st.integers(20, 300))
def test_a_line_is_one_printable_line_of_that_length_at_most(text: str, limit: int) -> None:
    words = line(text, limit, [TOKEN])
    assert words.isprintable()
    assert len(words) <= limit
    assert TOKEN not in words
    assert "::group::" not in words
    assert "##[" not in words
    assert line(words, limit) == words


@given(WILD, st.integers(20, 300))
def test_paragraphs_are_printable_lines_and_only_the_first_begins_at_the_margin(text: str, limit: int) -> None:
    first, *others = paragraphs(text, limit, [TOKEN]).splitlines() or [""]
    assert first.isprintable()
    assert all(other.isprintable() and other.startswith("    ") for other in others)
    assert len("\n".join([first, *others])) <= limit
    assert len(others) < MAX_LINES + 1


@given(WILD, st.integers(20, 300))
def test_a_documents_lines_are_printable_and_none_is_an_order(text: str, limit: int) -> None:
    shown = document(text, limit, [TOKEN])
    assert all(each.isprintable() for each in shown.split("\n"))
    assert len(shown) <= limit
    assert TOKEN not in shown
    assert "::group::" not in shown


def test_a_document_keeps_its_paragraphs_and_its_code() -> None:
    draft = "# Tides\n\nOne.\n\n    code\n\n" + "- point\n" * 100
    assert document(draft) == draft.strip("\n")


@given(st.text(st.characters(exclude_categories=["C", "Z", "M", "Lo", "So"], exclude_characters=":#"), max_size=50))
def test_words_that_harm_nobody_are_shown_as_they_are(text: str) -> None:
    assert line(text) == paragraphs(text) == document(text) == printable(text) == text


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("one\ntwo\r\nthree\u2028four\x85five", "one two three four five"),
        ("\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x1b\\", "red link"),
        ("\x1b ESC alone, \x9b2J too", "ESC alone, 2J too"),
        ("abc\u202edcba\u2066", "abcdcba"),
        ("zero\u200bwidth\ufeff", "zerowidth"),
        ("hangul\u3164filler, heart\ufe0f", "hangulfiller, heart"),
        ("nul\0here, lone \ud800", "nulhere, lone"),
        ("::group::a b::endgroup::", ": :group::a b: :endgroup::"),
        ("::error file=a.py,line=1::no", ": :error file=a.py,line=1::no"),
        ("##[group]and ##vso[task.complete]", "# #[group]and # #vso[task.complete]"),
        ("std::vector, 12::30, # head, a ## b", "std::vector, 12::30, # head, a ## b"),
    ],
)
def test_what_a_terminal_or_a_log_viewer_would_obey_is_shown_harmless(said: str, shown: str) -> None:
    assert line(said) == shown


def test_what_is_cut_off_is_marked() -> None:
    assert line("a" * 200) == "a" * 200
    assert line("a" * 201) == "a" * 199 + "…"
    assert line("a" + " " * 10_000 + "b") == "a…"


@pytest.mark.parametrize("before", range(1570, 1601))
def test_no_half_of_a_secret_is_left_where_a_text_is_cut(before: int) -> None:
    assert "pk/" not in line(" " * before + TOKEN, secrets=[TOKEN])


@pytest.mark.parametrize(
    "part", ["\x1b[", "\x1b]", "\x1b]a", "\\", "&", "&amp;", "%25", ":", "#", "\0", "a\n", "a", " "]
)
def test_a_megabyte_of_anything_is_made_a_line_in_a_moment(part: str) -> None:
    began = time.process_time()
    line(part * 1_000_000, secrets=[TOKEN])
    paragraphs(part * 1_000_000, secrets=[TOKEN])
    document(part * 1_000_000, secrets=[TOKEN])
    assert time.process_time() - began < 0.5


def test_any_number_of_names_is_one_line() -> None:
    assert listing(["topic", "audience"]) == "topic, audience"
    assert listing(f"name {number}" for number in range(10_000)).endswith("…")
    assert len(listing(["x"] * 10_000)) == 500
