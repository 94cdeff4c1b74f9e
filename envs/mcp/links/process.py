"""A server by command: a process of its own, with no variable of ours, gone when we are.

we ──pipes──► the server          the keeper (rewards/serving/server_child.py) holds no pipe:
└─► keeper ──starts, ends──┘      it ends the server and all that the server started, also
                                  when we are killed
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from munro.envs.mcp.config import ServerConfig
from munro.envs.mcp.links.streams import streams
from munro.envs.mcp.links.words import last_words
from munro.rewards.serving import server_child

CHUNK = 1 << 16
ENDS_S = 8.0
"""In which the keeper must have ended all of it."""
MOST_WORDS = 4000


class ProcessLink:
    """See `munro.envs.mcp.links.link.Link`."""

    def __init__(self, config: ServerConfig, command: list[str]) -> None:
        """
        Args:
            config: of the server.
            command: its own, the program by its absolute path.
        """
        self._config, self._command = config, command
        self.lost = ""
        self._words = b""

    @property
    def last_words(self) -> str:
        """Of what it wrote to stderr."""
        return last_words(self._words)

    def target(self) -> Any:
        """A transport."""
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Any]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", "-S", server_child.__file__, str(os.getpid()), "--talks"),
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=dict(self._config.env),
            cwd=self._config.cwd or None,
            start_new_session=True,
        )
        listening = asyncio.ensure_future(self._listen(process))
        try:
            read, write = _ends(process)
            async with streams(read, write, self._config.most_bytes, self._end) as pair:
                yield pair
        finally:
            await _ended(process)
            listening.cancel()

    def _end(self, why: str) -> None:
        self.lost = self.lost or why

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        """Read what it says on stderr: one that nobody reads waits for ever."""
        assert process.stderr is not None
        while chunk := await process.stderr.read(CHUNK):
            self._words = (self._words + chunk)[-MOST_WORDS:]


def _ends(process: asyncio.subprocess.Process) -> tuple[Any, Any]:
    reader, writer = process.stdout, process.stdin
    assert reader is not None
    assert writer is not None

    async def read() -> bytes:
        return await reader.read(CHUNK)

    async def write(line: bytes) -> None:
        writer.write(line)
        await writer.drain()

    return read, write


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Nothing of it is there after this."""
    ending = asyncio.ensure_future(_end(process))
    try:
        await asyncio.shield(ending)
    except asyncio.CancelledError:
        await ending  # a cancelled episode leaves no process either
        raise


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.send_signal(signal.SIGTERM)
    gone = asyncio.ensure_future(process.wait())
    done, _ = await asyncio.wait([gone], timeout=ENDS_S)
    if not done:
        with suppress(ProcessLookupError):
            process.kill()
        await asyncio.wait([gone], timeout=ENDS_S)
    gone.cancel()
    # its pipes too, though somebody else may hold the other ends
    process._transport.close()  # type: ignore[attr-defined]
