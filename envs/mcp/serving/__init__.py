"""Any tool environment or world of ours as an MCP server for anybody's client.

    name ──► shown_of ──► Shown ──► server_of ──► over stdio, or HTTP on loopback

Each session has a state of its own, which ends with it.
"""

from munro.envs.mcp.serving.server import server_of
from munro.envs.mcp.serving.shown import Shown, shown_of

__all__ = ["Shown", "server_of", "shown_of"]
