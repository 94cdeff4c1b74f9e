"""A server by its address: streamable HTTP, its answers bounded, its failures told apart from ours.

The session knows JSON-RPC and nothing of what carries it: that a server is gone reaches it as one
error among others. So what becomes of the connection is noted here.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from munro.envs.mcp.config import ServerConfig
from munro.envs.mcp.links.streams import too_large

CONNECT_S = 10.0


class AddressLink:
    """See `munro.envs.mcp.links.link.Link`."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self.lost = ""
        self.last_words = ""

    def target(self) -> Any:
        """A transport."""
        import httpx2
        from mcp.client.streamable_http import streamable_http_client

        client = httpx2.AsyncClient(
            headers=self._config.headers,
            timeout=httpx2.Timeout(CONNECT_S, read=None),
            transport=_bounded(self, self._config.most_bytes),
            trust_env=False,
        )
        return _owned(client, streamable_http_client, self._config)


def _owned(client: Any, connect: Any, config: ServerConfig) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened() -> Any:
        most = config.most_bytes
        async with client, connect(config.url, http_client=client, max_sse_event_size=most) as pair:
            yield pair

    return opened()


def _bounded(link: AddressLink, most_bytes: int) -> Any:
    """The transport below the client: one that looks at every answer."""
    import httpx2

    class Bounded(httpx2.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            asks = request.method == "POST"
            try:
                response = await super().handle_async_request(request)
            except httpx2.TransportError as error:
                if asks:
                    link.lost = link.lost or _told(error, request)
                raise
            kind = response.headers.get("content-type", "").lower()
            if asks:
                link.lost = link.lost or _wrong(request, response.status_code, kind)
            if asks and kind.startswith("application/json"):
                read: httpx2.Response = await _read(request, response, most_bytes)
                return read
            return response

    return Bounded(verify=_trusted())


@lru_cache(maxsize=1)
def _trusted() -> Any:
    """Certificates that are trusted; to read them takes longer than a session."""
    import httpx2

    return httpx2.create_ssl_context()


def _told(error: Exception, request: Any) -> str:
    import httpx2

    what = "nobody answers at" if isinstance(error, httpx2.ConnectError) else "it broke off at"
    return f"{what} {request.url}: {str(error) or type(error).__name__}"


def _wrong(request: Any, status: int, kind: str) -> str:
    """Why a response is none to a session that goes on; empty where it may be."""
    if status >= 500 or (status >= 400 and "mcp-session-id" in request.headers):
        return f"it answers HTTP {status}"
    # without a session, a status from 400 on says what an error of JSON-RPC says
    if status == 200 and not kind.startswith(("application/json", "text/event-stream")):
        return f"it answers {kind[:80] or 'without saying what'}, which is no MCP"
    return ""


async def _read(request: Any, response: Any, most_bytes: int) -> Any:
    """A response in JSON, whole, or what stands for one that is too large."""
    import httpx2

    read = bytearray()
    async for chunk in response.stream:
        read += chunk
        if len(read) > most_bytes:
            break
    await response.aclose()
    headers = {
        name: value
        for name, value in response.headers.items()
        if name not in ("content-length", "transfer-encoding")
    }
    content = bytes(read)
    if len(read) > most_bytes:
        asked = json.loads(request.content).get("id")
        error = {"code": -32603, "message": too_large(len(read), most_bytes)}
        content = json.dumps({"jsonrpc": "2.0", "id": asked, "error": error}).encode()
        headers.pop("content-encoding", None)
    return httpx2.Response(response.status_code, headers=headers, content=content)
