"""Random values of the wire, for hypothesis."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
"""Texts that a log, a database and a wire can hold."""

WILD_TEXTS = st.text(max_size=20)
"""Texts with lone surrogates and NUL among them."""

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70), st.just(10**400), st.floats(allow_nan=False, allow_infinity=False, width=64)
)


def json_values(texts: st.SearchStrategy[str] = TEXTS) -> st.SearchStrategy[Any]:
    """Any JSON value whose texts are of the given kind."""
    leaves = st.one_of(st.none(), st.booleans(), NUMBERS, texts)
    return st.recursive(
        leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
    )


def leaves(value: object) -> Iterator[object]:
    """Every scalar and every key within a JSON value."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from leaves(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def is_storable(value: object) -> bool:
    """Whether a database, a log and JSON itself could hold the value."""
    return all(map(_is_storable_leaf, leaves(value)))


def _is_storable_leaf(leaf: object) -> bool:
    if isinstance(leaf, float):
        return math.isfinite(leaf)
    return not isinstance(leaf, str) or ("\0" not in leaf and not any("\ud800" <= sign <= "\udfff" for sign in leaf))


def as_bytes(value: object, *, encoding: str = "utf-8", escape: bool = True) -> bytes:
    """A JSON body; with `escape=False` lone surrogates travel as raw bytes."""
    return json.dumps(value, ensure_ascii=escape).encode(encoding, "surrogatepass")
