"""A session with one server: entered, used and left by one task of its own, in the house's loop.

takes    calls from whoever holds it        waits: at most `call_s` each
makes    results, or `ServerFailure`        when the server died or hangs; then nothing comes of it
                                            any more, and it is to be closed

A tool that fails is a result. What is wrong with the server is never one.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from munro.envs.mcp.config import ServerConfig
from munro.envs.mcp.errors import BadServer, ServerFailure, cause
from munro.envs.mcp.links.link import Link
from munro.envs.mcp.links.objects import ObjectLink, found_of

T = TypeVar("T")

MOST_TOOLS = 20_000
"""That one server may list; a list without an end has more."""
MOST_PAGES = 1_000
CLOSE_S = 30.0
UNHEARD_S = 1.0


class Session:
    """One session. All of it runs in the loop of `munro.envs.mcp.house`."""

    def __init__(self, name: str, config: ServerConfig) -> None:
        """
        Args:
            name: of the server, for error messages.
            config: of it.
        """
        self.name, self.config = name, config
        self._client: Any = None
        self._link: Link | None = None
        self._why = ""
        self._hangs = False
        self._stop = asyncio.Event()
        self._over = asyncio.Event()
        self._owner: asyncio.Task[None] | None = None
        self.changes = 0
        """How often the server has said that its tools are others now."""
        self._listed_at = 0
        self.tools: list[Any] = []
        """`mcp_types.Tool`, as they were last listed."""

    async def open(self) -> None:
        """Connect, shake hands, list the tools.

        Raises:
            ServerFailure: it could not be had within `start_s`.
        """
        ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._owner = asyncio.create_task(self._own(ready))
        try:
            await self._during(self._started(ready), self.config.start_s, "start")
        except BaseException:
            await self.close()
            raise

    async def refresh(self) -> None:
        """List the tools again, where they are others now.

        Raises:
            ServerFailure: it does not list them.
        """
        while self._listed_at != self.changes:
            now = self.changes
            self.tools = await self._during(self._listed(), self.config.start_s, "list its tools")
            self._listed_at = now

    async def call(self, tool: str, arguments: dict[str, Any]) -> Any:
        """One call.

        Args:
            tool: by the server's own name.
            arguments: of it.

        Returns:
            `CallToolResult`, or the text of an error that the server answered.

        Raises:
            ServerFailure: it died, or answered nothing within `call_s`.
        """
        return await self._during(self._called(tool, arguments), self.config.call_s, f"call {tool}")

    async def close(self) -> None:
        """Leave it, and wait until nothing of it is there."""
        self._stop.set()
        if self._owner is None:
            return
        done, _ = await asyncio.wait([self._owner], timeout=CLOSE_S if self._client else 0.01)
        if not done:
            self._owner.cancel()
            await asyncio.wait([self._owner], timeout=CLOSE_S)

    @property
    def is_over(self) -> bool:
        """Nothing comes of it any more."""
        return self._hangs or self._over.is_set() or bool(self._link and self._link.lost)

    async def _own(self, ready: asyncio.Future[None]) -> None:
        """The whole life of the session. What ends it early is kept as text."""
        from mcp import Client

        try:
            for mode in ("legacy", "auto"):
                self._link = link_of(self.config)
                client = Client(
                    self._link.target(), mode=mode, message_handler=self._hear, cache=None
                )
                try:
                    async with client:
                        self._client = client
                        await self._live(client, ready)
                        return
                except Exception as error:
                    # only with a handshake does a server keep a session's state; one that has
                    # none any more is spoken to without
                    if mode == "auto" or self._client or not _has_no_handshake(cause(error)):
                        raise
        except Exception as error:  # noqa: BLE001 - told to whoever asks the session next
            self._why = self._why or _text(cause(error))
        finally:
            self._over.set()
            if not ready.done():
                ready.set_result(None)

    async def _live(self, client: Any, ready: asyncio.Future[None]) -> None:
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS

        tools = client.server_capabilities.tools
        if client.protocol_version in MODERN_PROTOCOL_VERSIONS and tools and tools.list_changed:
            async with client.listen(tools_list_changed=True) as changes:
                watching = asyncio.ensure_future(self._watch(changes))
                ready.set_result(None)
                await self._stop.wait()
                watching.cancel()
            return
        ready.set_result(None)
        await self._stop.wait()

    async def _watch(self, changes: Any) -> None:
        async for _ in changes:
            self.changes += 1

    async def _hear(self, message: Any) -> None:
        from mcp_types import ToolListChangedNotification

        if isinstance(message, ToolListChangedNotification):
            self.changes += 1

    async def _started(self, ready: asyncio.Future[None]) -> None:
        await asyncio.shield(ready)
        if self._over.is_set():
            raise self._failure("start")
        self.tools = await self._listed()

    async def _listed(self) -> list[Any]:
        from mcp_types import PaginatedRequestParams

        found: list[Any] = []
        cursor: str | None = None
        for _ in range(MOST_PAGES):
            params = PaginatedRequestParams(cursor=cursor) if cursor else None
            page = await self._client.session.list_tools(params=params)
            found += page.tools
            cursor = page.next_cursor
            if not cursor:
                return found
            if len(found) > MOST_TOOLS:
                break
        raise ServerFailure(
            f"the server {self.name!r} lists more than {MOST_TOOLS} tools, or does not end"
        )

    async def _called(self, tool: str, arguments: dict[str, Any]) -> Any:
        from mcp_types import CallToolRequest, CallToolRequestParams, CallToolResult

        # not `call_tool`: it checks results against the server's own schemas, whose patterns may
        # run for ever, and would make of a sloppy answer a broken server
        params = CallToolRequestParams(name=tool, arguments=arguments)
        return await self._client.session.send_request(
            CallToolRequest(params=params), CallToolResult
        )

    async def _during(self, work: Awaitable[T], limit_s: float, doing: str) -> T:
        """`work`, as long as the server lives and no longer than `limit_s`."""
        doer = asyncio.ensure_future(work)
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait([doer, over], timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
            if not doer.done() and self._over.is_set():
                await asyncio.wait([doer], timeout=0.1)
            if not doer.done():
                self._hangs = not self._over.is_set()
                if self._hangs:
                    self._why = f"nothing within {limit_s:g} s"
                raise self._failure(doing)
            return self._settled(doer, doing)
        finally:
            for task in (doer, over):
                task.cancel()
            # not for ever: what is cancelled still tells the server so, who may not listen
            await asyncio.wait([doer, over], timeout=UNHEARD_S)

    def _settled(self, doer: asyncio.Future[T], doing: str) -> T:
        """What came of it: a result, an error that the server answered, or no more of it."""
        from mcp.shared.exceptions import MCPError
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT
        from pydantic import ValidationError

        error = doer.exception()
        match error:
            case None:
                return doer.result()
            case ServerFailure():
                raise error
            case MCPError() if doing.startswith("call") and not self.is_over:
                text = str(error)
                # the session's own words, where what carries it has ended
                ended = error.code == CONNECTION_CLOSED and (
                    text == "Connection closed" or text.startswith("SSE stream ended")
                )
                if error.code != REQUEST_TIMEOUT and not ended:
                    return text  # type: ignore[return-value]
            case ValidationError():
                first = error.errors(include_url=False, include_input=False)[0]
                place = ".".join(map(str, first["loc"]))
                self._why = f"what it says is no MCP ({place}: {first['msg']})"
        self._why = self._why or _text(cause(error))
        raise self._failure(doing)

    def _failure(self, doing: str) -> ServerFailure:
        lost = self._link.lost if self._link else ""
        words = self._link.last_words if self._link else ""
        why = lost or self._why or "it ended"
        said = f"; it said: {words}" if words else ""
        return ServerFailure(f"the server {self.name!r} did not {doing}: {why}{said}")


def link_of(config: ServerConfig) -> Link:
    """A new way to the server."""
    if config.object:
        return ObjectLink(config)
    if config.url:
        from munro.envs.mcp.links.address import AddressLink

        return AddressLink(config)
    if config.sandbox:
        from munro.envs.mcp.links.sandboxed import SandboxedLink

        return SandboxedLink(config)
    from munro.envs.mcp.links.process import ProcessLink

    return ProcessLink(config, [program_of(config), *config.command[1:]])


def program_of(config: ServerConfig) -> str:
    """The command's program, by its absolute path.

    Raises:
        BadServer: there is none.
    """
    program, cwd = config.command[0], Path(config.cwd or ".").expanduser().resolve()
    if not cwd.is_dir():
        raise BadServer(f"cwd = {config.cwd!r}: there is no such folder.")
    wanted = str(cwd / program) if "/" in program else program
    # also a program of this Python's own environment, which need not be on the PATH
    beside = str(Path(sys.executable).parent / program)
    found = shutil.which(wanted, path=config.env.get("PATH")) or shutil.which(beside)
    if found is None:
        raise BadServer(
            f"there is no program {program!r} to start: install it, or write its whole path."
        )
    return found


def check_place(config: ServerConfig) -> None:
    """What can be seen to be wrong without starting anything.

    Raises:
        BadServer: the command is none, or the object is no server.
    """
    if config.object:
        if not config.shared and not config.reset_tool and not callable(found_of(config)):
            raise BadServer(
                f"{config.object} is one server for all episodes: name a function that makes one, "
                "or say shared = true, or which reset_tool puts it back."
            )
    elif config.command and not config.sandbox:
        program_of(config)


def _has_no_handshake(error: BaseException) -> bool:
    from mcp.shared.exceptions import MCPError
    from mcp_types import UNSUPPORTED_PROTOCOL_VERSION

    return isinstance(error, MCPError) and error.code == UNSUPPORTED_PROTOCOL_VERSION


def _text(error: BaseException | None) -> str:
    if error is None:
        return ""
    if isinstance(error, ServerFailure | BadServer):
        return str(error)
    return f"{type(error).__name__}: {str(error)[:300]}".removesuffix(": ")
