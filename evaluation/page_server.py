"""A page that Munro serves to browsers: where it is, who may ask for it, what every answer carries.

A page of another site can make a name of its own lead to this machine and then read what is served
here as if it were its own (DNS rebinding). It cannot choose what the browser calls the host: only
requests that call it by an address or a name of this machine are answered. The port may be any, for
a person may have it forwarded.
"""

from __future__ import annotations

import io
import ipaddress
import json
import socket
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

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
PATIENCE_S = 60.0
"""After which a silent connection is closed; a browser opens another."""


class CannotListen(Exception):
    """The address or the port cannot be had; the message says why, and what can be done."""

    is_sentence = True


class PageServer(ThreadingHTTPServer):
    """Serves until it is shut down; a thread a connection.

    Args:
        host: that it listens at.
        port: 0 for a free one.
        handler: of a connection.

    Raises:
        CannotListen: it cannot listen there.
    """

    daemon_threads = True
    request_queue_size = 256
    allow_reuse_address = True

    def __init__(self, host: str, port: int, handler: type[PageHandler]) -> None:
        self.host = host
        try:
            if not 0 <= port < 1 << 16:  # which the resolver would take for another one
                raise OSError(f"ports go from 0 to {(1 << 16) - 1}")
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.address_family, *_, place = found[0]
            super().__init__(place[:2], handler)  # type: ignore[arg-type]
        except OSError as error:
            why = getattr(error, "strerror", None) or str(error)
            raise CannotListen(
                f"nothing can listen at {host}:{port}: {why}. Name another --port, or leave it out "
                "for one that is free."
            ) from error

    @property
    def url(self) -> str:
        """What a person opens in a browser."""
        return url_of(self.host, self.server_port)

    @property
    def is_open(self) -> bool:
        """Whether others than this machine reach it."""
        return not is_loopback(self.host)

    def server_bind(self) -> None:
        """As of the class above, without asking a name server for a name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.host, int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that went away is nobody's fault; anything else is told as ever."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


class PageHandler(BaseHTTPRequestHandler):
    """One connection; says nothing in the terminal, which is a person's."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "munro", ""
    timeout = PATIENCE_S
    wbufsize = io.DEFAULT_BUFFER_SIZE
    """An answer is sent at once: its head alone would have a browser wait for the rest."""

    def send_json(self, status: int, told: Any) -> None:
        """A value as compact JSON.

        Raises:
            ValueError: it holds what JSON cannot say (NaN, infinity).
        """
        body = json.dumps(told, allow_nan=False, separators=(",", ":"))
        self.send_bytes(status, body.encode(), "application/json")

    def send_bytes(self, status: int, body: bytes, kind: str) -> None:
        """A whole answer, with the headers of every answer."""
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine can reach what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def may_ask(called: str, host: str) -> bool:
    """Whether a request that calls the server `called` is answered by one that listens at `host`.

    Args:
        called: the request's Host header, perhaps with a port.
        host: loopback, or an address that others reach, who then may call it by any address (a
            name is what a rebinding needs), by that one, or by the machine's own name.
    """
    name = _name_of(called)
    if name is None:
        return False
    if is_loopback(host):
        return is_loopback(name)
    own = {host.lower(), "localhost", socket.gethostname().lower(), socket.getfqdn().lower()}
    return name in own or _is_address(name)


def url_of(host: str, port: int) -> str:
    """What a person opens in a browser on this machine."""
    shown = "localhost" if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}/" if ":" in shown else f"http://{shown}:{port}/"


def _name_of(called: str) -> str | None:
    """Without its port and brackets; None where it is no host."""
    if called.startswith("["):
        name, closing, port = called[1:].partition("]")
        good = closing and (not port or (port[0] == ":" and port[1:].isdigit()))
        return name.lower() if good else None
    name, colon, port = called.partition(":")
    return name.lower() if name and (not colon or port.isdigit()) else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
