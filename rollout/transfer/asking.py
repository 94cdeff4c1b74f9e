"""What crosses when a server asks for weights, and what may go wrong.

a server's rank ──Ask──► the learner's first rank ──► the ranks that hold what it wants
                ◄─────── "" or why not
a server's rank ──Ask──► the server that feeds it, in a relay
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from munro.rollout.transfer.group import Address

HELD = "held"
"""Key of the learner's `Layout`."""
ASKS = "asks"
"""Queue of what servers ask of the learner's first rank."""
LEFT = "left"
"""Key that is there once the learner answers no more, and its store is still there."""


class NotReceived(Exception):
    """Weights did not come, or not whole; says why."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One rank of a server asks for a version."""

    session: str
    """Of this asking alone; names the group of processes."""
    server: str
    rank: int
    address: Address
    """Of the store at which the group meets: the asking rank's own."""
    version: int
    slice: int
    layout: str
    """Digest of what all ranks of the server want; the columns are under `layout_key`."""
    plan: str
    """Digest of the plan that it has compiled."""
    bucket: int
    """The first that it lacks."""
    device: str
    within_s: float

    def packed(self) -> str:
        """For `unpacked`, in another process."""
        return json.dumps(asdict(self))

    @classmethod
    def unpacked(cls, packed: bytes) -> Ask:
        """What `packed` packed."""
        told = json.loads(packed)
        return cls(**{**told, "address": Address(**told["address"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What a server is told of one update. Travels as `WeightSource.update`."""

    version: int
    within_s: float
    """Longest that the transfer may take."""
    bucket_bytes: int
    server: str = "server"
    session: str = ""
    """Of this update of this server, the same for all its ranks; needed where it has several."""
    slice: int = 0
    feeder: str = ""
    """The server that hands it on; empty for the learner."""
    followers: tuple[str, ...] = ()
    """Servers that it hands on to."""

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> Update:
        """From what travelled."""
        return cls(**{**told, "followers": tuple(told.get("followers", ()))})


def layout_key(digest: str) -> str:
    """Where a server's `Layout` is."""
    return f"layout/{digest}"


def answer_key(session: str) -> str:
    """Where the learner says "" or why not."""
    return f"answer/{session}"


def relay_key(version: int, feeder: str, follower: str, rank: int) -> str:
    """Where a server leaves its `Ask` for the one that feeds it."""
    return f"relay/{version}/{feeder}/{follower}/{rank}"


def chained(names: Sequence[str]) -> str:
    """Some names, for a person."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
