"""The delivery of webhooks. A run's process writes rows into the table `outbox`; here they become requests.

Each row is delivered at least once. The rows of one run to one URL form a line: a row is sent only after the row
ahead of it was delivered or given up. Lines do not wait for each other. The database holds everything that matters,
so a restarted server continues where the last one stopped.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from airflow_provider_crewai.wire import headers

_POLL_SECONDS = 0.1
_PAUSE_SECONDS = 5.0
_FINISH_SECONDS = 1.0
_LONGEST_WAIT = 300.0
_LONGEST_RETRY_AFTER = 3600.0
_TRIES = 297  # The waits between them add up to 24 hours.
_PER_HOST = 8

# Worth another try. A server or a tunnel that is just starting answers 404. Other refusals concern the body itself.
_PASSING = frozenset({404, 408, 425, 429})

_WAITING = "delivered_at IS NULL AND error IS NULL"
# Bodies are large and most rows are done, so the search for due rows must not read the table itself.
_INDEX = f"CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (kickoff_id, url, position, due) WHERE {_WAITING}"
# sqlite takes the other columns from the row that has the minimum (sqlite.org/lang_select.html, "bare columns").
_HEADS = f"SELECT kickoff_id, url, due, MIN(position) FROM outbox WHERE {_WAITING} GROUP BY kickoff_id, url"  # noqa: S608 - a constant
_HEAD = f"""
    SELECT position, kickoff_id, url, headers, body, attempts, due FROM outbox
    WHERE kickoff_id = ? AND url = ? AND {_WAITING} ORDER BY position LIMIT 1
"""  # noqa: S608 - a constant
_TRIED = "UPDATE outbox SET attempts = attempts + 1, due = ? WHERE position = ?"
_FAILED = "UPDATE outbox SET due = ? WHERE position = ?"
_DELIVERED = "UPDATE outbox SET delivered_at = ?, headers = '{}', body = '', url = ? WHERE position = ?"
_GIVEN_UP = "UPDATE outbox SET error = ?, headers = '{}', body = '', url = ? WHERE position = ?"
_LINE_GIVEN_UP = (
    f"UPDATE outbox SET error = ?, headers = '{{}}', body = '', url = ? WHERE kickoff_id = ? AND url = ? AND {_WAITING}"  # noqa: S608 - a constant
)

log = logging.getLogger(__name__)

_Line = tuple[str, str]
_Lines = dict[_Line, "asyncio.Task[None]"]


@dataclass(frozen=True, slots=True)
class _Row:
    position: int
    kickoff_id: str
    url: str
    headers: str = field(repr=False)
    body: str = field(repr=False)
    attempts: int
    due: float


@dataclass(frozen=True, slots=True)
class _Attempt:
    # `passing` means that another try may succeed; `wait` is how many seconds the receiver asked for until then.
    said: str
    delivered: bool = False
    passing: bool = False
    wait: float = 0.0


def signing_key(token: str) -> bytes:
    """Return the key that signs webhooks: the hex HMAC-SHA256 of `webhook signature` under the server's token.

    A receiver needs only this key to check a signature, and can use it for nothing else. docs/security.md has a command
    that prints it.
    """
    return hmac.digest(token.encode(), b"webhook signature", "sha256").hex().encode()


class Outbox:
    """The table `outbox`, and its delivery.

    When a row is delivered or given up, its body goes, its headers, and its URL except for the host: they may be large
    or hold a secret.

    A row whose headers hold `{"X-Signature": "sha256"}` is signed when it is sent. That header then reads
    `sha256=<hex HMAC of "timestamp.body">`, and `X-Timestamp` holds the timestamp in epoch seconds. The key is the
    secret that the URL has in `secrets`, else `signing_key(token)`.

    :param database: the sqlite file, whose table `outbox` exists.
    :param token: the server's token.
    :param timeout: seconds that a receiver may take, from the connection to its answer.
    :param finish: seconds in which requests under way may finish after a stop.
    :param secrets: the secrets that sign requests, by their URLs.
    """

    def __init__(
        self,
        database: Path,
        token: str,
        *,
        timeout: float = 10.0,
        finish: float = _FINISH_SECONDS,
        secrets: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._finish = finish
        self._key = signing_key(token)
        self._secrets = secrets
        self._db = sqlite3.connect(database, timeout=30, isolation_level=None, check_same_thread=False)
        self._db.execute("PRAGMA synchronous = NORMAL")  # what a power cut undoes is delivered once more
        self._db.execute("PRAGMA secure_delete = ON")  # what is deleted from a row must leave the file too
        self._db.execute(_INDEX)

    def run(self, stop: threading.Event) -> None:
        """Deliver each row as soon as it is due, until told to stop; then close the database.

        Blocks, so it needs a thread of its own.
        """
        with closing(self._db):
            asyncio.run(self._run(stop))

    # ---- when -------------------------------------------------------------------------------------

    async def _run(self, stop: threading.Event) -> None:
        lines: _Lines = {}
        seen, wake = -1, 0.0
        async with self._new_session() as session:
            while not stop.is_set():
                try:
                    version = self._version()
                    if _reap(lines) or version != seen or time.time() >= wake:
                        seen, wake = version, self._start(session, lines)
                except Exception:  # one bad row, or a full disk: the other rows must still be delivered
                    log.exception("webhooks are not delivered for %g seconds", _PAUSE_SECONDS)
                    wake = 0.0
                    await asyncio.sleep(_PAUSE_SECONDS)
                await asyncio.sleep(_POLL_SECONDS)
            await _finish(lines, self._finish)

    def _version(self) -> int:
        # Changes when another connection commits, and takes microseconds (sqlite.org/pragma.html#pragma_data_version).
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def _start(self, session: aiohttp.ClientSession, lines: _Lines) -> float:
        """Start the lines whose first row is due. Returns the time at which the next row is due."""
        now, next_due = time.time(), math.inf
        hosts = Counter(_host(url) for _, url in lines)
        for kickoff_id, url, due, _ in self._db.execute(_HEADS).fetchall():
            line, host = (kickoff_id, url), _host(url)
            if due > now:
                next_due = min(next_due, due)
            elif line not in lines and hosts[host] < _PER_HOST:
                hosts[host] += 1
                lines[line] = asyncio.create_task(self._deliver(session, line))
        return next_due

    def _new_session(self) -> aiohttp.ClientSession:
        # No cookies: they would tie one run to another. No limit: waiting for one would use up a request's timeout,
        # and `_PER_HOST` limits the requests before they start.
        connector = aiohttp.TCPConnector(limit=0)
        return aiohttp.ClientSession(connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar())

    # ---- what -------------------------------------------------------------------------------------

    async def _deliver(self, session: aiohttp.ClientSession, line: _Line) -> None:
        while row := self._due(line):
            # Counted before it is sent. Else a row that crashes the server, or fills the disk, would be sent endlessly.
            self._db.execute(_TRIED, (time.time() + _backoff(row.attempts + 1), row.position))
            self._note(row, await self._post(session, row))

    def _due(self, line: _Line) -> _Row | None:
        found = self._db.execute(_HEAD, line).fetchone()
        row = _Row(*found) if found else None
        return row if row and row.due <= time.time() else None

    async def _post(self, session: aiohttp.ClientSession, row: _Row) -> _Attempt:
        # The message of such an error may hold a header, so only its type is logged.
        if not _callable(row.url):
            return _Attempt("is no http or https URL")
        try:
            request = session.post(
                _exact(row.url), data=row.body.encode(), headers=self._headers(row), allow_redirects=False
            )
            async with request as response:
                return _judged(response.status, response.headers.get("Retry-After", ""))
        except ValueError as error:
            return _Attempt(f"cannot be called: {type(error).__name__}")
        except (aiohttp.ClientError, OSError) as error:
            return _Attempt(f"did not answer: {type(error).__name__}", passing=True)

    def _headers(self, row: _Row) -> dict[str, str]:
        headers: dict[str, str] = json.loads(row.headers)
        if headers.get("X-Signature") == "sha256":
            timestamp = str(int(time.time()))
            secret = self._secrets.get(row.url)
            key = secret.encode() if secret else self._key
            digest = hmac.new(key, f"{timestamp}.{row.body}".encode(), "sha256").hexdigest()
            headers |= {"X-Signature": f"sha256={digest}", "X-Timestamp": timestamp}
        return headers | {"Content-Type": "application/json"}

    def _note(self, row: _Row, attempt: _Attempt) -> None:
        tries, now = row.attempts + 1, time.time()
        if attempt.delivered:
            log.debug("run %s: %s %s", row.kickoff_id, _host(row.url), attempt.said)
            self._db.execute(_DELIVERED, (now, _host(row.url), row.position))
        elif attempt.passing and tries < _TRIES:
            wait = max(_backoff(tries), attempt.wait)
            log.info("run %s: %s %s; again in %.1f s", row.kickoff_id, _host(row.url), attempt.said, wait)
            self._db.execute(_FAILED, (now + wait, row.position))
        else:
            self._give_up(row, f"{attempt.said}, given up after {tries} tries" if tries > 1 else attempt.said)

    def _give_up(self, row: _Row, reason: str) -> None:
        log.warning("run %s: a webhook is not delivered: %s %s", row.kickoff_id, _host(row.url), reason)
        self._db.execute(_GIVEN_UP, (reason, _host(row.url), row.position))
        if row.attempts + 1 >= _TRIES:  # the rest of the line need not wait another day for the same receiver
            self._db.execute(_LINE_GIVEN_UP, (reason, _host(row.url), row.kickoff_id, row.url))


def _reap(lines: _Lines) -> bool:
    ended = [lines.pop(line) for line, task in [*lines.items()] if task.done()]
    for task in ended:
        task.result()  # raises what went wrong in it
    return bool(ended)


async def _finish(lines: _Lines, seconds: float) -> None:
    # The next server sends again what is cut off here.
    if lines:
        _, unfinished = await asyncio.wait(lines.values(), timeout=seconds)
        for task in unfinished:
            task.cancel()


def _judged(status: int, retry_after: str) -> _Attempt:
    said = f"answered {status}"
    if 200 <= status < 300:  # noqa: PLR2004 - HTTP status codes read best as numbers
        return _Attempt(said, delivered=True)
    if 300 <= status < 400:  # noqa: PLR2004 - the same
        return _Attempt(f"{said}, and redirects are not followed")
    passing = status in _PASSING or status >= 500  # noqa: PLR2004 - the same
    wait = min(headers.retry_after(retry_after, time.time()), _LONGEST_RETRY_AFTER)
    return _Attempt(said, passing=passing, wait=wait)


def _backoff(tries: int) -> float:
    # One second, doubling up to five minutes. A fifth of jitter spreads the lines out.
    return min(_LONGEST_WAIT, 2.0 ** min(tries - 1, 16)) * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


def _callable(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        return False


def _exact(url: str) -> URL:
    # Unchanged, since its owner may have signed it; quoted only if it cannot be sent as it is.
    return URL(url, encoded=url.isascii() and url.isprintable() and " " not in url)


def _host(url: str) -> str:
    # No more of a URL is ever logged or kept: its path or query may hold a secret.
    try:
        return urlsplit(url).netloc.rpartition("@")[2]
    except ValueError:
        return "?"
