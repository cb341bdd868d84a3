"""Makes safe HTML from Markdown. The renderer is `markdown-it-py`; what it may make is narrowed here.

Raw HTML stays text. A link leads to http, https or mailto and tells nobody where it was found; any other stays text.
An image is shown as a link, because the page loads nothing from anywhere. No element has a style or an id. A text that
would take long to render is refused (`is_costly`), because the parser is quadratic in some signs and a table can make
far more cells than the text has characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

_SCHEMES = ("http://", "https://", "mailto:")
_REL = "noopener noreferrer nofollow"
_COSTLY_SIGNS = "[*_`~|<"
_MOST_SIGNS = 3_000
_MOST_CELLS = 10_000
_TOP, _DEEPEST = 3, 6
"""The page's own headings are on the levels 1 and 2."""


@lru_cache(maxsize=128)  # a page that follows a run shows the same outputs again and again
def html(text: str) -> Markup:
    """Return the text as HTML."""
    tokens = _PARSER.parse(text)
    _fit_in(tokens)
    return Markup(_PARSER.renderer.render(tokens, _PARSER.options, {}))  # noqa: S704 - escaped by the renderer, as the tests with hostile texts show


def is_costly(text: str) -> bool:
    """Return whether rendering may take long, measured in signs that the parser must pair and cells of a table."""
    lines = text.split("\n")
    widest = max(line.count("|") for line in lines)
    return sum(map(text.count, _COSTLY_SIGNS)) > _MOST_SIGNS or widest * len(lines) > _MOST_CELLS


class _Renderer(RendererHTML):
    """Writes the elements that need more than `markdown-it-py` gives them, or less."""

    def link_open(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        return f'<a href="{escape(tokens[index].attrGet("href"))}" rel="{_REL}">'

    def image(self, tokens: Sequence[Token], index: int, options: Any, env: Any) -> str:
        token = tokens[index]
        words = self.renderInlineAsText(token.children or [], options, env) or token.attrGet("src")
        return f'<a href="{escape(token.attrGet("src"))}" rel="{_REL}">{escape(words)}</a>'

    def table_open(self, *_: Any) -> str:
        return '<div class="wide" tabindex="0" role="group" aria-label="Table"><table>\n'

    def table_close(self, *_: Any) -> str:
        return "</table></div>\n"

    def fence(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        return f'<pre tabindex="0" role="group" aria-label="Code"><code>{escape(tokens[index].content)}</code></pre>\n'

    def code_block(self, tokens: Sequence[Token], index: int, *_: Any) -> str:
        return self.fence(tokens, index)


def _fit_in(tokens: Sequence[Token]) -> None:
    """Make headings and tables fit into the page."""
    level = _TOP - 1
    for token in tokens:
        if token.type == "heading_open":
            # None is left out: in a screen reader's list of headings one would seem to be missing.
            level = min(level + 1, _TOP - 1 + int(token.tag[1:]), _DEEPEST)
        if token.type.startswith("heading"):
            token.tag = f"h{level}"
        elif token.attrs.pop("style", "") == "text-align:right":
            # The Content-Security-Policy refuses styles.
            token.attrs["class"] = "right"


def _parser() -> MarkdownIt:
    options = {"html": False, "breaks": True, "maxNesting": 20}
    parser = MarkdownIt("commonmark", options, renderer_cls=_Renderer).enable(["table", "strikethrough"])
    parser.validateLink = lambda url: url.lower().startswith(_SCHEMES)  # type: ignore[method-assign]  # its own way to narrow
    return parser


_PARSER = _parser()
