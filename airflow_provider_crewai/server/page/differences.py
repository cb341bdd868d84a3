"""Two texts side by side: which pieces of each are not in the other. By words, in long texts by lines."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher

_WORDS = re.compile(r"\s+|\w+|[^\w\s]")
_MOST = 1_500
"""Words, or lines, that are compared. The time grows with their square."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text.

    :param differs: whether it is not in the other text, or not there.
    """

    text: str
    differs: bool = False


@dataclass(frozen=True, slots=True)
class Sides:
    """Two texts.

    :param is_marked: whether their differences are marked. Very long texts are shown without.
    """

    left: tuple[Piece, ...]
    right: tuple[Piece, ...]
    is_marked: bool = True

    @property
    def differ(self) -> bool:
        """Return whether the texts are not the same."""
        return [piece.text for piece in self.left] != [piece.text for piece in self.right]


def sides(left: str, right: str) -> Sides:
    """Mark the differences of two texts."""
    if left == right:
        return Sides((Piece(left),), (Piece(right),))
    for parts in (_WORDS.findall, lambda text: text.splitlines(keepends=True)):
        lefts, rights = parts(left), parts(right)
        if max(len(lefts), len(rights)) <= _MOST:
            return _marked(lefts, rights)
    return Sides((Piece(left),), (Piece(right),), is_marked=False)


def _marked(lefts: list[str], rights: list[str]) -> Sides:
    steps = SequenceMatcher(None, lefts, rights, autojunk=False).get_opcodes()
    return Sides(
        tuple(Piece("".join(lefts[begin:end]), tag != "equal") for tag, begin, end, _, _ in steps if end > begin),
        tuple(Piece("".join(rights[begin:end]), tag != "equal") for tag, _, _, begin, end in steps if end > begin),
    )
