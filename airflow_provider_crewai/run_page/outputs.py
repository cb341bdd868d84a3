"""How is an output shown? As what it looks like, because nothing says what it is.

- JSON, if it is an object or a list, or a text that holds one and nothing else, in a Markdown fence or not: as a tree;
- Markdown, if a line of the text begins as a heading, a list, a quotation, a fence or a table does, or if it holds bold
  text, a link or code: as HTML;
- any other text as it is, and any other value as JSON writes it.

The source can always be seen instead. Of a long output the beginning is shown, and less of it where a page has many.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Literal

from markupsafe import Markup

from airflow_provider_crewai.run_page import json_tree, markdown
from airflow_provider_crewai.run_page.filters import line, visible
from airflow_provider_crewai.wire.beginnings import beginning
from airflow_provider_crewai.wire.model import JSON

SHOWN = 20_000
"""Characters of an output that the page shows. A link leads to the whole."""

_BRIEF = 1_000
_PAGE = 300_000
"""Characters of all outputs on one page, with their HTML. About ten reports of many pages each."""

_LONGEST_JSON = 2_000_000
_LONG, _MANY_LINES = 2_500, 25
_PREVIEW = 140

_MARKDOWN = re.compile(
    r"^ {0,3}(?:#{1,6} |[-*+] |\d{1,9}[.)] |> |```|~~~|\|[^\n]*\|)"
    r"|\*\*[^\s*]|\[[^\[\]\n]{1,200}\]\(|`[^`\n]{1,200}`",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Output:
    """An output as the page shows it.

    :param source: its text, or its beginning.
    :param rendered: HTML, or None if the source is all that there is to show.
    :param is_cut: whether there is more than is shown here.
    :param is_long: whether it is folded.
    """

    kind: Literal["json", "markdown", "text"]
    source: str
    rendered: Markup | None = None
    is_cut: bool = False

    @property
    def preview(self) -> str:
        """Return its beginning in one line, without the signs of Markdown."""
        return line(self.rendered.striptags() if self.rendered and self.kind == "markdown" else self.source, _PREVIEW)

    @property
    def is_long(self) -> bool:
        """Return whether it takes more than a screen."""
        return len(self.source) > _LONG or self.source.count("\n") > _MANY_LINES


class Outputs:
    """All outputs of one page. The first ones fill it, and of the others it shows a few lines."""

    def __init__(self) -> None:
        self._room = _PAGE

    def __call__(self, value: JSON, id: str) -> Output:
        """Return how an output is shown.

        :param id: what the ids of its elements begin with; no two outputs of a page have the same.
        """
        shown = _output(value, id) if self._room > 0 else _text(value, _BRIEF)
        self._room -= len(shown.source) + len(shown.rendered or "")
        return shown


def _output(value: JSON, id: str) -> Output:
    found = _json(value) if isinstance(value, str) else value
    plain = _text(value, SHOWN)
    if found and isinstance(found, dict | list):
        rendered, is_whole = json_tree.tree(found, id)
        return replace(plain, kind="json", rendered=rendered, is_cut=plain.is_cut or not is_whole)
    if _MARKDOWN.search(plain.source) and not markdown.is_costly(plain.source):
        return replace(plain, kind="markdown", rendered=markdown.html(plain.source))
    return plain


def _text(value: JSON, most: int) -> Output:
    head = beginning(value, most)
    return Output("text", visible(head[:most]), is_cut=len(head) > most)


def _json(text: str) -> JSON:
    if len(text) > _LONGEST_JSON:
        return None
    bare = _unfenced(text.strip())
    if bare[:1] + bare[-1:] not in ("{}", "[]"):
        return None
    try:
        found: JSON = json.loads(bare)
    except (ValueError, RecursionError):
        return None
    return found


def _unfenced(text: str) -> str:
    """Return what stands in a fence, if the text is nothing but one."""
    first, _, rest = text.partition("\n")
    return rest[:-3].strip() if first in ("```", "```json") and rest.endswith("\n```") else text
