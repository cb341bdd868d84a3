"""What both shells do alike, whatever library sends."""

from __future__ import annotations

import json
import random
import time
from traceback import walk_tb
from typing import Protocol

from airflow_provider_crewai.client.flows import Reply, Stored
from airflow_provider_crewai.client.settings import Settings
from airflow_provider_crewai.wire.errors import CrewConfigError, CrewError, CrewProtocolError
from airflow_provider_crewai.wire.model import JSON, JSONObject, Request, Response, Run

MAX_BODY = 64 * 1024 * 1024
"""Bytes of an answer that we take into memory: far above any result, below what harms a triggerer."""

CHUNK = 64 * 1024


class Store(Protocol):
    """Where the record of a task's run is kept.

    `durable` says whether a later attempt will find it, and `survives_clear` whether it does so after a user's clear.
    """

    durable: bool
    survives_clear: bool

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

    durable = False
    survives_clear = False

    def load(self) -> JSON:
        """Return nothing."""
        return None

    def save(self, record: JSONObject | None) -> None:
        """Forget the record."""


def encode(request: Request) -> bytes | None:
    """Write the body of a request.

    :raises CrewConfigError: it holds a value that JSON cannot hold. Nothing was sent.
    """
    try:
        return None if request.body is None else json.dumps(request.body, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CrewConfigError(f"The request holds what JSON cannot hold ({error}). Nothing was sent.") from None


def in_handshake(error: BaseException) -> bool:
    """Whether the error came while the connection was still being made, so that nothing can have arrived.

    No library says so: the same error may come from a read, long after the request was sent.
    """
    return any(frame.f_code.co_name in _CONNECTING for frame, _ in walk_tb(error.__traceback__))


_CONNECTING = ("do_handshake", "ssl_wrap_socket", "load_verify_locations", "create_default_context")


def silent(_seen: Run | CrewError, _now: float) -> None:
    """Observe nothing."""


def reply(answer: Response | Stored | CrewError | None = None) -> Reply:
    """Give a flow what it asked for, with the time and a random number."""
    return Reply(time.time(), random.random(), answer)  # noqa: S311 - jitter, not cryptography


def check_length(length: int) -> int:
    """Refuse a body that is too large to be an answer.

    :raises CrewProtocolError: it is.
    """
    if length > MAX_BODY:
        raise CrewProtocolError(f"the answer is larger than {MAX_BODY} bytes")
    return length


def scrub(text: str, settings: Settings) -> str:
    """Take the secrets out of what a server or a library said: whatever is kept may be logged."""
    for secret in settings.secrets:
        text = text.replace(secret, "***")
    return text


def scrub_response(status: int, headers: dict[str, str], body: bytes, settings: Settings) -> Response:
    """Build the response, without the secrets that the server echoed."""
    # aiohttp decodes what is no UTF-8 into lone surrogates, which no log can hold.
    plain = {name.lower(): value.encode("utf-8", "replace").decode() for name, value in headers.items()}
    clean = {name: scrub(value, settings) for name, value in plain.items()}
    for secret in settings.secrets:
        body = body.replace(secret.encode(), b"***")
    return Response(status, clean, body)
