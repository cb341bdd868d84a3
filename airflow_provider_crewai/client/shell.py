"""What both shells do alike, whatever library sends."""

from __future__ import annotations

import json
import random
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from airflow_provider_crewai.client.flows import Connected, Pause, Reply, Say, Stored
from airflow_provider_crewai.client.messages import trying_again
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.wire import words
from airflow_provider_crewai.wire.body import is_costly
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewError, CrewProtocolError, CrewTransportError
from airflow_provider_crewai.wire.model import JSON, JSONObject, Request, Response, Run

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a run's answer that a worker takes into memory: far above any result."""

LOOK_BODY = 256 * 1024
"""Bytes of an answer that are taken where thousands of runs share one process and one event loop.

Of an error, and of all that is no run's, they are enough everywhere.
"""

MOST_HEADERS = 99
LONGEST_HEADER = 64 * 1024
"""What an answer may have of headers, and bytes of one: more than any server sends, and what `http.client` takes."""

MAX_HEAD = 16 * 1024 * 1024
"""Bytes of an answer beside its body, at most: headers, and what lies between the chunks."""

CHUNK = 64 * 1024
"""Bytes of a body that are read at once."""

CONNECT = 10.0
"""Seconds for which one address may leave the attempt to connect without an answer."""

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
"""What `zlib` wants to be told of the encodings that we take (RFC 9110, section 8.4.1)."""


class Store(Protocol):
    """Where the record of a task's run is kept.

    `durable` says whether a later attempt will find it, and `survives_clear` whether it does so after a user's clear.
    """

    durable: bool
    survives_clear: bool

    @property
    def survives_success(self) -> bool:
        """Whether a later attempt finds it after the task has succeeded."""

    def load(self) -> JSON:
        """Return what was saved, or None.

        :raises CrewLedgerError: it cannot be read, which is not the same as nothing.
        """

    def save(self, record: JSONObject | None) -> None:
        """Keep the record; None erases it.

        :raises CrewLedgerError: it could not be kept.
        """


class NoStore:
    """Keeps nothing."""

    durable = survives_clear = survives_success = False

    def load(self) -> JSON:
        """Return nothing."""
        return None

    def save(self, record: JSONObject | None) -> None:
        """Forget the record."""


def encode(request: Request) -> bytes | None:
    """Write the body of a request. Only a question has none.

    :raises CrewConfigError: it holds a value that JSON cannot hold. Nothing was sent.
    """
    if request.body is None:
        return None if request.method == "GET" else b""
    try:
        return json.dumps(request.body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CrewConfigError(f"The request holds what JSON cannot hold ({error}). Nothing was sent.") from None


def silent(_seen: Run | CrewError, _now: float) -> None:
    """Observe nothing."""


def mute(_: str) -> None:
    """Say nothing."""


def say_trouble(pause: Pause, say: Say) -> None:
    """Tell whoever waits what went wrong, where it is tried again."""
    if pause.trouble is not None:
        say(trying_again(pause.trouble, pause.seconds, pause.until))


def reply(answer: Response | Stored | Connected | CrewError | None = None) -> Reply:
    """Give a flow what it asked for, with the time and a random number."""
    return Reply(time.time(), random.random(), answer)  # noqa: S311 - jitter, not cryptography


def request_headers(settings: Settings) -> dict[str, str]:
    """Return the headers of every request."""
    ours = {"User-Agent": "airflow-provider-crewai", "Accept-Encoding": "gzip, deflate"}
    given = settings.request_headers
    named = {name.lower() for name in given}
    return {**{name: text for name, text in ours.items() if name.lower() not in named}, **given}


def failure(error: Exception, settings: Settings, *, sent: bool) -> CrewError:
    """Tell, in one line and without secrets, why no answer came.

    :param error: whatever an HTTP library raised, of any class.
    """
    if isinstance(error, CrewError):
        return error
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError):
        said = f"no whole answer within {settings.timeout:g} seconds" if sent else "no connection in time"
    return CrewTransportError(words.line(said, secrets=settings.secrets), sent=sent)


class Arriving:
    """An answer while it arrives: how much of it is taken, and what becomes of it.

    :param secrets: what must not be shown of it.
    :param limit: bytes of a good answer that are taken. Of an error only the first words are ever shown.
    :raises CrewTransportError: the head leaves open what the body is, so that each library would guess for itself.
    """

    def __init__(
        self, secrets: tuple[str, ...], status: int, headers: Iterable[tuple[bytes, bytes]], limit: int = LOOK_BODY
    ) -> None:
        self._secrets = secrets
        self._status = status
        self._headers = _read_headers(status, headers)
        self._good = 200 <= status < 300  # noqa: PLR2004 - the HTTP statuses of success
        self._body = bytearray()
        self.limit = limit if self._good else LOOK_BODY

    def take(self, chunk: bytes) -> bool:
        """Take a piece of the body. Return whether more is wanted."""
        self._body += chunk
        return len(self._body) <= self.limit

    def response(self) -> Response:
        """Return what was taken: the body decoded, all else as it came.

        :raises CrewProtocolError: a good answer is encoded in a way that we do not read.
        """
        try:
            body = decode(bytes(self._body), self._headers.get("content-encoding", ""), self.limit)
        except CrewProtocolError:
            if self._good:
                raise
            body = b""  # the status says what matters
        whole = max(len(self._body), len(body)) <= self.limit
        body = body[: self.limit]
        if self.limit == LOOK_BODY and is_costly(body):
            whole = False
        return Response(self._status, self._headers, body, self._secrets, whole)


def _read_headers(status: int, pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for count, (name, value) in enumerate(pairs):
        key, text = name.decode("ascii", "replace").lower(), value.decode("utf-8", "replace").strip()
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
        if count == MOST_HEADERS or len(value) > LONGEST_HEADER:
            raise CrewTransportError(f"HTTP {status} with more headers than any server has", sent=True)
    if status < 200 or not _says_where_it_ends(headers):  # noqa: PLR2004 - an interim answer is none
        raise CrewTransportError(f"HTTP {status} whose headers do not say where the answer ends", sent=True)
    return headers


def _says_where_it_ends(headers: Mapping[str, str]) -> bool:
    how, length = headers.get("transfer-encoding", ""), headers.get("content-length", "")
    return how.lower() in ("", "chunked") and not (how and length) and re.fullmatch("[0-9]*", length) is not None


def decode(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo the one encoding that a body may have.

    :param encoding: the `Content-Encoding`.
    :param limit: no more than one byte beyond it is made, whatever the body would become.
    :raises CrewProtocolError: there is another encoding, or several, or the body is not what it is said to be.
    """
    encoding = encoding.strip().lower()
    if not body or encoding in ("", "identity"):
        return body
    if encoding not in _WINDOWS:
        raise CrewProtocolError(
            f"the answer has the encoding {words.line(encoding, 50)!r}; only gzip or deflate are read"
        )
    window = _WINDOWS[encoding]
    if encoding == "deflate" and not _is_zlib(body):
        window = -window  # as some servers understand the word
    inflate = zlib.decompressobj(window)
    try:
        decoded = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise CrewProtocolError(f"the answer is not {encoding} as it says ({error})") from None
    if len(body) <= limit and len(decoded) <= limit and not (inflate.eof and not inflate.unused_data):
        raise CrewProtocolError(f"the answer is not {encoding} as it says (it does not end where it should)")
    return decoded


def _is_zlib(body: bytes) -> bool:
    """Whether a body begins as RFC 1950 wants it to."""
    return body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
