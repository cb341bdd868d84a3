"""The states of a run, by the API's own names. The server and the runs' processes share them."""

from __future__ import annotations

UNDER_WAY = ("STARTED", "RUNNING")
"""States of a run that has, or should have, a process at work. Such a run takes a slot."""

OPEN = ("PENDING", *UNDER_WAY, "PAUSED")
"""States of a run that has not ended."""

FINAL = ("SUCCESS", "FAILED", "REVOKED")
"""States of a run that has ended."""


def in_sql(states: tuple[str, ...]) -> str:
    """Write states as a list for `IN`."""
    return f"({', '.join(map(repr, states))})"
