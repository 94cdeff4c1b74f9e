"""A server that adds up what it is told, a sum for each session; for `mcp_kills.py`.

python mcp_counter.py           over stdin and stdout: standard library only
python mcp_counter.py PORT      over HTTP on loopback
"""

from __future__ import annotations

import json
import secrets
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

SCHEMA = {
    "type": "object",
    "properties": {"number": {"type": "integer"}},
    "required": ["number"],
}


def answered(message: dict[str, Any], total: list[int]) -> dict[str, Any]:
    """The result of one request over stdio."""
    match message["method"]:
        case "initialize":
            return {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "counter", "version": "1"},
            }
        case "tools/list":
            return {"tools": [{"name": "add", "inputSchema": SCHEMA}]}
        case _:
            total[0] += int(message["params"]["arguments"]["number"])
            return {"content": [{"type": "text", "text": str(total[0])}]}


def over_stdio() -> None:
    """One session."""
    total = [0]
    for line in sys.stdin:
        message = json.loads(line)
        if "id" in message:
            said = {"jsonrpc": "2.0", "id": message["id"], "result": answered(message, total)}
            sys.stdout.write(json.dumps(said) + "\n")
            sys.stdout.flush()


class Sessions(BaseHTTPRequestHandler):
    """Streamable HTTP: a sum for each session, which ends with this process."""

    protocol_version = "HTTP/1.1"
    totals: ClassVar[dict[str, list[int]]] = {}

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        """One message."""
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        session = self.headers.get("Mcp-Session-Id", "")
        if message["method"] == "initialize":
            session = secrets.token_hex(8)
            self.totals[session] = [0]
        if session not in self.totals:
            self.say(404, b"")
        elif "id" not in message:
            self.say(202, b"")
        else:
            result = answered(message, self.totals[session])
            said = {"jsonrpc": "2.0", "id": message["id"], "result": result}
            self.say(200, json.dumps(said).encode(), session)

    def do_GET(self) -> None:
        """There is nothing that it would say unasked."""
        self.say(405, b"")

    def do_DELETE(self) -> None:
        """The end of a session."""
        self.totals.pop(self.headers.get("Mcp-Session-Id", ""), None)
        self.say(200, b"")

    def say(self, status: int, body: bytes, session: str = "") -> None:
        """One response."""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if session:
            self.send_header("Mcp-Session-Id", session)
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    if sys.argv[1:]:
        ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Sessions).serve_forever()
    over_stdio()
