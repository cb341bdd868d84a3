"""How the servers of the benchmarks listen: over TLS, on a free port, in a process of their own."""

from __future__ import annotations

import asyncio
import ssl
import sys
from pathlib import Path
from typing import Protocol

from aiohttp import web


class FarEnd(Protocol):
    """What answers, and counts the connections that it accepted."""

    accepted: int

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""


async def serve(far: FarEnd, certificate: Path) -> None:
    """Serve on a free port, and print it, until standard input ends."""
    server = web.Server(far.answer)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    def accept() -> asyncio.Protocol:
        far.accepted += 1
        return server()

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(accept, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(listener.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
