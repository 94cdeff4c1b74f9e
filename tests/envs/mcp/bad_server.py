"""A server over stdin and stdout that does one thing wrong: standard library only, run by path.

python bad_server.py WHAT...
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

OBJECT = {"type": "object", "properties": {"text": {"type": "string"}}}
WHAT = sys.argv[1:]


def tool(name: str, **more: object) -> dict[str, object]:
    return {"name": name, "description": f"does {name}", "inputSchema": OBJECT, **more}


def say(message: dict[str, object]) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def text(what: str) -> dict[str, object]:
    return {"content": [{"type": "text", "text": what}]}


class Server:
    def __init__(self) -> None:
        self.tools = [tool("echo"), tool("die"), tool("hang"), tool("environment"), tool("fail")]
        self.tools += [tool("big"), tool("binary"), tool("change"), tool("refuse"), tool("garbage")]
        self.tools += [tool("pid"), tool("read"), tool("deaf")]
        for many in (what.removeprefix("many=") for what in WHAT if what.startswith("many=")):
            self.tools = [tool(f"tool{number}") for number in range(int(many))]
        if "odd-schema" in WHAT:
            self.tools = [
                tool("odd", inputSchema={"type": "object", "properties": {"a": {"type": 17}}})
            ]
        if "resets" in WHAT:
            self.tools.append(tool("reset"))
        if "child" in WHAT:
            sleeper = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
            subprocess.Popen([sys.executable, "-I", "-S", "-c", sleeper + "time.sleep(600)"])
        if "no-object" in WHAT:
            self.tools = [tool("odd", inputSchema="a text")]
        if "twice" in WHAT:
            self.tools = [tool("echo"), tool("echo")]
        if "none" in WHAT:
            self.tools = []
        self.said: list[str] = []

    def page(self, cursor: str | None) -> dict[str, object]:
        start = int(cursor or 0)
        if "endless" in WHAT:
            return {"tools": [tool(f"t{start + i}") for i in range(1000)],
                    "nextCursor": str(start + 1000)}  # fmt: skip
        page = {"tools": self.tools[start : start + 1000]}
        if start + 1000 < len(self.tools):
            page["nextCursor"] = str(start + 1000)  # type: ignore[assignment]
        return page

    def call(self, name: str, given: dict[str, str]) -> dict[str, object] | None:
        match name:
            case "die":
                sys.stderr.write("I was asked to die\n")
                sys.stderr.flush()
                os._exit(3)
            case "hang":
                time.sleep(3600)
            case "environment":
                return text(json.dumps(dict(os.environ)))
            case "pid":
                return text(str(os.getpid()))
            case "read":
                try:
                    return text(open(given["text"]).read())
                except OSError as error:
                    return text(str(error))
            case "fail":
                return {**text("no such thing"), "isError": True}
            case "big":
                return text("x" * int(given["text"]))
            case "binary":
                blob = {"uri": "file:///a.bin", "mimeType": "application/x-odd", "blob": "AAECAw=="}
                return {
                    "content": [
                        {"type": "image", "mimeType": "image/png", "data": "AAEC"},
                        {"type": "resource", "resource": blob},
                    ]
                }
            case "garbage":
                sys.stdout.buffer.write(b"\xff\xfe\x00 no JSON\n")
                sys.stdout.flush()
                return text("after garbage")
            case "change":
                self.tools = [*self.tools[1:], tool("fresh")]
                say({"method": "notifications/tools/list_changed"})
                return text("changed")
            case "reset":
                self.said = []
            case "echo":
                self.said.append(given.get("text", ""))
                return text(" ".join(self.said))
            case "fresh":
                return text("I am new")
        return text("done")

    def answer(self, message: dict[str, object]) -> None:
        asked, params = message.get("id"), message.get("params") or {}
        assert isinstance(params, dict)
        match message.get("method"):
            case "initialize":
                if "slow-start" in WHAT:
                    time.sleep(0.5)
                if "hang-at-start" in WHAT:
                    time.sleep(3600)
                say({"id": asked, "result": {
                    "protocolVersion": "2025-06-18",
                    "capabilities": {"tools": {"listChanged": True}},
                    "serverInfo": {"name": "bad", "version": "1"},
                }})  # fmt: skip
            case "tools/list":
                say({"id": asked, "result": self.page(params.get("cursor"))})
            case "tools/call" if params["name"] == "refuse":
                say({"id": asked, "error": {"code": -32000, "message": "I refuse"}})
            case "tools/call":
                say({"id": asked, "result": self.call(params["name"], params["arguments"])})
                if params["name"] == "deaf":
                    time.sleep(3600)
            case _ if asked is not None:
                say({"id": asked, "error": {"code": -32601, "message": "no such method"}})


if __name__ == "__main__":
    if "die-at-start" in WHAT:
        sys.exit("I will not start")
    server = Server()
    for line in sys.stdin:
        server.answer(json.loads(line))
