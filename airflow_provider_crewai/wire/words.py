"""Makes text that others wrote safe for people to read: printable, of limited length, without our secrets.

A deployment, a crew or a model may say anything, and we show it in logs and on terminals. There a line break forges a
line, an escape sequence rewrites the screen, and a megabyte hides everything else. Answers (ids, results) are not such
texts: they are never changed.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

SHORTEST_SECRET = 8
"""The fewest characters of a secret that we mask. A shorter one would also mask parts of common words."""

LINE = 200
"""The most characters of one line."""

PARAGRAPHS = 2_000
"""The most characters of a longer text."""

MAX_LINES = 30
"""The most lines of a longer text: a screen."""

DOCUMENT = 20_000
"""The most characters of what a person is to judge."""

_INDENT = "    "
_ESCAPES = "%\\&"
"""How a character begins that a URL, JSON or HTML has escaped."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""Sequences that set a terminal's colours (CSI), its title or a link (OSC)."""

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Characters that Python calls printable, but that show nothing: Unicode's ignorable characters, fillers, the empty
Braille cell."""

_COMMAND = re.compile(r"::(?=(?:end)?group)|(?<!\w)::(?=[a-z])|##(?=\w*\[)", re.IGNORECASE)
"""Where a command for a log viewer or a CI begins: `::group::`, `::error file=…::`, `##[group]`, `##vso[…]`.

Airflow folds away the lines after `::group::`, wherever in a line it stands.
"""


def line(text: str, limit: int = LINE, secrets: Iterable[str] = ()) -> str:
    """Return the text as one printable line.

    :param limit: the most characters, with the "…" that marks a cut.
    :param secrets: what must not be shown; see `scrub`.
    """
    return _fit(text, limit, secrets, _one_line)


def listing(names: Iterable[str], limit: int = 500) -> str:
    """Return one line of names, however many there are."""
    return line(", ".join(names), limit)


def paragraphs(text: str, limit: int = PARAGRAPHS, secrets: Iterable[str] = ()) -> str:
    """Return the text as a few printable lines. All but the first are indented, so that none looks like a log line.

    :param limit: the most characters, with the "…" that marks a cut.
    :param secrets: what must not be shown; see `scrub`.
    """
    return _fit(text, limit, secrets, _some_lines)


def document(text: str, limit: int = DOCUMENT, secrets: Iterable[str] = ()) -> str:
    """Return a text of any number of printable lines, with its blank lines and indents: Markdown needs both.

    :param limit: the most characters, with the "…" that marks a cut.
    :param secrets: what must not be shown; see `scrub`.
    """
    return _fit(text, limit, secrets, _all_lines, limit)


def printable(text: str, keep: str = "") -> str:
    """Remove what a terminal would obey instead of showing, and what is invisible. White space becomes a blank.

    :param keep: characters that stay, such as the line break.
    """
    shown = _UNSEEN.sub("", _ESCAPE_SEQUENCE.sub("", text))
    if shown.isprintable():
        return shown
    return "".join(sign if sign.isprintable() or sign in keep else " " * sign.isspace() for sign in shown)


def is_an_order(text: str) -> bool:
    """Return whether a log viewer or a CI would obey the text instead of showing it."""
    return _COMMAND.search(text) is not None


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets with `***`, even if JSON, a URL or HTML has escaped some or all of their characters."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
        if any(sign in text for sign in _ESCAPES):
            text = _spellings(secret).sub("***", text)
    return text


def _fit(
    text: str, limit: int, secrets: Iterable[str], clean: Callable[[str], str], most_lines: int = MAX_LINES
) -> str:
    secrets = tuple(secrets)
    head = text[: 8 * limit]  # cleaning a megabyte takes a second
    words = scrub(clean(head), secrets)
    # The cut may have left half a secret at the end.
    unsure = 0 if head == text else max(map(len, secrets), default=0)
    shown = "\n".join(words[: max(0, len(words) - unsure)].split("\n")[:most_lines])
    if head == text and shown == words and len(words) <= limit:
        return words
    return shown[: limit - 1].rstrip() + "…"


def _one_line(text: str) -> str:
    return _COMMAND.sub(_broken, " ".join(printable(text).split()))


def _some_lines(text: str) -> str:
    lines = (_COMMAND.sub(_broken, printable(each).rstrip()) for each in text.splitlines())
    return f"\n{_INDENT}".join(filter(None, lines)).strip()


def _all_lines(text: str) -> str:
    lines = (printable(each.expandtabs(4)).rstrip() for each in text.splitlines())
    return _COMMAND.sub(_broken, "\n".join(lines)).strip("\n")


def _broken(marker: re.Match[str]) -> str:
    return " ".join(marker[0])


@lru_cache(maxsize=64)
def _spellings(secret: str) -> re.Pattern[str]:
    return re.compile("".join(map(_spelling, secret)))


def _spelling(sign: str) -> str:
    """Return a pattern for a character as it is, and escaped once or more often.

    Each of its branches begins with a different character, so that long texts are searched quickly.
    """
    code, plain = ord(sign), re.escape(sign)
    names = [name[:-1] for name, meant in html.entities.html5.items() if meant == sign and name[-1] == ";"]
    entities = "|".join([*names, f"#0{{0,6}}{code}", f"#x0{{0,6}}{code:x}"])
    byte = "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in sign.encode("utf-8", "surrogatepass"))[1:]
    return (
        rf"(?:{plain}|%(?i:{byte})|&(?i:(?:amp;){{0,3}}(?:{entities});)"
        rf"|\\\\{{0,2}}(?:{plain}|(?i:u{code:04x}|x{code:02x})))"
    )
