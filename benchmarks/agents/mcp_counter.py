"""A server that adds up what it is told, a sum for each session; for `mcp_kills.py`.

python mcp_counter.py           over stdin and stdout: standard library only
python mcp_counter.py PORT      over HTTP on loopback
"""

from __future__ import annotations

import json
import sys
from typing import Any

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


def over_http(port: int) -> None:
    """A session for each client."""
    from munro.envs.mcp.serving.run import over_http as serve

    serve(Counting(), "127.0.0.1", port, lambda address: None)  # noqa: ARG005


class Counting:
    """`munro.envs.mcp.serving.Shown`, and `Opened` for each session."""

    name, instructions = "counter", ""
    tools = ({"type": "function", "function": {"name": "add", "parameters": SCHEMA}},)

    def __init__(self) -> None:
        self.total = 0

    async def open(self) -> Counting:
        """A sum of its own."""
        return Counting()

    async def call(self, tool: str, arguments: Any) -> tuple[str, bool]:
        """Add."""
        self.total += arguments["number"] if tool == "add" else 0
        return str(self.total), False

    async def close(self) -> None:
        """Nothing to free."""


if __name__ == "__main__":
    over_http(int(sys.argv[1])) if sys.argv[1:] else over_stdio()
