"""How many tasks may be open at once: enough to keep the engines full, none that would be stale.

the engines   sequences at once = the smaller of their batches, and their room for keys and
              values over the tokens of an attempt; a group has `group_size` of them, and one
              group more fills in while another waits for its last reply or its graders
the learner   takes `num_groups` a step and gives new weights every `every_steps`: in
              `max_staleness` updates it takes so many groups, and what is ahead of a group when
              it begins, with the batch that is being trained on, must be no more
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from munro.rl.config import ClimbConfig
from munro.rollout.telling import mean_tokens
from munro.rollout.types import Outcome

MARGIN = 1.25
"""Times the mean attempt: while some are short, others are long."""
REMEMBERED = 64
"""Tasks over whose attempts the mean is taken."""
FEW = 4
"""Tasks, before which an attempt is taken to be as long as its cap: the first ones back are the
short ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What the engines hold, all servers together.

    Example:
        Room(tokens=400_000, sequences=512)
    """

    tokens: int | None
    """Of keys and values; None where nothing says that they are bounded."""
    sequences: int
    """Decoded at once."""


def room_of(config: ClimbConfig, tokens: Sequence[int | None]) -> Room:
    """The room of all servers.

    Args:
        config: of the climb.
        tokens: of keys and values that each server has room for; None of one that does not say.
    """
    known = [one for one in tokens if one is not None]
    whole = sum(known) if known and len(known) == len(tokens) else None
    return Room(tokens=whole, sequences=config.rollout.max_batch * len(tokens))


def by_engines(room: Room, group_size: int, tokens: float) -> int:
    """Groups that keep the engines full, with attempts of so many tokens."""
    at_once: float = room.sequences
    if room.tokens is not None:
        at_once = min(at_once, room.tokens / max(tokens, 1.0))
    return math.ceil(max(at_once, 1.0) / group_size) + 1


def by_staleness(config: ClimbConfig) -> int:
    """Groups that the learner takes before one that begins now is stale."""
    sync, batch = config.sync, config.batch
    ahead = (sync.max_staleness * sync.every_steps - 1) * batch.num_groups
    return max(ahead, batch.num_groups)


class InFlight:
    """How many tasks all workers together may have open, as the climb goes.

    Args:
        config: of the climb.
        room: of the engines; needed where `rollout.groups_in_flight` is "auto".
    """

    def __init__(self, config: ClimbConfig, room: Room | None = None) -> None:
        self._config, self._room = config, room
        self._lengths: deque[float] = deque(maxlen=REMEMBERED)

    def seen(self, outcome: Outcome) -> None:
        """Note how long the attempts were."""
        if outcome.is_group:
            self._lengths.append(mean_tokens(outcome))
        elif outcome.num_sampled and outcome.num_attempts:
            self._lengths.append(outcome.num_sampled / outcome.num_attempts)

    def tokens(self, cap: int) -> float:
        """Of an attempt, as is to be expected under this cap on its response."""
        if len(self._lengths) < FEW:
            return float(cap)
        return MARGIN * fmean(self._lengths)

    def most(self, cap: int) -> int:
        """Tasks that may be open.

        Args:
            cap: tokens of a response, at the present stage.
        """
        rollout = self._config.rollout
        if rollout.groups_in_flight != "auto":
            return rollout.workers * rollout.groups_in_flight
        assert self._room is not None, "auto needs the engines' room"
        full = by_engines(self._room, rollout.group_size, self.tokens(cap))
        return min(full, by_staleness(self._config))

    @property
    def is_auto(self) -> bool:
        """Whether it sets itself."""
        return self._config.rollout.groups_in_flight == "auto"

    def told(self, cap: int) -> str:
        """The reckoning in a line, for a person."""
        room, rollout = self._room, self._config.rollout
        assert room is not None, "auto needs the engines' room"
        held = f"{room.sequences:,} sequences at once"
        if room.tokens is not None:
            held += f" and {room.tokens:,} tokens of keys and values"
        full = by_engines(room, rollout.group_size, self.tokens(cap))
        return (
            f"{self.most(cap)} groups in flight: the engines hold {held}, which {full} groups of "
            f"{rollout.group_size} attempts of {self.tokens(cap):,.0f} tokens keep full; "
            f"{by_staleness(self._config)} at most within sync.max_staleness"
        )
