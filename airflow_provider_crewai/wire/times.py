"""Writes times and durations for people: in the task log, on the command line, and on the local server's page."""

from __future__ import annotations

from datetime import UTC, datetime

import pendulum


def moment(epoch: float) -> str:
    """Return a point in time as text, to the second, in UTC."""
    return pendulum.from_timestamp(epoch).format("YYYY-MM-DD HH:mm:ss [UTC]")


def iso(epoch: float) -> str:
    """Return a point in time as ISO 8601, to the millisecond, in UTC."""
    return datetime.fromtimestamp(epoch, UTC).isoformat(timespec="milliseconds")


def duration(seconds: float) -> str:
    """Return a duration in words: `2 minutes 5 seconds`."""
    whole = round(seconds)
    return pendulum.duration(seconds=whole).in_words(locale="en") if whole > 0 else "less than a second"


def ago(epoch: float, now: float) -> str:
    """Return how long ago a point in time was: `3 minutes ago`."""
    past = pendulum.from_timestamp(now).diff_for_humans(pendulum.from_timestamp(min(epoch, now)), absolute=True)
    return f"{past} ago"
