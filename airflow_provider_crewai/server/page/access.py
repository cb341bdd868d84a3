"""Who may see the page: whoever has the server's token, or a link that it printed.

Nothing is kept but the tickets. A session is signed with a key made from the token, so it survives a restart of the
server, as runs do, and ends with the token or after a week.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from airflow_provider_crewai.server.access import key_of

TICKET_SECONDS = 600
SESSION_SECONDS = 7 * 24 * 3600


class Access:
    """Tickets, sessions, and where a form came from.

    :param token: the token that the API wants, too.
    :param now: the clock, in epoch seconds.
    :raises ValueError: the token is empty.
    """

    def __init__(self, token: str, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._token = key_of(token)
        # Slow on purpose: a browser shows the cookie to every server on this host, whatever its port, and none of
        # them shall be able to guess a token that somebody made up.
        self._key = hashlib.scrypt(self._token, salt=b"airflow-provider-crewai page", n=2**14, r=8, p=1)
        # Named after the token, since servers on other ports of this host share the browser's cookies.
        self.cookie = f"crewai_{self._sign('cookie')[:12]}"
        self._tickets: dict[str, float] = {}

    # ---- tickets ------------------------------------------------------------------------------------

    def ticket(self) -> str:
        """Make a ticket, good for one login within ten minutes."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = self._now() + TICKET_SECONDS
        return ticket

    def redeem(self, ticket: str) -> bool:
        """Use a ticket up; returns whether it was good."""
        return self._tickets.pop(ticket, 0.0) > self._now()

    def knows(self, token: str) -> bool:
        """Tell whether this is the token."""
        return hmac.compare_digest(token.strip().encode("utf-8", "replace"), self._token)

    # ---- sessions -----------------------------------------------------------------------------------

    def open(self, response: Response) -> None:
        """Start a session in the browser that gets this response."""
        session = f"{int(self._now()) + SESSION_SECONDS}.{secrets.token_urlsafe(16)}"
        cookie = f"{session}.{self._sign(f'session {session}')}"
        response.set_cookie(self.cookie, cookie, max_age=SESSION_SECONDS, httponly=True, samesite="strict")

    def close(self, response: Response) -> None:
        """End the session of the browser that gets this response."""
        response.delete_cookie(self.cookie, httponly=True, samesite="strict")

    def session(self, request: Request) -> str | None:
        """Return the session that a request belongs to, or None."""
        session, _, signature = request.cookies.get(self.cookie, "").rpartition(".")
        if not self._is_signature(signature, f"session {session}"):
            return None
        return session if int(session.partition(".")[0]) > self._now() else None

    # ---- forms --------------------------------------------------------------------------------------

    def form_key(self, session: str) -> str:
        """Return what each form of a session carries: no other page can know it."""
        return self._sign(f"form {session}")

    def is_form_key(self, key: str, session: str) -> bool:
        """Tell whether a form came from a page of this session."""
        return self._is_signature(key, f"form {session}")

    def _sign(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def _is_signature(self, signature: str, text: str) -> bool:
        return hmac.compare_digest(signature.encode(), self._sign(text).encode())


def is_from_here(request: Request) -> bool:
    """Tell whether a browser says that a form was sent by a page of this very origin, which `Host` names.

    So the application must refuse hosts that are not its own before it asks here.

    Sec-Fetch-Site is what every current browser says. `Origin` alone must do for older ones; it reads `null` where
    a page's Referrer-Policy is no-referrer, as ours is (Fetch Standard, "append a request Origin header").
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = str(request.base_url).rstrip("/")
    return origin in (own, "null", None) if site == "same-origin" else site is None and origin == own
