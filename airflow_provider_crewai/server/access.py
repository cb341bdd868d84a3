"""Who may talk to the server: programs on this machine, by its loopback names, with the token."""

from __future__ import annotations

import os
import re
import secrets
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from airflow_provider_crewai.server import state

TOKEN_VARIABLE = "CREWAI_SERVER_TOKEN"  # noqa: S105 - the variable's name, not a token

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Token:
    """The bearer token that requests must carry.

    :param hint: a sentence that says where the token is.
    :param shell: what a shell puts the token in the place of.
    """

    value: str = field(repr=False)
    hint: str
    shell: str

    @classmethod
    def found(cls, given: Path | None, kept: Path) -> Token:
        """Find the token: in the file that the user names, else in the environment, else in the state directory.

        :param given: the file that the user names, if any.
        :param kept: the file in the state directory; it gets a new token if there is none.
        :raises OSError: a file cannot be read, or others can read the kept one.
        :raises ValueError: the file that the user names is empty, or no request can carry the token.
        """
        if given:
            # A byte order mark is what some editors begin a file with.
            if not (token := given.read_text(encoding="utf-8-sig", errors="replace").strip()):
                raise ValueError(f"--token-file {given} is empty")
            return cls._kept(_sendable(token, f"{given}"), given)
        if token := os.environ.get(TOKEN_VARIABLE, "").strip():
            hint = f"It is the ${TOKEN_VARIABLE} that the server was started with."
            return cls(_sendable(token, f"${TOKEN_VARIABLE}"), hint, f'"${TOKEN_VARIABLE}"')
        return cls._kept(_sendable(state.kept_token(kept), f"{kept}"), kept)

    @classmethod
    def _kept(cls, token: str, file: Path) -> Token:
        hint = f"It is in the file {file} on the server's machine."
        return cls(token, hint, f'"$(cat {shlex.quote(str(file.absolute()))})"')


def _sendable(token: str, where: str) -> str:
    if not token.isascii() or not token.isprintable() or set(token) & set(" \"'`"):
        raise ValueError(f"the token in {where} holds spaces, quotes or characters that no request can carry")
    return token


def key_of(token: str) -> bytes:
    """Return the server's token in the form that is compared and signed with.

    :raises ValueError: the token is empty, and would let everybody in.
    """
    if not token.strip():
        raise ValueError("the token is empty")
    return token.strip().encode()


class Bearer:
    """Lets a request through only with the token.

    :raises ValueError: the token is empty.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = key_of(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer 401 with one of the two texts seen live."""
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
        if not secrets.compare_digest(token.strip().encode("latin-1"), self._token):
            raise HTTPException(401, "Invalid or missing authentication credentials")
        await self._app(scope, receive, send)


class LoopbackOnly:
    """Refuses a Host other than loopback. A web page that rebinds its own name to this machine sends that name."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer 400."""
        if scope["type"] == "http" and not _LOOPBACK.fullmatch(Headers(scope=scope).get("host", "")):
            await PlainTextResponse("Invalid host header", 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
