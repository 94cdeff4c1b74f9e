"""How a server is reached, as a person writes it: `[env.args.servers.NAME]`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from munro.envs.mcp.errors import BadServer
from munro.rewards.config import Config
from munro.rewards.plugins import nearest

NAME = re.compile(r"[A-Za-z0-9_-]{1,32}")


class ServerConfig(Config):
    """One MCP server: exactly one of `command`, `url` and `object` says where it is."""

    command: list[str] = Field(default_factory=list)
    """A program that talks MCP over its stdin and stdout, and its arguments. Each episode starts
    one of its own."""
    cwd: str = ""
    """Working directory of the command; the one that the recipe was started in unless given."""
    env: dict[str, str] = Field(default_factory=dict)
    """All the environment variables that the command sees: nothing of ours is handed on."""
    sandbox: bool = False
    """The command runs inside the sandbox: no network, no host files but /usr and `mounts`."""
    mounts: dict[str, str] = Field(default_factory=dict)
    """With sandbox = true: folders that it sees, read-only: path here to path inside (/opt/...)."""
    packages: list[str] = Field(default_factory=list)
    """With sandbox = true: folders that its Python imports from."""
    memory_mb: int = Field(512, ge=32)
    """With sandbox = true: MiB that it may use; in any case what is counted for it where
    `budget.boxes = "auto"`."""
    lifetime_s: float = Field(3600.0, gt=0)
    """With sandbox = true: wall and CPU seconds after which it is ended."""
    url: str = ""
    """Address of a server that talks streamable HTTP; each episode has a session of its own."""
    headers: dict[str, str] = Field(default_factory=dict)
    """Of every request to `url`."""
    object: str = ""
    """A server in this process, `module:object` or `file.py:object`: an `MCPServer` or a function
    that makes one, which each episode calls."""
    shared: bool = False
    """One session for all episodes of a worker at once: for servers that remember nothing."""
    reset_tool: str = ""
    """A tool that puts the server back to its start: sessions are then used again, one episode
    after the other, and it is called before each. No model sees it."""
    reset_arguments: dict[str, Any] = Field(default_factory=dict)
    """Of `reset_tool`."""
    without: list[str] = Field(default_factory=list)
    """Tools that are left out, by the server's own names."""
    start_s: float = Field(30.0, gt=0)
    """Seconds until it must have answered the handshake and listed its tools."""
    call_s: float = Field(60.0, gt=0)
    """Seconds that one call may take; after it the server counts as hung."""
    most_bytes: int = Field(8 << 20, ge=1024)
    """Of one message from it. A larger answer is not read, and the model is told so."""

    @model_validator(mode="after")
    def _goes_together(self) -> Self:
        said = [name for name in ("command", "url", "object") if getattr(self, name)]
        if len(said) != 1:
            raise ValueError(
                f"it says {' and '.join(said) or 'none'} of command, url and object: give one"
            )
        if self.shared and self.reset_tool:
            raise ValueError("shared = true goes with servers that need no reset_tool: give one")
        if not self.command:
            for name in ("cwd", "env", "sandbox", "mounts", "packages"):
                if getattr(self, name):
                    raise ValueError(f"{name} belongs to servers by command")
        if self.headers and not self.url:
            raise ValueError("headers belong to servers by url")
        if self.url and not self.url.startswith(("http://", "https://")):
            raise ValueError(f"url = {self.url!r}: write http://HOST:PORT/mcp")
        if (self.mounts or self.packages) and not self.sandbox:
            raise ValueError("mounts and packages are for sandbox = true")
        return self


def servers_of(tables: Any) -> dict[str, ServerConfig]:
    """The servers of `[env.args.servers.NAME]`.

    Raises:
        BadServer: there is none, or one is none.
    """
    if not isinstance(tables, Mapping) or not tables:
        raise BadServer(
            "mcp needs a server: [env.args.servers.NAME] with command = [...], url or object."
        )
    return {name: _server(str(name), table) for name, table in tables.items()}


def _server(name: str, table: Any) -> ServerConfig:
    if not NAME.fullmatch(name):
        raise BadServer(
            f"servers.{name}: the name may hold up to 32 letters, digits, _ and - (tools may be "
            "called by it)."
        )
    try:
        return ServerConfig.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            hint = nearest(key, ServerConfig.model_fields)
            raise BadServer(f"servers.{name} has no key {key!r}. {hint}") from error
        text = first["msg"].removeprefix("Value error, ")
        raise BadServer(f"servers.{name}{f'.{key}' if key else ''}: {text}.") from error
