"""Who may speak to the server: this machine, by its own names, with the token."""

from __future__ import annotations

import re
import secrets

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

_LOOPBACK = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)


def key_of(token: str) -> bytes:
    """Return the server's token as what is compared, and signed with.

    :raises ValueError: it is empty, and would let in everybody.
    """
    if not token.strip():
        raise ValueError("the token is empty")
    return token.strip().encode()


class Bearer:
    """Lets through only who knows the token.

    :raises ValueError: there is none to know.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = key_of(token)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, in the two texts seen live, or let the request through."""
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise HTTPException(401, "Not authenticated", {"WWW-Authenticate": "Bearer"})
        if not secrets.compare_digest(token.strip().encode("latin-1"), self._token):
            raise HTTPException(401, "Invalid or missing authentication credentials")
        await self._app(scope, receive, send)


class LoopbackOnly:
    """Refuses requests for other names: a web page that rebinds its own name to us sends that name as Host."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400, or let the request through."""
        if scope["type"] == "http" and not _LOOPBACK.fullmatch(Headers(scope=scope).get("host", "")):
            await PlainTextResponse("Invalid host header", 400)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
