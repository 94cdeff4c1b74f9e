"""A study's server as a process of its own, and raters as HTTP clients."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[3]
PROGRAM = "import sys; from munro.machine.sides.verbs import run_serve as s; "
PROGRAM += "s(sys.argv[1], '127.0.0.1', int(sys.argv[2]))"


class Served:
    """`munro sides serve`; what it prints first are the links."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", PROGRAM, str(folder), str(port)],
            env=os.environ | {"PYTHONPATH": str(ROOT / "src")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.links: dict[str, str] = {}
        for line in self.process.stdout:
            if not (found := re.match(r"(\S+) +(http\S+)", line)):
                break
            self.links[found[1]] = found[2]
        assert self.links
        self.port = urlsplit(next(iter(self.links.values()))).port

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def end(self) -> str:
        """Ask it to; what it says last."""
        self.process.terminate()
        said = self.process.stdout.read()
        assert self.process.wait() == 0
        self.process.stdout.close()
        return said


def asked(port, method, path, token="", body=None, **headers):
    """(status, headers, what came back) of one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        sent = {"Authorization": f"Bearer {token}"} if token else {}
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        connection.request(method, path, body, sent | headers)
        answer = connection.getresponse()
        text = answer.read()
        is_json = answer.headers.get_content_type() == "application/json"
        return answer.status, answer.headers, json.loads(text) if is_json else text.decode()
    finally:
        connection.close()


def token_of(link: str) -> str:
    return urlsplit(link).fragment
