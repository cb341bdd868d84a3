"""Words that others wrote, made fit for people to read: printable, of one measure, without our secrets.

A deployment, a crew or a model may say anything, and what it says ends in logs and on terminals. There a line
break forges a line, an escape sequence rewrites the screen, and a megabyte hides everything else. Answers (ids,
results) are no words: they are never altered.
"""

from __future__ import annotations

import html.entities
import re
from collections.abc import Callable, Iterable
from functools import lru_cache

SHORTEST_SECRET = 8
"""Characters from which on a secret is taken out of words: a shorter one would take parts of common words with it."""

LINE = 200
"""Characters of one line."""

PARAGRAPHS = 2_000
"""Characters of the longest words that are shown."""

MAX_LINES = 30
"""Lines of the longest words that are shown: a screen."""

_INDENT = "    "
_ESCAPES = "%\\&"
"""How a sign begins that a URL, JSON or HTML has escaped."""

_ESCAPE_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))")
"""What sets a terminal's colours (CSI), its title or a link (OSC)."""

_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""What Python calls printable though nothing is shown: Unicode's ignorable signs, fillers, the empty Braille cell."""

_COMMAND = re.compile(r"::(?=(?:end)?group)|(?<!\w)::(?=[a-z])|##(?=\w*\[)", re.IGNORECASE)
"""Where a log viewer's or CI's order begins: `::group::`, `::error file=…::`, `##[group]`, `##vso[…]`.

Airflow folds the lines after `::group::` away, wherever in a line it stands.
"""


def line(text: str, limit: int = LINE, secrets: Iterable[str] = ()) -> str:
    """Make one printable line.

    :param limit: characters, "…" for what is cut off among them.
    :param secrets: what must not be shown; see `scrub`.
    """
    return _fit(text, limit, secrets, _one_line)


def listing(names: Iterable[str], limit: int = 500) -> str:
    """Make one line of names, however many there are."""
    return line(", ".join(names), limit)


def paragraphs(text: str, limit: int = PARAGRAPHS, secrets: Iterable[str] = ()) -> str:
    """Make some printable lines. All but the first are indented, so that none is taken for a line of its own.

    :param limit: characters, "…" for what is cut off among them.
    :param secrets: what must not be shown; see `scrub`.
    """
    return _fit(text, limit, secrets, _some_lines)


def printable(text: str, keep: str = "") -> str:
    """Take out what a terminal would obey instead of showing, and what is not seen. White space becomes a blank.

    :param keep: signs that stay, such as the line break.
    """
    shown = _UNSEEN.sub("", _ESCAPE_SEQUENCE.sub("", text))
    if shown.isprintable():
        return shown
    return "".join(sign if sign.isprintable() or sign in keep else " " * sign.isspace() for sign in shown)


def is_an_order(text: str) -> bool:
    """Whether a log viewer or a CI would obey the text instead of showing it."""
    return _COMMAND.search(text) is not None


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets by `***`, also where JSON, a URL or HTML has escaped some or all of their signs."""
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, "***")
        if any(sign in text for sign in _ESCAPES):
            text = _spellings(secret).sub("***", text)
    return text


def _fit(text: str, limit: int, secrets: Iterable[str], clean: Callable[[str], str]) -> str:
    secrets = tuple(secrets)
    head = text[: 8 * limit]  # cleaning a megabyte takes a second
    words = scrub(clean(head), secrets)
    # Half a secret may stand where we have cut.
    unsure = 0 if head == text else max(map(len, secrets), default=0)
    shown = "\n".join(words[: max(0, len(words) - unsure)].split("\n")[:MAX_LINES])
    if head == text and shown == words and len(words) <= limit:
        return words
    return shown[: limit - 1].rstrip() + "…"


def _one_line(text: str) -> str:
    return _COMMAND.sub(_broken, " ".join(printable(text).split()))


def _some_lines(text: str) -> str:
    lines = (_COMMAND.sub(_broken, printable(each).rstrip()) for each in text.splitlines())
    return f"\n{_INDENT}".join(filter(None, lines)).strip()


def _broken(marker: re.Match[str]) -> str:
    return " ".join(marker[0])


@lru_cache(maxsize=64)
def _spellings(secret: str) -> re.Pattern[str]:
    return re.compile("".join(map(_spelling, secret)))


def _spelling(sign: str) -> str:
    """Write a pattern for a sign as it is and as it is escaped, once or more often.

    Each of its branches begins with a sign of its own, so that long texts are passed over quickly.
    """
    code, plain = ord(sign), re.escape(sign)
    names = [name[:-1] for name, meant in html.entities.html5.items() if meant == sign and name[-1] == ";"]
    entities = "|".join([*names, f"#0{{0,6}}{code}", f"#x0{{0,6}}{code:x}"])
    byte = "".join(f"%(?:25){{0,3}}{byte:02x}" for byte in sign.encode("utf-8", "surrogatepass"))[1:]
    return (
        rf"(?:{plain}|%(?i:{byte})|&(?i:(?:amp;){{0,3}}(?:{entities});)"
        rf"|\\\\{{0,2}}(?:{plain}|(?i:u{code:04x}|x{code:02x})))"
    )
