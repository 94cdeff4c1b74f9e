"""The desk as a page: one HTTP server from the standard library, for a handful of raters.

    GET  /             the page; whose it is stands behind the # of the link, which no server sees
    GET  /now          what the rater of the token looks at
    POST /click        a choice; answered once it is on the disk

The token travels in a header, so neither a log nor another page's form ever has it. What is shown
is text that models wrote: it goes out as JSON and becomes text nodes; a content security policy
forbids every script, style and connection but the page's own. On loopback only those are answered
who ask for it by its name, so that no page elsewhere reaches it under a name of its own.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from socketserver import TCPServer
from typing import Any, ClassVar

from munro.evaluation.sides.desk import Desk, Refused
from munro.evaluation.sides.types import BadSides

LOOPBACK = ("127.0.0.1", "localhost", "::1")
MOST_BODY = 4096
"""Bytes of a click."""
POLL_S = 0.02
"""Between looks at whether it is to end."""
IDLE_S = 60.0
"""After which a silent connection is closed; a browser opens another."""
PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SidesServer(ThreadingHTTPServer):
    """Serves one desk.

    Args:
        desk: that it serves.
        host: that it listens at.
        port: 0 for a free one.

    Raises:
        BadSides: it cannot listen there.

    Example:
        with SidesServer(desk) as server:
            server.serve_forever()
    """

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, desk: Desk, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.desk, self.host = desk, host
        try:
            self.address_family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            super().__init__((host, port), _Handler)
        except (OSError, OverflowError) as error:
            why = getattr(error, "strerror", None) or error
            raise BadSides(
                f"nothing can listen at {host}:{port}: {why}. Give another --port, or 0."
            ) from error

    @property
    def address(self) -> str:
        """Of the page."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{name}:{self.server_address[1]}/"

    @property
    def is_open(self) -> bool:
        """Whether others than this machine reach it."""
        return self.host not in LOOPBACK

    def names(self) -> set[str]:
        """What a Host header may say; anything where it listens to others too."""
        port = self.server_address[1]
        plain = {f"[{name}]" if ":" in name else name for name in LOOPBACK}
        return plain | {f"{name}:{port}" for name in plain}

    def server_bind(self) -> None:
        """Without looking up a name, which may take as long as a name server likes."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is nobody's fault, and no news."""

    def links(self) -> dict[str, str]:
        """By rater."""
        return {rater: f"{self.address}#{token}" for token, rater in self.desk.asked.tokens.items()}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "munro", ""
    timeout = IDLE_S
    server: SidesServer
    _assets: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:
        self._answered(self._get)

    def do_POST(self) -> None:
        self._answered(self._post)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: who clicked when is in the journal."""

    def _answered(self, work: Callable[[], Any]) -> None:
        try:
            self._is_for_us()
            found = work()
        except Refused as refused:
            # what was not read of a request must not be taken for the next one
            self.close_connection = True
            self._send(refused.status, {"error": str(refused)})
        except OSError as failure:
            if isinstance(failure, ConnectionError | TimeoutError):
                raise
            self.close_connection = True
            why = f"This was not saved: {failure.strerror or failure}. It is tried again."
            self._send(HTTPStatus.INSUFFICIENT_STORAGE, {"error": why})
        else:
            if found is not None:
                self._send(HTTPStatus.OK, found)

    def _is_for_us(self) -> None:
        asked = self.headers.get_all("Host") or []
        if len(asked) != 1:
            raise Refused(400, "A request names one host.")
        if not self.server.is_open and asked[0].lower() not in self.server.names():
            raise Refused(421, "This address is served under another name.")
        origin = self.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != asked[0].lower():
            raise Refused(403, "This request comes from another page.")

    def _get(self) -> Any:
        path = self.path.partition("?")[0]  # some programs add their own to a link
        if path in PAGE:
            name, kind = PAGE[path]
            self._send_bytes(HTTPStatus.OK, self._asset(name), kind)
            return None
        if path == "/now":
            return self.server.desk.now(self._rater())
        raise Refused(404, "There is nothing here: take the link that you were given.")

    def _post(self) -> Any:
        if self.path != "/click":
            raise Refused(404, "There is nothing here.")
        rater = self._rater()
        if self.headers.get_content_type() != "application/json":
            raise Refused(415, "A click is JSON.")
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit() or int(length) > MOST_BODY:
            raise Refused(413, f"A click says its length, of at most {MOST_BODY} bytes.")
        try:
            sent = json.loads(self.rfile.read(int(length)))
        except (ValueError, RecursionError):
            raise Refused(400, "A click is JSON.") from None
        if not isinstance(sent, dict):
            raise Refused(400, "A click is an object.")
        return self.server.desk.click(rater, sent)

    def _rater(self) -> str:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return self.server.desk.rater_of(token if scheme == "Bearer" else "")

    def _send(self, status: int, told: Any) -> None:
        self._send_bytes(status, json.dumps(told).encode(), "application/json")

    def _send_bytes(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def _asset(self, name: str) -> bytes:
        if name not in self._assets:
            file = resources.files("munro.evaluation.sides") / "page" / name
            self._assets[name] = file.read_bytes()
        return self._assets[name]


def serve_in_thread(server: SidesServer) -> threading.Thread:
    """Serve until `server.shutdown()`."""
    thread = threading.Thread(
        target=server.serve_forever, args=(POLL_S,), name="sides", daemon=True
    )
    thread.start()
    return thread
