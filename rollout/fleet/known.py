"""What a router knows of each server, and which of them has the beginning of an episode."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from munro.rollout.engine import Engine, Request
from munro.rollout.fleet.breaker import Breaker
from munro.rollout.fleet.types import Listed, State

MOST_HOMES = 65_536
"""Episodes whose server is remembered; those that were heard of longest ago are forgotten."""


@dataclass(slots=True, eq=False)
class Server:
    """What the router knows of one server."""

    name: str
    engine: Engine
    listed: Listed | None = None
    """As the directory has it; None where there is no directory."""
    num_running: int = 0
    breaker: Breaker = field(default_factory=Breaker)
    version: int = -1
    """As of the last look; -1 before the first."""
    last_failure: str = ""
    probing: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def is_listed(self) -> bool:
        """It serves, as far as the directory knows."""
        return self.listed is None or self.listed.state is State.SERVING

    def __str__(self) -> str:
        told = f"{self.name} {self.breaker.stage}, version {self.version}"
        if self.listed is not None and not self.is_listed:
            told += f", {self.listed.state}"
            told += f" ({self.listed.why})" if self.listed.why else ""
        return told + (f", {self.last_failure}" if self.last_failure else "")


class Homes:
    """Which server has the beginning of an episode: the one that answered its last turn.

    An episode is what its requests' keys have in common: all but the turn.
    """

    def __init__(self) -> None:
        self._homes: OrderedDict[tuple[int, ...], Server] = OrderedDict()

    def of(self, requests: Sequence[Request]) -> Server | None:
        """The server of the first one's episode; None where nobody has any of it."""
        return self._homes.get(requests[0].key[:-1]) if requests else None

    def settle(self, requests: Sequence[Request], server: Server) -> None:
        """This one has them all now."""
        for episode in (request.key[:-1] for request in requests if len(request.key) > 1):
            self._homes[episode] = server
            self._homes.move_to_end(episode)
        while len(self._homes) > MOST_HOMES:
            self._homes.popitem(last=False)
