"""The parts that both shells share, whichever library sends the requests."""

from __future__ import annotations

import json
import random
import re
import time
import zlib
from collections.abc import Iterable, Mapping
from typing import Protocol

from airflow_provider_crewai.client.callbacks import callback
from airflow_provider_crewai.client.dialogue import Heard
from airflow_provider_crewai.client.flows import Connected, Pause, Reply, Say, Stored
from airflow_provider_crewai.client.messages import trying_again
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.wire import words
from airflow_provider_crewai.wire.body import is_costly
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewError, CrewProtocolError, CrewTransportError
from airflow_provider_crewai.wire.model import JSON, Request, Response, Run

MAX_BODY = 64 * 1024 * 1024
"""The most bytes of a run's answer that a worker reads into memory: far more than any result."""

LOOK_BODY = 256 * 1024
"""The most bytes of an answer that we read where thousands of runs share one process and one event loop.

For an error, and for any answer that is not about a run, this is enough everywhere.
"""

MOST_HEADERS = 99
LONGEST_HEADER = 64 * 1024
"""The most headers of an answer, and the most bytes of one header: more than any server sends, and the limits of
`http.client`."""

MAX_HEAD = 16 * 1024 * 1024
"""The most bytes of an answer besides its body: headers, and what is between the chunks."""

CHUNK = 64 * 1024
"""How many bytes of a body we read at once."""

CONNECT = 10.0
"""Seconds that we wait for one address to accept a connection."""

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": zlib.MAX_WBITS}
"""The `wbits` with which `zlib` reads each encoding that we accept (RFC 9110, section 8.4.1)."""


class Store(Protocol):
    """Keeps the record of a task's run.

    `durable` says whether a later try finds the record, and `survives_clear` whether it also does after a user's clear.
    """

    durable: bool
    survives_clear: bool

    @property
    def survives_success(self) -> bool:
        """Return whether a later try finds the record after the task succeeded."""

    def load(self) -> JSON:
        """Return what was saved, or None.

        :raises CrewLedgerError: it cannot be read, which does not mean that there is none.
        """

    def save(self, record: JSON) -> None:
        """Keep the record; None erases it.

        :raises CrewLedgerError: it could not be kept.
        """

    def beside(self, page: str) -> Store:
        """Return the store of a page beside the record."""


class NoStore:
    """A store that keeps nothing."""

    durable = survives_clear = survives_success = False

    def load(self) -> JSON:
        """Return nothing."""
        return None

    def save(self, record: JSON) -> None:
        """Forget the record."""

    def beside(self, page: str) -> Store:  # noqa: ARG002 - it keeps no page either
        """Return a store that keeps nothing."""
        return self


def encode(request: Request) -> bytes | None:
    """Return the body of a request as bytes. Only a GET has none.

    :raises CrewConfigError: the body holds a value that JSON cannot hold. Nothing was sent.
    """
    if request.body is None:
        return None if request.method == "GET" else b""
    try:
        return json.dumps(request.body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CrewConfigError(f"The request holds what JSON cannot hold ({error}). Nothing was sent.") from None


def silent(_seen: Run | CrewError, _now: float) -> None:
    """Ignore what a look showed: an observer that does nothing."""


def hear_nothing() -> Heard | None:
    """Know of no question: for callers outside of Airflow."""
    return None


def mute(_: str) -> None:
    """Ignore a sentence: for callers that want no news."""


def say_trouble(pause: Pause, say: Say) -> None:
    """Say what went wrong, if we try again after the pause."""
    if pause.trouble is not None:
        say(trying_again(pause.trouble, pause.seconds, pause.until))


def say_refusal(trouble: CrewError | None, say: Say) -> None:
    """Say that the token was refused, if what must not be sent twice is sent again: it was not carried out."""
    if trouble is not None:
        say(
            f"The crew refused the token ({str(trouble).rstrip('.')}). Trying once more with the connection read again."
        )


def reply(answer: Response | Stored | Connected | Heard | CrewError | None = None, queued: float = 0.0) -> Reply:
    """Return the reply for a flow: its answer, with the time and a random number.

    :param queued: seconds for which a request waited before it could be sent.
    """
    return Reply(time.time(), random.random(), answer, queued)  # noqa: S311 - jitter, not cryptography


def address(settings: Settings, request: Request) -> str:
    """Return the URL that a request goes to.

    :raises CrewCallbackRefused: a question names it, and no feedback may go there. Nothing was sent.
    """
    return settings.base_url + request.path if request.url is None else callback(request.url, settings.base_url)


def request_headers(settings: Settings, request: Request) -> dict[str, str]:
    """Return the headers of a request. Those of the connection, with the token, go to the crew alone."""
    ours = {"User-Agent": "airflow-provider-crewai", "Accept-Encoding": "gzip, deflate"}
    given = settings.request_headers if request.url is None else {"Content-Type": "application/json"}
    named = {name.lower() for name in given}
    return {**{name: text for name, text in ours.items() if name.lower() not in named}, **given}


def failure(error: Exception, settings: Settings, *, sent: bool) -> CrewError:
    """Return the error that says, in one line and without secrets, why no answer came.

    :param error: what an HTTP library raised, of any class.
    """
    if isinstance(error, CrewError):
        return error
    said = f"{type(error).__name__}: {error}"
    if isinstance(error, TimeoutError):
        said = f"no whole answer within {settings.timeout:g} seconds" if sent else "no connection in time"
    return CrewTransportError(words.line(said, secrets=settings.secrets), sent=sent)


class Arriving:
    """Collects an answer while it arrives, up to a limit.

    :param secrets: what must not be shown of it.
    :param limit: the most bytes of a good answer that we read. We only show the first words of an error.
    :raises CrewTransportError: the headers do not say where the body ends, so each library would guess in its own way.
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
        """Add a piece of the body. Return whether to go on reading."""
        self._body += chunk
        return len(self._body) <= self.limit

    def response(self) -> Response:
        """Return what was read: the body decoded, everything else unchanged.

        :raises CrewProtocolError: a good answer has an encoding that we cannot read.
        """
        try:
            body = decode(bytes(self._body), self._headers.get("content-encoding", ""), self.limit)
        except CrewProtocolError:
            if self._good:
                raise
            body = b""  # the status is enough
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
    if status < 200 or not _says_where_it_ends(headers):  # noqa: PLR2004 - an interim answer is not an answer
        raise CrewTransportError(f"HTTP {status} whose headers do not say where the answer ends", sent=True)
    return headers


def _says_where_it_ends(headers: Mapping[str, str]) -> bool:
    how, length = headers.get("transfer-encoding", ""), headers.get("content-length", "")
    return how.lower() in ("", "chunked") and not (how and length) and re.fullmatch("[0-9]*", length) is not None


def decode(body: bytes, encoding: str, limit: int) -> bytes:
    """Undo the one encoding that a body may have.

    :param encoding: the `Content-Encoding`.
    :param limit: we decode at most one byte more than this, however large the body would become.
    :raises CrewProtocolError: there is another encoding, or several, or the body does not have this encoding.
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
        window = -window  # some servers send raw deflate under this name
    inflate = zlib.decompressobj(window)
    try:
        decoded = inflate.decompress(body, limit + 1)
    except zlib.error as error:
        raise CrewProtocolError(f"the answer is not {encoding} as it says ({error})") from None
    if len(body) <= limit and len(decoded) <= limit and not (inflate.eof and not inflate.unused_data):
        raise CrewProtocolError(f"the answer is not {encoding} as it says (it does not end where it should)")
    return decoded


def _is_zlib(body: bytes) -> bool:
    """Return whether a body begins as RFC 1950 says."""
    return body[0] & 0x0F == zlib.DEFLATED and int.from_bytes(body[:2]) % 31 == 0
