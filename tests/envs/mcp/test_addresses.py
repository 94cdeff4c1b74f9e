"""Servers by address: ours, and ones that break in the ways of HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from munro.envs.mcp.errors import BadServer
from munro.rewards.errors import EnvironmentFailure
from tests.envs.mcp.playing import answers, env_of, turn

NAMES = ("echo", "big", "big_stream", "gone", "broken", "cut", "hang", "page")


class Bad(BaseHTTPRequestHandler):
    """Streamable HTTP with a session, and one way to break for each tool."""

    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, params = asked["method"], asked.get("params") or {}
        if "id" not in asked:
            self.say(202, b"", "text/plain")
            return
        if method == "initialize":
            self.result(asked["id"], {
                "protocolVersion": "2025-06-18",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "bad", "version": "1"},
            })  # fmt: skip
        elif method == "tools/list":
            tools = [{"name": name, "inputSchema": {"type": "object"}} for name in NAMES]
            self.result(asked["id"], {"tools": tools})
        else:
            getattr(self, params["name"])(asked["id"])

    def do_DELETE(self) -> None:
        self.say(200, b"", "text/plain")

    def do_GET(self) -> None:
        self.say(405, b"", "text/plain")

    def echo(self, asked: int) -> None:
        seen = self.headers.get("X-Mine", "")
        self.result(asked, {"content": [{"type": "text", "text": f"mine: {seen}"}]})

    def big(self, asked: int) -> None:
        self.result(asked, {"content": [{"type": "text", "text": "x" * 3_000_000}]})

    def big_stream(self, asked: int) -> None:
        result = {"content": [{"type": "text", "text": "x" * 3_000_000}]}
        event = json.dumps({"jsonrpc": "2.0", "id": asked, "result": result})
        self.say(200, f"event: message\ndata: {event}\n\n".encode(), "text/event-stream")

    def gone(self, asked: int) -> None:
        self.say(404, b"", "text/plain")

    def broken(self, asked: int) -> None:
        self.say(500, b"Internal Server Error", "text/plain")

    def page(self, asked: int) -> None:
        self.say(200, b"<html>welcome</html>", "text/html")

    def cut(self, asked: int) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def hang(self, asked: int) -> None:
        time.sleep(1)

    def result(self, asked: int, result: dict[str, Any]) -> None:
        said = json.dumps({"jsonrpc": "2.0", "id": asked, "result": result})
        self.say(200, said.encode(), "application/json")

    def say(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Mcp-Session-Id", "one")
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            self.close_connection = True


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go away."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Quiet(("127.0.0.1", 0), Bad) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/mcp"
        server.shutdown()


def test_an_answer_that_is_too_large_is_not_read_and_the_session_goes_on(tmp_path, url):
    server = {"url": url, "most_bytes": 1 << 20, "headers": {"X-Mine": "yes"}}
    env = env_of(tmp_path, servers={"bad": server})
    ((big,), (stream,), (echo,)) = answers(
        env, turn(("big", {})), turn(("big_stream", {})), turn(("echo", {}))
    )
    assert "more than the 1048576 that are read" in big.error
    assert "1048576" in stream.error
    assert echo.content == "mine: yes"


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gone", "HTTP 404"),
        ("broken", "HTTP 500"),
        ("cut", "it broke off at"),
        ("hang", r"nothing within 0\.3 s"),
        ("page", "text/html"),
    ],
)
def test_a_server_that_breaks_leaves_the_attempt_unscored(tmp_path, url, how, said):
    call_s = 0.3 if how == "hang" else 60
    env = env_of(tmp_path, servers={"bad": {"url": url, "call_s": call_s}})
    with pytest.raises(EnvironmentFailure, match=said):
        answers(env, turn((how, {})))


def test_an_address_that_nobody_answers_is_one_sentence(tmp_path):
    env = env_of(tmp_path, servers={"a": {"url": "http://127.0.0.1:9/mcp"}})
    with pytest.raises(BadServer, match=r"nobody answers at http://127\.0\.0\.1:9/mcp"):
        env.tasks("train")


def test_an_address_without_mcp_is_one_sentence(tmp_path, url):
    env = env_of(tmp_path, servers={"a": {"url": url.replace("/mcp", "")}})
    assert env.tasks("train")  # any path does for that one
    with pytest.raises(ValueError, match="write http://HOST:PORT/mcp"):
        env_of(tmp_path, servers={"a": {"url": "localhost:3000"}})
