"""Headers that both a client and a server have to understand."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime


def retry_after(header: str | None, now: float) -> float:
    """Return the seconds for which a `Retry-After` asks to wait (RFC 9110, section 10.2.3: seconds or an HTTP date).

    :param now: epoch seconds.
    :returns: 0 where there is none, or none that can be read.
    """
    if not header:
        return 0.0
    if header.strip().isdecimal() and header.isascii():
        return float(header)
    try:
        date = parsedate_to_datetime(header)
        # One of the three forms of an HTTP date names no zone; all of them mean GMT.
        return max(0.0, (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now)
    except (ValueError, OverflowError, OSError):
        return 0.0
