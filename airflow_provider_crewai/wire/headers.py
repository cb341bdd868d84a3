"""Headers that both a client and a server have to understand."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after(header: str | None, now: float) -> float:
    """Return the seconds for which a `Retry-After` asks to wait; 0 where there is none, or none that can be read."""
    return wait_asked(header, now) or 0.0


def wait_asked(retry_after: str | None, now: float) -> float | None:
    """Return the seconds for which a `Retry-After` asks to wait (RFC 9110, section 10.2.3: seconds or an HTTP date).

    :param now: epoch seconds.
    :returns: None where there is none, or none that can be read.
    """
    if not retry_after:
        return None
    if retry_after.strip().isdecimal() and retry_after.isascii():
        return float(retry_after)
    try:
        date = parsedate_to_datetime(retry_after)
        # One of the three forms of an HTTP date names no zone; all of them mean GMT.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return None
