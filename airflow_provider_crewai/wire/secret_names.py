"""Which inputs are secrets, by their names. What a person sees of them is a mask."""

from __future__ import annotations

import re
from itertools import pairwise

from airflow_provider_crewai.wire.model import JSON, JSONObject

MASK = "***"

_SECRET = re.compile(
    "pass(words?|wd|phrase|code)|pwd|secrets?|token|credentials?|authorization|bearer|(api|access|private|secret)key"
)
_KIND_OF_KEY = re.compile("api|access|private|secret|signing|encryption|ssh|auth|account|master|service|license")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_LONGEST_NAME = 200
_DEEPEST = 200


def is_secret(name: str) -> bool:
    """Return whether an input's name says that its value is a secret: `api_key`, `dbPassword`, `GITHUB_TOKEN`."""
    words = [word.lower() for word in _WORD.findall(name[:_LONGEST_NAME])]
    keys = [before for before, word in pairwise(words) if word in ("key", "keys")]
    return any(map(_SECRET.fullmatch, words)) or any(map(_KIND_OF_KEY.fullmatch, keys))


def masked(value: JSON, level: int = 0) -> JSON:
    """Return a value for people: each secret in it, at any depth, is a mask."""
    if level > _DEEPEST:
        return "…"
    if isinstance(value, dict):
        return {name: MASK if _hides(name, inner) else masked(inner, level + 1) for name, inner in value.items()}
    return [masked(inner, level + 1) for inner in value] if isinstance(value, list) else value


def without_secrets(values: JSONObject, level: int = 0) -> JSONObject:
    """Return values without the secrets in them, at any depth, and without their names."""
    return {name: _without(inner, level + 1) for name, inner in values.items() if not _hides(name, inner)}


def _without(value: JSON, level: int) -> JSON:
    if level > _DEEPEST:
        return None
    if isinstance(value, dict):
        return without_secrets(value, level)
    return [_without(inner, level + 1) for inner in value] if isinstance(value, list) else value


def _hides(name: str, value: JSON) -> bool:
    return is_secret(name) and not isinstance(value, bool | None) and value != ""
