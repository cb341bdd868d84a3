"""Makes a tree from JSON, of elements that open and close without a script.

However large the value is, no more of it is visited than is shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

from markupsafe import Markup, escape

from airflow_provider_crewai.run_page.filters import visible
from airflow_provider_crewai.wire.beginnings import beginning
from airflow_provider_crewai.wire.model import JSON

_ROOM = 50_000
"""Characters of a tree, with its HTML."""

_BRANCH, _ROW = 160, 70
"""Characters of HTML that an element which opens takes, and one that does not."""

_MOST_CHILDREN = 200
_MOST_LEVELS = 20
_LEAF = 1_000
_KEY = 200
_OPEN_LEVELS = 2
_OPEN_CHILDREN = 20


def tree(value: dict[str, JSON] | list[JSON], id: str) -> tuple[Markup, bool]:
    """Return the tree, and whether it shows everything.

    :param id: what the ids of its elements begin with.
    """
    drawn = _Tree(id)
    html = "".join(drawn.children(value, 0))
    return Markup(f'<ul class="tree">{html}</ul>'), drawn.is_whole  # noqa: S704 - each text was escaped


class _Tree:
    def __init__(self, id: str) -> None:
        self._id = id
        self._room = _ROOM
        self._nodes = 0
        self.is_whole = True

    def children(self, value: dict[str, JSON] | list[JSON], level: int) -> Iterator[str]:
        pairs: Iterable[tuple[str | int, JSON]] = value.items() if isinstance(value, dict) else enumerate(value)
        shown = 0
        for key, inner in islice(pairs, _MOST_CHILDREN):
            if self._room <= 0:
                break
            shown += 1
            yield f"<li>{self._node(key, inner, level)}</li>"
        if left := len(value) - shown:
            self.is_whole = False
            yield f'<li class="cut">… {left:,} more</li>'

    def _node(self, key: str | int, value: JSON, level: int) -> str:
        name = f'<bdi class="key">{self._text(str(key), _KEY)}</bdi> '
        self._room -= _ROW
        if not value or not isinstance(value, dict | list):
            return name + self._leaf(value)
        if level >= _MOST_LEVELS:
            self.is_whole = False
            return name + '<span class="cut">… nested too deep to be shown here</span>'
        self._nodes += 1
        self._room -= _BRANCH - _ROW
        node_id = f"{self._id}-{self._nodes}"
        opened = " open" if level < _OPEN_LEVELS and len(value) <= _OPEN_CHILDREN else ""
        summary = f'<summary>{name}<span class="small">{_count(value)}</span></summary>'
        inner = "".join(self.children(value, level + 1))
        return f'<details id="{node_id}"{opened}>{summary}<ul>{inner}</ul></details>'

    def _leaf(self, value: JSON) -> str:
        kind = "text" if isinstance(value, str) else "sign"
        words = value if isinstance(value, str) else beginning(value, _LEAF) or "null"
        return f'<bdi class="{kind}">{self._text(words, _LEAF)}</bdi>'

    def _text(self, text: str, most: int) -> Markup:
        shown = text if len(text) <= most else text[:most] + "…"
        self.is_whole = self.is_whole and len(text) <= most
        self._room -= len(shown)
        return escape(visible(shown))


def _count(value: dict[str, JSON] | list[JSON]) -> str:
    unit = "field" if isinstance(value, dict) else "item"
    return f"{len(value):,} {unit}{'s' * (len(value) != 1)}"
