"""A judge on loopback that says what a test tells it to, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from munro.rewards.judge import Judge, JudgeConfig

Body = Mapping[str, Any]


@dataclass(frozen=True)
class Reply:
    """What the scripted judge does with one request."""

    content: str | None = ""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    """The whole body, in place of a chat completion."""
    drops: bool = False
    """Closes the connection in the middle of its answer."""
    hangs: bool = False
    """Says nothing until the test is over."""
    finish_reason: str = "stop"


def says(**verdict: object) -> Reply:
    """A well-formed verdict."""
    return Reply(json.dumps({"notes": "seen", **verdict}))


def fails(status: int, message: str = "no", **headers: str) -> Reply:
    """An error in the form of OpenAI's."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = json.dumps({"error": {"message": message}}).encode()
    return Reply(status=status, headers=named, raw=body)


class ScriptedJudge:
    """A server in threads. `requests` holds the bodies that came, in order."""

    def __init__(self, answer: Callable[[Body], Reply] | Sequence[Reply]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.over = threading.Event()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._answer = answer
        judge = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                judge.serve(self)

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # a client that left, which is its right

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self._lock:
            number = len(self.requests)
            self.requests.append(body)
            self.headers.append({k.lower(): v for k, v in handler.headers.items()})
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            script = self._answer
            reply = script(body) if callable(script) else script[min(number, len(script) - 1)]
            self.play(reply, handler)
        finally:
            with self._lock:
                self._at_once -= 1

    def play(self, reply: Reply, handler: BaseHTTPRequestHandler) -> None:
        if reply.hangs:
            self.over.wait(60)
        body = completion(reply) if reply.raw is None else reply.raw
        handler.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: len(body) // 2] if reply.drops else body)
        handler.close_connection = reply.drops

    def close(self) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> ScriptedJudge:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()


def completion(reply: Reply) -> bytes:
    choice = {
        "index": 0,
        "finish_reason": reply.finish_reason,
        "message": {"role": "assistant", "content": reply.content},
    }
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    whole = {"id": "1", "object": "chat.completion", "created": 0, "model": "scripted"}
    return json.dumps({**whole, "choices": [choice], "usage": usage}).encode()


@contextmanager
def scripted(
    answer: Callable[[Body], Reply] | Sequence[Reply] | Reply, **config: Any
) -> Iterator[tuple[Judge, ScriptedJudge]]:
    """A judge that asks a scripted server: patient, hurried, without a cache unless told."""
    with (
        ScriptedJudge([answer] if isinstance(answer, Reply) else answer) as server,
        Judge(config_for(server.url, **config), name="test") as judge,
    ):
        yield judge, server


def config_for(url: str, **changes: Any) -> JudgeConfig:
    boring = {"model": "scripted", "base_url": url, "backoff_s": 0.0, "retries": 2, "cache": ""}
    return JudgeConfig.model_validate({**boring, **changes})


def last_user(body: Body) -> str:
    """The text of a request's last message."""
    return str(body["messages"][-1]["content"])


def material(body: Body, label: str) -> str:
    """What stands between the marks of that label in a request's last message."""
    text = last_user(body)
    begin = text.index(f"[BEGIN {label} ")
    code = text[begin:].partition("]")[0].rpartition(" ")[2]
    opened = f"[BEGIN {label} {code}]\n"
    return text[begin + len(opened) : text.index(f"\n[END {label} {code}]")]
