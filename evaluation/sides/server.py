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
from importlib import resources
from typing import Any, ClassVar

from munro.evaluation.page_server import PageHandler, PageServer, may_ask, url_of
from munro.evaluation.sides.desk import Desk, Refused

MOST_BODY = 4096
"""Bytes of a click."""
POLL_S = 0.02
"""Between looks at whether it is to end."""
PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}


class SidesServer(PageServer):
    """Serves one desk.

    Args:
        desk: that it serves.
        host: that it listens at.
        port: 0 for a free one.

    Raises:
        CannotListen: it cannot listen there.

    Example:
        with SidesServer(desk) as server:
            server.serve_forever()
    """

    def __init__(self, desk: Desk, *, host: str = "127.0.0.1", port: int = 0) -> None:
        self.desk = desk
        super().__init__(host, port, _Handler)

    def links(self) -> dict[str, str]:
        """By rater."""
        name = socket.gethostname() if self.host in ("0.0.0.0", "::") else self.host
        page = url_of(name, self.server_port)
        return {rater: f"{page}#{token}" for token, rater in self.desk.asked.tokens.items()}


class _Handler(PageHandler):
    """One connection."""

    server: SidesServer
    _assets: ClassVar[dict[str, bytes]] = {}

    def do_GET(self) -> None:  # noqa: N802 - as the library calls it
        self._answered(self._get)

    def do_POST(self) -> None:  # noqa: N802 - as the library calls it
        self._answered(self._post)

    def _answered(self, work: Callable[[], Any]) -> None:
        try:
            self._is_for_us()
            found = work()
        except Refused as refused:
            # what was not read of a request must not be taken for the next one
            self.close_connection = True
            self.send_json(refused.status, {"error": str(refused)})
        except OSError as failure:
            if isinstance(failure, ConnectionError | TimeoutError):
                raise
            self.close_connection = True
            why = f"This was not saved: {failure.strerror or failure}. It is tried again."
            self.send_json(HTTPStatus.INSUFFICIENT_STORAGE, {"error": why})
        else:
            if found is not None:
                self.send_json(HTTPStatus.OK, found)

    def _is_for_us(self) -> None:
        asked = self.headers.get_all("Host") or []
        if len(asked) != 1:
            raise Refused(400, "A request names one host.")
        # where others reach it too, perhaps through a proxy of another name, only a token helps
        if not self.server.is_open and not may_ask(asked[0], self.server.host):
            raise Refused(421, "This address is served under another name.")
        origin = self.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() != asked[0].lower():
            raise Refused(403, "This request comes from another page.")

    def _get(self) -> Any:
        path = self.path.partition("?")[0]  # some programs add their own to a link
        if path in PAGE:
            name, kind = PAGE[path]
            self.send_bytes(HTTPStatus.OK, self._asset(name), kind)
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
