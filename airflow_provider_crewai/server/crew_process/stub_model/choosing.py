"""Picks one of several options by the feedback in a prompt."""

from __future__ import annotations

import re

_NO = re.compile(
    r"\bno\b|\bnot\b|n't\b|reject|wrong|\bbad|revis|redo|chang|\bfix|den[yi]|declin|cancel|stop|fail|improv|rework"
)
_YES = re.compile(r"\by(?:es|ep)\b|\bok|approv|accept|good|great|fine|lgtm|perfect|correct|agree|publish|ship|pass")


def chosen(options: list[str], prompt: str) -> str:
    """Pick the option that the feedback names or agrees with, or else the first one.

    The prompt is the one with which crewai collapses `@human_feedback(emit=…)` (`human_feedback_collapse`).
    """
    said = re.search(r"Feedback: (.*?)(?:\n\s*Possible outcomes:|\Z)", prompt, re.DOTALL)
    feedback = _spaced(said[1]) if said else ""
    negative = bool(_NO.search(feedback))
    agreeing = [one for one in options if (_NO if negative else _YES).search(_spaced(one))]
    named = [one for one in options if re.search(rf"\b{re.escape(_spaced(one))}\b", feedback)]
    if negative and agreeing:
        # "not approved" names `approved`, but means the other option.
        named = [one for one in named if not _YES.search(_spaced(one)) or _NO.search(_spaced(one))]
    if not (negative or _YES.search(feedback)):
        agreeing = []
    return (sorted(named, key=len, reverse=True) or agreeing or options)[0]


def _spaced(text: str) -> str:
    return re.sub(r"[_-]", " ", text.strip().lower())
