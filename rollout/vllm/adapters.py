"""The adapters that a running vLLM serves: one is the newest, older ones go when nobody has them.

update ──► room (an old one's last request may have to end) ──► add_lora ──► the newest
request ──► the newest, held until it ends
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from munro.rewards.errors import PolicyError
from munro.rollout.engine import WeightSource

if TYPE_CHECKING:
    from vllm.lora.request import LoRARequest
    from vllm.v1.engine.async_llm import AsyncLLM

Alive = Callable[[Any], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Served:
    """A version and what vLLM calls it; the base alone has no request."""

    version: int = 0
    request: LoRARequest | None = None


class ServedAdapters:
    """Which adapters an engine holds, and who has which.

    Args:
        llm: the engine's client.
        alive: awaits a call no longer than the engine lives.
        room: adapters that it holds at once.
    """

    def __init__(self, llm: AsyncLLM, alive: Alive, room: int) -> None:
        self._llm, self._alive, self._room = llm, alive, room
        self.newest = Served()
        self._held: dict[int, Served] = {}
        self._users: Counter[int] = Counter()
        self._let_go = asyncio.Event()

    @contextmanager
    def held(self) -> Iterator[Served]:
        """The newest, which stays in the engine for as long as this lasts."""
        served = self.newest
        self._users[served.version] += 1
        try:
            yield served
        finally:
            self._users[served.version] -= 1
            self._let_go.set()

    async def take(self, source: WeightSource) -> None:
        """Load an adapter and have later requests take it; running ones keep theirs.

        What can make this wait: all places taken by versions that still have a request.

        Raises:
            PolicyError: there is no such folder, or vLLM refuses what it holds.
        """
        from vllm.lora.request import LoRARequest

        if not (Path(source.path) / "adapter_config.json").is_file():
            raise PolicyError(f"weights of version {source.version}: no adapter at {source.path}")
        await self._make_room()
        # a number of its own, from 1 up; the name is what cached prefixes are told apart by
        request = LoRARequest(f"version-{source.version}", source.version + 1, source.path)
        try:
            await self._alive(self._llm.add_lora(request))
        except (ValueError, PolicyError) as error:
            raise PolicyError(f"adapter of version {source.version}: {error}") from error
        self.newest = self._held[source.version] = Served(source.version, request)

    async def version(self) -> int:
        """The newest, which the engine process itself must know.

        Raises:
            PolicyError: it does not.
        """
        known = await self._alive(self._llm.list_loras())
        if self.newest.request is not None and self.newest.request.lora_int_id not in known:
            raise PolicyError(f"vLLM has lost the adapter of version {self.newest.version}")
        return self.newest.version

    async def _make_room(self) -> None:
        while True:
            for version in [*self._held]:
                if not self._users[version] and version != self.newest.version:
                    await self._alive(self._llm.remove_lora(version + 1))
                    del self._held[version]
            if len(self._held) < self._room:
                return
            self._let_go.clear()
            await self._alive(self._let_go.wait())
