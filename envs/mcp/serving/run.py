"""Serving until nobody wants it any more: over stdin and stdout, or over HTTP."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from munro.envs.mcp.errors import BadServer
from munro.envs.mcp.serving.server import server_of
from munro.envs.mcp.serving.shown import Shown

LOOPBACK = ("127.0.0.1", "localhost", "::1")
IDLE_S = 1800.0
"""After which the session of a client that is silent is forgotten, with its state."""


def over_stdio(shown: Shown) -> None:
    """One session, until stdin ends."""
    asyncio.run(_stdio(shown))


async def _stdio(shown: Shown) -> None:
    from mcp.server.runner import serve_loop
    from mcp.server.stdio import stdio_server

    server = server_of(shown)
    async with (
        stdio_server() as (reading, writing),
        server.lifespan(server) as lifespan_state,
    ):
        await serve_loop(server, reading, writing, lifespan_state=lifespan_state)


def over_http(shown: Shown, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """As many sessions as come, until Ctrl-C.

    Args:
        shown: to them.
        host: that it listens at; on loopback only those are answered who ask for it by its name.
        port: 0 for a free one.
        on_ready: told the address, once it answers.

    Raises:
        BadServer: it cannot listen there.
    """
    import uvicorn

    app = server_of(shown).streamable_http_app(
        host=host, json_response=True, session_idle_timeout=IDLE_S
    )
    listening = _listen(host, port)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listening.getsockname()[1]}/mcp"
    config = uvicorn.Config(app, log_level="error", access_log=False, timeout_graceful_shutdown=2)
    serving = uvicorn.Server(config)

    async def serve() -> None:
        work = asyncio.ensure_future(serving.serve(sockets=[listening]))
        while not serving.started and not work.done():
            await asyncio.sleep(0.01)
        if serving.started:
            on_ready(address)
        await work

    try:
        asyncio.run(serve())
    except KeyboardInterrupt:
        pass
    finally:
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    listening: socket.socket | None = None
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
        listening.listen(256)
    except OSError as error:
        if listening is not None:
            listening.close()
        why = error.strerror or error
        raise BadServer(f"nothing can listen at {host}:{port}: {why}.") from error
    return listening
