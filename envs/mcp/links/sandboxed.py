"""A server by command inside the sandbox: no network, no host files, no variables, limits.

The sandbox lets us answer line by line. Where nothing is asked of the server its line waits for our
next question; where something is, an empty line that comes now and then (`inside`) fetches what
else there is to be said.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from munro.envs.mcp.config import ServerConfig
from munro.envs.mcp.links import inside
from munro.envs.mcp.links.streams import streams
from munro.envs.mcp.links.words import last_words
from munro.rewards import sandbox
from munro.rewards.errors import SandboxError

PROCESSES, OPEN_FILES = 64, 256
ENDS_S = 10.0


class SandboxedLink:
    """See `munro.envs.mcp.links.link.Link`."""

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self.lost = ""
        self.last_words = ""
        self._given: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._num_open = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._said: asyncio.Queue[bytes] = asyncio.Queue()

    def target(self) -> Any:
        """A transport."""
        return self._opened()

    @asynccontextmanager
    async def _opened(self) -> AsyncIterator[Any]:
        self._loop = asyncio.get_running_loop()
        over = asyncio.Event()
        threading.Thread(
            target=self._run, args=(over,), daemon=True, name="mcp server in a sandbox"
        ).start()
        try:
            pair = streams(self._said.get, self._write, self._config.most_bytes, self._end)
            async with pair as both:
                yield both
        finally:
            self._given.put(None)
            await asyncio.shield(asyncio.wait_for(over.wait(), ENDS_S))

    def _end(self, why: str) -> None:
        self.lost = self.lost or why

    async def _write(self, line: bytes) -> None:
        self._given.put(line)

    def _run(self, over: asyncio.Event) -> None:
        """The whole life of the server; in a thread."""
        config, loop = self._config, self._loop
        assert loop is not None
        variables = [f"{name}={value}" for name, value in config.env.items()]
        command = ["env", "-i", *variables, *config.command]
        source = Path(inside.__file__).read_text()
        try:
            box = _box(tuple(config.mounts.items()), tuple(config.packages))
            done = box.converse(
                ["python3", "-I", "-S", "-c", source, *command],
                self._answer,
                limits=_limits(config),
            )
            self.last_words = last_words(done.stderr)
            if done.limit is not None:
                self.last_words = f"over its limit of {done.limit}"
        except (SandboxError, ValueError, OSError) as error:
            self.last_words = str(error)
        loop.call_soon_threadsafe(self._said.put_nowait, b"")
        loop.call_soon_threadsafe(over.set)

    def _answer(self, line: bytes) -> bytes | None:
        """What the server is told after a line of its; in the thread."""
        if line.strip():
            assert self._loop is not None
            self._loop.call_soon_threadsafe(self._said.put_nowait, line)
            self._num_open -= _is_response(line)
        told = b""
        while True:
            try:
                # it is waiting for us as long as nothing was asked of it
                given = self._given.get(block=self._num_open <= 0)
            except queue.Empty:
                return told
            if given is None:
                return None
            told += given
            self._num_open += _is_request(given)


def _is_request(line: bytes) -> bool:
    return b'"method":' in line and b'"id":' in line


def _is_response(line: bytes) -> bool:
    return b'"method"' not in line[:200] and (b'"result"' in line or b'"error"' in line)


def _limits(config: ServerConfig) -> sandbox.Limits:
    return sandbox.Limits(
        cpu_s=config.lifetime_s,
        wall_s=config.lifetime_s,
        memory_mb=config.memory_mb,
        processes=PROCESSES,
        open_files=OPEN_FILES,
        output_bytes=config.most_bytes,
    )


@lru_cache(maxsize=8)
def _box(mounts: tuple[tuple[str, str], ...], packages: tuple[str, ...]) -> sandbox.Sandbox:
    return sandbox.open("namespaces", mounts=dict(mounts), packages=packages)
