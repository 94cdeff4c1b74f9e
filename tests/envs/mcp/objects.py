"""Servers in this process, for tests."""

from __future__ import annotations

import asyncio

from mcp.server import MCPServer

NUMBER = 7
made = 0


def counter() -> MCPServer:
    """A new one, which counts its calls."""
    global made
    made += 1
    server = MCPServer("counter")
    calls = 0

    @server.tool()
    def count() -> int:
        """How often it was called."""
        nonlocal calls
        calls += 1
        return calls

    @server.tool()
    async def sleep() -> str:
        """Never comes back."""
        await asyncio.sleep(3600)
        return "awake"

    @server.tool()
    def fail() -> str:
        """Raises."""
        raise RuntimeError("a bug in a tool")

    @server.tool()
    def both() -> dict[str, int]:
        """Structure, and the same as text."""
        return {"a": 1}

    return server


def nothing() -> int:
    """No server."""
    return NUMBER


def raises() -> MCPServer:
    """Raises."""
    raise OSError("no disk")


ONE = counter()
