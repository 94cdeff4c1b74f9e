"""The server: lists tools, carries out calls in the state of the session that they come in.

Only versions of the protocol with a handshake are spoken: later ones know no sessions over HTTP,
and with them no state of a client's own.
"""

from __future__ import annotations

import asyncio
from typing import Any

from munro.envs.mcp.serving.shown import Shown

STATE = "munro"
"""Key of a session's own state on its connection."""


def server_of(shown: Shown) -> Any:
    """A server of the package `mcp`, for any of its transports."""
    import mcp_types as types
    from mcp.server import Server

    tools = [_tool(schema) for schema in shown.tools]

    async def list_tools(
        context: Any,  # noqa: ARG001 - the package's own form
        params: types.PaginatedRequestParams | None,  # noqa: ARG001
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=tools)

    async def call_tool(context: Any, params: types.CallToolRequestParams) -> types.CallToolResult:
        # there is no public name for it on this side of the package
        connection = context.session._connection
        kept = connection.state.setdefault(STATE, _Kept())
        async with kept.lock:
            if kept.opened is None:
                kept.opened = await shown.open()
                connection.exit_stack.push_async_callback(kept.opened.close)
            text, is_error = await kept.opened.call(params.name, params.arguments or {})
        content = [types.TextContent(text=text)]
        return types.CallToolResult(content=[*content], is_error=is_error)

    server = Server(
        f"munro {shown.name}",
        version="1",
        instructions=shown.instructions,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    server.middleware.append(_with_handshake)
    return server


class _Kept:
    """The state of one session, made when it is first needed; one call at a time."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.opened: Any = None


async def _with_handshake(ctx: Any, call_next: Any) -> Any:
    """Tell clients that speak without one to begin with one."""
    from mcp.shared.exceptions import MCPError
    from mcp_types import UNSUPPORTED_PROTOCOL_VERSION
    from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS

    if ctx.protocol_version in MODERN_PROTOCOL_VERSIONS:
        data = {
            "supported": [*HANDSHAKE_PROTOCOL_VERSIONS],
            "requested": ctx.protocol_version,
        }
        raise MCPError(UNSUPPORTED_PROTOCOL_VERSION, "sessions begin with initialize", data)
    return await call_next(ctx)


def _tool(schema: Any) -> Any:
    import mcp_types as types

    function = schema.get("function", schema)
    parameters = function.get("parameters") or {"type": "object"}
    return types.Tool(
        name=function["name"],
        description=function.get("description", ""),
        input_schema=dict(parameters),
    )
