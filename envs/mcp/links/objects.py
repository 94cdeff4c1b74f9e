"""A server in this process: an `MCPServer`, or a function that makes one for each episode."""

from __future__ import annotations

import inspect
from typing import Any

from munro.envs.mcp.config import ServerConfig
from munro.envs.mcp.errors import BadServer, ServerFailure
from munro.rewards.plugins import BadPlugin, Registry, blame


class ObjectLink:
    """See `munro.envs.mcp.links.link.Link`."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self.lost = ""
        self.last_words = ""

    def target(self) -> Any:
        """The server itself.

        Raises:
            ServerFailure: the function that makes it raised, or made something else.
        """
        found = found_of(self._config)
        if is_server(found):
            return found
        try:
            made = found()
        except Exception as error:
            raise ServerFailure(f"{self._config.object} raised {blame(error)}") from error
        if not is_server(made):
            raise ServerFailure(f"{self._config.object} made {made!r:.60}, which is no MCP server")
        return made


def found_of(config: ServerConfig) -> Any:
    """What `object` names: a server, or a function.

    Raises:
        BadServer: it is neither, or there is nothing of that name.
    """
    if ":" not in config.object:
        raise BadServer(f"object = {config.object!r}: write module:object or file.py:object.")
    try:
        return SERVERS.find(config.object)
    except BadPlugin as error:
        raise BadServer(str(error)) from error


def is_server(value: Any) -> bool:
    """Whether a value is a server of the package `mcp`."""
    from mcp.server import MCPServer, Server

    return isinstance(value, MCPServer | Server)


def _fits(value: Any) -> bool:
    return inspect.isfunction(value) or is_server(value)


SERVERS = Registry(what="MCP server", group="munro.mcp", home="munro.envs.mcp.none", fits=_fits)
