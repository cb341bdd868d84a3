"""Headers that both a client and a server read."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after(header: str | None, now: float) -> float:
    """Return the seconds that a `Retry-After` asks us to wait, or 0 if there is none or it cannot be read."""
    return wait_asked(header, now) or 0.0


def wait_asked(retry_after: str | None, now: float) -> float | None:
    """Return the seconds that a `Retry-After` asks us to wait (RFC 9110, section 10.2.3: seconds or an HTTP date).

    :param now: epoch seconds.
    :returns: None if there is none or it cannot be read.
    """
    if not retry_after:
        return None
    if retry_after.strip().isdecimal() and retry_after.isascii():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        # One of the three forms of an HTTP date has no zone; all of them mean GMT.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None
