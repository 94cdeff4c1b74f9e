"""Where a judge's questions are put: a thread with an event loop, one client, perhaps a server.

asker's loop or thread ──► Desk.ask ──► JudgeClient ──► base_url, or a vLLM server of our own

takes    a Prompt and a number of samples   waits: while the server starts; see JudgeClient
makes    as many verdicts                   waits: see JudgeClient
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from contextlib import suppress

from munro.rewards.errors import GraderError
from munro.rewards.judge.client import Endpoint, JudgeClient
from munro.rewards.judge.config import JudgeConfig
from munro.rewards.judge.prompts import Prompt
from munro.rewards.judge.verdicts import V
from munro.rewards.serving import server as judge_server
from munro.rewards.serving.server import JudgeServer

SERVED_NOTES_CHARS = 600


class Desk:
    """One judge's loop in this process. Made when a first question comes."""

    def __init__(self, name: str, config: JudgeConfig, key: str, marks: tuple[str, ...]) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._name = name
        self._config = config
        self._key = key
        self._marks = marks
        self._client: JudgeClient | None = None
        self._server: JudgeServer | None = None
        self._opening: asyncio.Task[JudgeClient] | None = None
        self._is_closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"judge {name}")
        self._thread.start()

    async def ask(self, prompt: Prompt[V], count: int) -> list[V]:
        """`count` independent verdicts. On the desk's own loop.

        Raises:
            GraderError: one could not be had.
        """
        client = await self._ready()
        try:
            return list(await asyncio.gather(*(client.ask(prompt, i) for i in range(count))))
        except GraderError as failure:
            server = self._server
            if server is not None and await asyncio.to_thread(judge_server.is_gone, server):
                raise GraderError(f"judge {self._name!r}: {server.obituary()}") from failure
            raise

    def counts(self) -> Counter[str]:
        """The client's events so far."""
        return Counter() if self._client is None else Counter(self._client.counts)

    def close(self) -> None:
        """Cancel what is under way, leave the server, end the thread."""
        self._is_closing.set()
        with suppress(RuntimeError):  # the loop is closed already
            self.loop.call_soon_threadsafe(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self._leave())
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
        finally:
            self.loop.close()
            if self._server is not None:
                judge_server.release(self._server)

    async def _leave(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        if self._client is not None:
            await self._client.close()

    async def _ready(self) -> JudgeClient:
        """The client of an endpoint that was alive a moment ago."""
        is_alive = self._server is None or self._server.is_alive
        if self._client is not None and is_alive:
            return self._client
        if self._opening is None:
            self._opening = self.loop.create_task(self._connect())
            self._opening.add_done_callback(self._opened)
        # whoever gives up waiting leaves the start to the others
        return await asyncio.shield(self._opening)

    def _opened(self, task: asyncio.Task[JudgeClient]) -> None:
        self._opening = None
        if not task.cancelled():
            task.exception()  # every asker has seen it

    async def _connect(self) -> JudgeClient:
        if self._client is not None:
            await self._client.close()
            self._client = None
        config = self._config
        if config.base_url:
            endpoint = Endpoint(
                base_url=config.base_url,
                model=config.model,
                key=self._key,
                identity=f"{config.base_url} {config.model}",
                marks=self._marks,
            )
        else:
            endpoint = await self._serve()
            if not config.max_notes_chars:
                config = config.model_copy(update={"max_notes_chars": SERVED_NOTES_CHARS})
        try:
            self._client = JudgeClient(self._name, config, endpoint)
        except ValueError as unusable:
            raise GraderError(f"judge {self._name!r}: {unusable}") from unusable
        return self._client

    async def _serve(self) -> Endpoint:
        if self._server is not None:
            judge_server.release(self._server)
            self._server = None
        # the thread goes on when this is cancelled, so it is the thread that notes the server
        server = await self.loop.run_in_executor(None, self._acquire)
        return Endpoint(
            base_url=server.base_url,
            model=judge_server.SERVED_NAME,
            key=server.key,
            identity=server.identity,
            marks=self._marks,
        )

    def _acquire(self) -> JudgeServer:
        self._server = judge_server.acquire(
            self._config.model,
            self._config.server,
            logs=self._config.logs,
            give_up=self._is_closing,
        )
        return self._server
