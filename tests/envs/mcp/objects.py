"""Servers in this process, for tests."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.shared.exceptions import MCPError
from mcp_types import UNSUPPORTED_PROTOCOL_VERSION, ToolAnnotations
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from munro.envs.mcp.serving import server_of, shown_of

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

    together = asyncio.Barrier(3)

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    async def meet() -> str:
        """Comes back as soon as three calls are being answered."""
        return str(await together.wait())

    @server.tool()
    def fail() -> str:
        """Raises."""
        raise RuntimeError("a bug in a tool")

    @server.tool()
    def both() -> dict[str, int]:
        """Structure, and the same as text."""
        return {"a": 1}

    return server


def modern() -> MCPServer:
    """One that knows only versions of the protocol without a handshake; its tools change."""
    server = MCPServer("modern")

    @server.tool()
    async def grow(context: Context) -> str:
        """Adds a tool."""

        @server.tool()
        def late() -> str:
            """Was added."""
            return "here"

        await context.notify_tools_changed()
        return "grown"

    async def without_handshake(context: Any, call_next: Any) -> Any:
        if context.method == "initialize":
            data = {"supported": [*MODERN_PROTOCOL_VERSIONS], "requested": "2025-11-25"}
            raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, "no handshake", data)
        return await call_next(context)

    server._lowlevel_server.middleware.append(without_handshake)
    return server


hangs_every = 2
num_flaky = 0


def flaky() -> MCPServer:
    """Counts its calls; every `hangs_every`-th one of these hangs at the second call."""
    global num_flaky
    num_flaky += 1
    number = num_flaky
    server = MCPServer("flaky")
    calls = 0

    @server.tool()
    async def count() -> int:
        """How often it was called."""
        nonlocal calls
        calls += 1
        # the first one is only asked what it has
        if calls == 2 and number > 1 and number % hangs_every == 0:
            await asyncio.sleep(3600)
        return calls

    return server


def stall() -> Any:
    """Ours, of the smallest world."""
    return server_of(shown_of("stall", args={}))


def nothing() -> int:
    """No server."""
    return NUMBER


def raises() -> MCPServer:
    """Raises."""
    raise OSError("no disk")


ONE = counter()
