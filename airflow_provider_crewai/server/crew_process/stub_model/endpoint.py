"""The HTTP server of the stand-in, in a process of its own."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socketserver
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NoReturn

from .answered import answer
from .asked import Ask, Json
from .chat import chat_body, chat_chunks
from .embeddings import embeddings_body
from .responses import responses_body, responses_events


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # or a client on keep-alive waits 40 ms for its answer
    wbufsize = -1  # head and body leave in one piece

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._say({"error": _error(f"no such path: {self.path}")}, HTTPStatus.NOT_FOUND)
        model = {"id": "stub", "object": "model", "created": 0, "owned_by": "stub"}
        return self._say({"object": "list", "data": [model]})

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self._answer(sent)
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            # A request with values of wrong types ends in one of these errors, before anything is sent.
            self._say({"error": _error(f"{type(error).__name__}: {error}")}, HTTPStatus.BAD_REQUEST)

    def _answer(self, sent: bytes) -> None:
        body = json.loads(sent)
        name = hashlib.sha256(sent).hexdigest()[:24]
        if self.path == "/v1/embeddings":
            self._say(embeddings_body(body))
        elif self.path == "/v1/chat/completions":
            self._chat(Ask.of_chat(body), name, body)
        elif self.path == "/v1/responses":
            self._responses(Ask.of_responses(body), name, body)
        else:
            self._say({"error": _error(f"no such path: {self.path}")}, HTTPStatus.NOT_FOUND)

    def _chat(self, ask: Ask, name: str, body: Json) -> None:
        reply = answer(ask)
        if not body.get("stream"):
            return self._say(chat_body(ask, reply, name))
        usage = bool((body.get("stream_options") or {}).get("include_usage"))
        chunks = [f"data: {json.dumps(one)}\n\n" for one in chat_chunks(ask, reply, name, usage=usage)]
        return self._stream([*chunks, "data: [DONE]\n\n"])

    def _responses(self, ask: Ask, name: str, body: Json) -> None:
        reply = answer(ask)
        if not body.get("stream"):
            return self._say(responses_body(ask, reply, name))
        events = responses_events(ask, reply, name)
        return self._stream([f"event: {one['type']}\ndata: {json.dumps(one)}\n\n" for one in events])

    def _say(self, body: Json, status: HTTPStatus = HTTPStatus.OK) -> None:
        said = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def _stream(self, events: list[str]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for event in [*events, ""]:
            said = event.encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(said), said))
            self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing: the log belongs to the crew."""


def _error(message: str) -> Json:
    return {"message": message, "type": "invalid_request_error", "param": None, "code": None}


class _Server(ThreadingHTTPServer):
    request_queue_size = 128

    def server_bind(self) -> None:
        # Not http.server's own, which looks up the name of 127.0.0.1.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "127.0.0.1", self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report errors, but not that a client hung up."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def serve(port: int = 0) -> ThreadingHTTPServer:
    """Bind the endpoint to 127.0.0.1. The returned server answers requests in its `serve_forever()`.

    :param port: 0 takes any free port.
    :raises OSError: the port is taken.
    """
    return _Server(("127.0.0.1", port), _Handler)


def start() -> tuple[str, int]:
    """Serve from another process, which ends with the last process that holds the returned descriptor.

    The calling process gets no thread and no child, so it may fork and wait freely. Its forks hold the descriptor too,
    even if they start Python anew.

    :returns: the endpoint's base URL, which ends in `/v1`, and the descriptor to keep open.
    :raises OSError: there is no socket, pipe or process left.
    """
    server = serve()
    read, write = os.pipe()
    between = os.fork()
    if not between:
        _fork_again(server, read)
    os.waitpid(between, 0)
    os.close(read)
    server.server_close()
    os.set_inheritable(write, True)
    return f"http://127.0.0.1:{server.server_port}/v1", write


def _fork_again(server: ThreadingHTTPServer, read: int) -> NoReturn:
    # The process in between leaves at once, so nobody has to wait for the one that serves.
    try:
        if not os.fork():
            _serve_until_alone(server, read)
    finally:
        os._exit(0)


def _serve_until_alone(server: ThreadingHTTPServer, read: int) -> None:
    os.setsid()  # signals for the starting process's group are not for this one
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    _close_all_but(server.fileno(), read)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.read(read, 1)


def _close_all_but(*kept: int) -> None:
    """Close inherited descriptors, above all locks and the pipe's other end. Output stays open."""
    begin = 3
    for descriptor in [*sorted(kept), os.sysconf("SC_OPEN_MAX")]:
        os.closerange(begin, descriptor)
        begin = descriptor + 1
