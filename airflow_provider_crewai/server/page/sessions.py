"""Sessions of browsers. One begins with the server's token, or with a link that the server printed.

A browser sends a cookie to every server on this host, whatever its port. So a session's cookie is valid only below a
path that no other server knows, its door: `/at/<door>/…`. A login leads there. From a bookmark of a page at the root,
our script finds the door in local storage, which belongs to one port.

The server's database keeps the sessions, so they survive a restart. A session ends with a logout, when the token
changes, or after a week.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from airflow_provider_crewai.server.access import key_of
from airflow_provider_crewai.server.crew_process.storable import utf8

TICKET_SECONDS = 600
SESSION_SECONDS = 7 * 24 * 3600
MOST_SESSIONS = 100
DOOR = "/at/{door}"

_SCHEMA = "CREATE TABLE IF NOT EXISTS sessions (proof TEXT PRIMARY KEY, expires REAL NOT NULL) WITHOUT ROWID"
_BEYOND = "SELECT proof FROM sessions ORDER BY expires DESC LIMIT -1 OFFSET ?"


class Sessions:
    """Tickets and sessions.

    :param token: the same token as the API's.
    :param now: the clock, in epoch seconds.
    :param prefix: the path at which the page is mounted, empty for the root.
    :param database: the sqlite file that keeps the sessions; by default they end with this object.
    :raises ValueError: the token is empty.
    """

    def __init__(
        self, token: str, now: Callable[[], float] = time.time, database: Path | None = None, prefix: str = ""
    ) -> None:
        self._now = now
        self._prefix = prefix
        self._token = key_of(token)
        self._lock = threading.Lock()
        self._db = sqlite3.connect(database or ":memory:", timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute(_SCHEMA)
        # Named after the database: servers on other ports of this host share the browser's cookies.
        self.cookie = f"crewai_{hashlib.sha256(str(database).encode()).hexdigest()[:12]}"
        self._tickets: dict[str, float] = {}

    # ---- tickets ------------------------------------------------------------------------------------

    def ticket(self) -> str:
        """Make a ticket for one login within ten minutes."""
        ticket = secrets.token_urlsafe(32)
        self._tickets[ticket] = self._now() + TICKET_SECONDS
        return ticket

    def redeem(self, ticket: str) -> bool:
        """Use up a ticket. Returns whether it was valid."""
        return self._tickets.pop(ticket, 0.0) > self._now()

    def knows(self, token: str) -> bool:
        """Return whether this is the token."""
        return hmac.compare_digest(utf8(token.strip()), self._token)

    # ---- sessions -----------------------------------------------------------------------------------

    def open(self, response: Response) -> str:
        """Begin a session in the browser that gets this response. If there are too many, the oldest ones end.

        :returns: the path of its door, below which it is valid.
        """
        session = secrets.token_urlsafe(32)
        self._change("INSERT INTO sessions VALUES (?, ?)", self._proof(session), self._now() + SESSION_SECONDS)
        self._change("DELETE FROM sessions WHERE expires <= ?", self._now())
        self._change(f"DELETE FROM sessions WHERE proof IN ({_BEYOND})", MOST_SESSIONS)  # noqa: S608 - a constant
        path = self._prefix + DOOR.format(door=_door_of(session))
        response.set_cookie(self.cookie, session, max_age=SESSION_SECONDS, path=path, httponly=True, samesite="strict")
        return path

    def close(self, session: str, response: Response) -> None:
        """End a session, in the browser that gets this response and for anybody who has copied its cookie."""
        self._change("DELETE FROM sessions WHERE proof = ?", self._proof(session))
        path = self._prefix + DOOR.format(door=_door_of(session))
        response.delete_cookie(self.cookie, path=path, httponly=True, samesite="strict")

    def session(self, request: Request) -> str | None:
        """Return the session of a request, or None if it has none."""
        session = request.cookies.get(self.cookie, "")
        door = request.path_params.get("door")
        if door is not None and not hmac.compare_digest(utf8(door), _door_of(session).encode()):
            return None
        query = "SELECT 1 FROM sessions WHERE proof = ? AND expires > ?"
        with self._lock:
            found = self._db.execute(query, (self._proof(session), self._now())).fetchone()
        return session if found else None

    def _proof(self, session: str) -> str:
        # The database keeps this proof, from which nobody can make the cookie. Under another token it is invalid.
        return hmac.digest(self._token, session.encode(), "sha256").hex()

    def _change(self, query: str, *values: str | float) -> None:
        with self._lock:
            self._db.execute(query, values)


def form_key(session: str) -> str:
    """Return the key that each form of a session carries. No other page can know it."""
    return _made_from(session, "form")


def is_form_key(key: str, session: str) -> bool:
    """Whether a form came from a page of this session."""
    return hmac.compare_digest(utf8(key), form_key(session).encode())


def door_of(request: Request) -> str:
    """Return the path of the door that a request came through, or of the page, if it came through none."""
    return quote(request.scope.get("root_path", ""))


def _door_of(session: str) -> str:
    return _made_from(session, "door")[:32]


def _made_from(session: str, purpose: str) -> str:
    return hmac.digest(session.encode(), purpose.encode(), "sha256").hex()


def is_from_here(request: Request) -> bool:
    """Return whether a page of this very origin sent a form, by what the browser says.

    `Host` names the origin. So the application must refuse foreign hosts before it asks here.

    Every current browser sends Sec-Fetch-Site. For older ones `Origin` must do. It reads `null` if the page's
    Referrer-Policy is no-referrer, as ours is (Fetch Standard, "append a request Origin header").
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = str(request.base_url).rstrip("/")
    return origin in (own, "null", None) if site == "same-origin" else site is None and origin == own
