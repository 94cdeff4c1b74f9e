"""Sessions of one environment: new ones for each episode, used again, or one for all.

All of it runs in the loop of `munro.envs.mcp.house`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from munro.envs.mcp.config import ServerConfig
from munro.envs.mcp.errors import ServerFailure
from munro.envs.mcp.results import text_of
from munro.envs.mcp.session import Session


class Pool:
    """Hands out sessions, and takes them back."""

    def __init__(self, servers: Mapping[str, ServerConfig]) -> None:
        self._servers = dict(servers)
        self._free: dict[str, list[Session]] = {name: [] for name in servers}
        self._shared: dict[str, Session] = {}
        self._opening: dict[str, asyncio.Lock] = {}

    async def take_all(self) -> dict[str, Session]:
        """A session with every server.

        Raises:
            ServerFailure: one could not be had; none is left open.
        """
        taking = [asyncio.ensure_future(self._take(name)) for name in self._servers]
        try:
            await asyncio.gather(*taking)
        except BaseException:
            # what the others have opened, or open just now, is nobody's
            for one in taking:
                one.cancel()
            taken = await asyncio.gather(*taking, return_exceptions=True)
            await self.give_back({one.name: one for one in taken if isinstance(one, Session)})
            raise
        return {one.result().name: one.result() for one in taking}

    async def give_back(self, sessions: Mapping[str, Session]) -> None:
        """Nobody uses these any more."""
        await asyncio.gather(*map(self._give_back, sessions.values()))

    async def close(self) -> None:
        """Leave all that are kept."""
        kept = [*self._shared.values(), *(one for free in self._free.values() for one in free)]
        self._shared.clear()
        for free in self._free.values():
            free.clear()
        await asyncio.gather(*(one.close() for one in kept))

    @property
    def is_empty(self) -> bool:
        """No session is kept."""
        return not self._shared and not any(self._free.values())

    async def _take(self, name: str) -> Session:
        config = self._servers[name]
        if config.shared:
            return await self._common(name)
        while self._free[name]:
            session = self._free[name].pop()
            if not session.is_over:
                return await self._reset(session)
            await session.close()
        session = Session(name, config)
        await session.open()
        return await self._reset(session)

    async def _common(self, name: str) -> Session:
        async with self._opening.setdefault(name, asyncio.Lock()):
            session = self._shared.get(name)
            if session is not None and session.is_over:
                del self._shared[name]
                await session.close()
                session = None
            if session is None:
                session = Session(name, self._servers[name])
                await session.open()
                self._shared[name] = session
            return session

    async def _reset(self, session: Session) -> Session:
        config = session.config
        if not config.reset_tool:
            return session
        try:
            answered: Any = await session.call(config.reset_tool, dict(config.reset_arguments))
            text, error = text_of(answered)
            if error:
                raise ServerFailure(
                    f"the server {session.name!r} was not put back by {config.reset_tool}: {text}"
                )
        except BaseException:
            await session.close()
            raise
        return session

    async def _give_back(self, session: Session) -> None:
        config = session.config
        if config.shared and not session.is_over:
            return
        if config.shared and self._shared.get(session.name) is session:
            del self._shared[session.name]
        if config.reset_tool and not session.is_over:
            self._free[session.name].append(session)
            return
        await session.close()
