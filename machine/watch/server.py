"""The page over HTTP: some files of ours, and answers as JSON. It takes GET and writes nothing."""

from __future__ import annotations

import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from munro.machine.report.page import ASSETS
from munro.machine.run.files import RunError
from munro.machine.watch.address import may_ask, url_of
from munro.machine.watch.answers import Answers, BadQuestion
from munro.machine.watch.shown import NotThere
from munro.rollout.store.store import StoreError

FILES = {
    "/": ("watch.html", "text/html"),
    **{
        f"/{name}": (name, kind)
        for kind, names in {
            "text/javascript": (
                "text.js",
                "figures.js",
                "tokens.js",
                "group.js",
                "table.js",
                "watch.js",
            ),
            "text/css": ("report.css", "watch.css"),
        }.items()
        for name in names
    },
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)
"""Nothing but our files runs, nothing is sent elsewhere; no script may make markup out of text."""
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
PATIENCE_S = 30.0
"""For a client that says nothing."""


class Server(ThreadingHTTPServer):
    """Serves until it is shut down; a thread a connection."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, answers: Answers, host: str, port: int) -> None:
        """
        Args:
            answers: about the runs.
            host: that it listens at.
            port: 0 for a free one.

        Raises:
            RunError: it cannot listen there.
        """
        self.answers, self.host = answers, host
        try:
            if not 0 <= port < 1 << 16:  # which the resolver would take for another one
                raise OSError(f"ports go from 0 to {(1 << 16) - 1}")
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.address_family, *_, place = found[0]
            super().__init__(place[:2], Handler)  # type: ignore[arg-type]
        except OSError as error:
            why = getattr(error, "strerror", None) or str(error)
            raise RunError(
                f"nothing can listen at {host}:{port}: {why}. Name another --port, or leave it out "
                "for one that is free."
            ) from error

    def server_bind(self) -> None:
        """As of the class above, without asking a name server for a name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    @property
    def url(self) -> str:
        """What a person opens."""
        return url_of(self.host, self.server_port)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nobody's fault; anything else is told as ever."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "munro", ""
    timeout = PATIENCE_S

    def do_GET(self) -> None:
        """A file of the page, or an answer."""
        if not may_ask(self.headers.get("Host", ""), self.server.host):
            self._send(403, _said("this page is not served under that name of the host."))
            return
        parts = urlsplit(self.path)
        if parts.path in FILES:
            name, kind = FILES[parts.path]
            self._send(200, (ASSETS / name).read_bytes(), f"{kind}; charset=utf-8")
            return
        asked = dict(parse_qsl(parts.query, keep_blank_values=True, max_num_fields=20))
        kind = parts.path.removeprefix("/")
        if kind not in self.server.answers.kinds:
            self._send(404, _said("there is nothing of that name."))
            return
        try:
            answer = self.server.answers.to(kind, asked)
        except BadQuestion as error:
            self._send(400, _said(str(error)))
        except (NotThere, StoreError) as error:
            self._send(410, _said(str(error)))
        else:
            self._send(200, json.dumps(answer, allow_nan=False, separators=(",", ":")).encode())

    def _send(self, status: int, body: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the terminal is the climb's, or a person's."""


def _said(sentence: str) -> bytes:
    return json.dumps({"error": sentence}).encode()
