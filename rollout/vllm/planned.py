"""Weights by plan, seen from the engine's side: what its processes need, and what they are told."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from munro.rewards.errors import PolicyError
from munro.rollout.engine import WeightSource
from munro.rollout.transfer.types import Box, Layout, Wanted

if TYPE_CHECKING:
    from vllm.v1.engine.async_llm import AsyncLLM

Alive = Callable[[Any], Awaitable[Any]]
"""Awaits something, but no longer than the engine process lives."""


class Planned:
    """Of one engine."""

    def __init__(self, llm: AsyncLLM, alive: Alive, most_whole: float) -> None:
        """
        Args:
            llm: vLLM's engine.
            alive: see `Alive`.
            most_whole: share of the weights' bytes that may come whole to every process.
        """
        self._llm, self._alive, self._most_whole = llm, alive, most_whole
        self._layout: Layout | None = None

    async def layout(self, catalogue: Mapping[str, tuple[tuple[int, ...], str]]) -> Layout:
        """Have each process watch its model's own loaders; no request may be running.

        Raises:
            PolicyError: the learner's weights are not this model's, or too much of them would have
                to come whole.
        """
        from munro.rollout.vllm.layout import BadLayout, little_whole

        asked = self._llm.collective_rpc("munro_intake", args=(dict(catalogue),))
        found = await self._alive(asked)
        if unread := sorted(set.intersection(*(set(one["unread"]) for one in found))):
            raise PolicyError(
                f"the learner publishes {', '.join(unread[:3])}, and vLLM's model takes nothing of "
                'it: sync.transport = "file" leaves that to vLLM.'
            )
        try:
            little_whole(found[0]["whole"], found[0]["bytes"], self._most_whole)
        except BadLayout as error:
            raise PolicyError(str(error)) from error
        self._layout = Layout.of(
            Wanted(rank=rank, name=name, box=Box(tuple(start), tuple(stop)), dtype=dtype)
            for one in found
            for rank, name, start, stop, dtype in one["wanted"]
        )
        return self._layout

    def meeting(self, source: WeightSource) -> dict[str, Any]:
        """What the processes are told of whom to meet.

        Raises:
            PolicyError: nobody has asked for the layout yet.
        """
        if self._layout is None:
            raise PolicyError("weights by plan came before the engine was asked for its layout")
        return {"meeting": dict(source.meeting), "layout": self._layout.packed()}

    def update(self, source: WeightSource, *, repack: bool) -> dict[str, Any]:
        """What they are told of an update."""
        return {"update": dict(source.update), "repack": repack}

    async def mend(self) -> None:
        """Let an update begin after one that stopped half-way."""
        await self._alive(self._llm.collective_rpc("munro_mend"))
