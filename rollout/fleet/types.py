"""What servers say of themselves, what is known of them, and who takes part in a weight update.

a server ──Beat, every second──► registry ──View──► routers        who may be asked
                                    └──────Roster──► driver        who takes an update
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from munro.rollout.engine import Load


class Standing(StrEnum):
    """What a server says of itself."""

    STARTING = "starting"
    """It has no engine yet."""
    LOADING = "loading"
    """New weights come in; it serves nothing meanwhile."""
    WHOLE = "whole"
    """It has all of the weights that it names."""
    TORN = "torn"
    """An update stopped half-way: it has neither the old weights nor the new ones."""
    UNWELL = "unwell"
    """Its own trial request was not answered."""
    RETIRING = "retiring"
    """It takes no more requests, and starts again once those it has are done."""


class State(StrEnum):
    """What a server is to others."""

    STARTING = "starting"
    CATCHING_UP = "catching up"
    """It lives, and has weights that are not the newest, or is getting them."""
    SERVING = "serving"
    PROBED = "probed"
    """It was not heard of for a moment, or is unwell: asked for nothing until it is well."""
    TORN = "torn"
    """It has no whole version, or was found to say what is not so."""
    GONE = "gone"
    """It left, or its lease is over: for good, under this incarnation."""

    @property
    def is_live(self) -> bool:
        """Whether it can take an update."""
        return self not in (State.STARTING, State.GONE)

    @property
    def has_weights(self) -> bool:
        """Whether it counts among those that a climb goes on with: it serves, or soon will."""
        return self in (State.SERVING, State.CATCHING_UP)


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A server's word, about once a second.

    Example:
        Beat(name="server-0", incarnation=1, number=7, standing=Standing.WHOLE, version=3,
             layout="5f2a", running=12)
    """

    name: str
    incarnation: int
    number: int
    """Grows from one to the next; one that comes after a later one is not heeded."""
    standing: Standing
    version: int
    """Of the weights that it has whole; -1 for none."""
    layout: str
    """Digest of how its model is cut and named; see `munro.rollout.fleet.layout`."""
    running: int = 0
    """Requests under way."""
    pending_tokens: int = 0
    """Sampled for requests that have not been answered: they are lost if it dies."""
    load: Load | None = None
    """Of its engine, where that counts it."""
    why: str = ""
    """It is not whole."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """What is known of a server, for who chooses one."""

    name: str
    address: str
    """Where it is reached: the name of its actor."""
    incarnation: int
    state: State
    version: int
    layout: str = ""
    running: int = 0
    most: float | None = None
    """Requests that it should have at once, by its room for keys and values; None for no bound."""
    why: str = ""
    """It does not serve."""

    def may_be_asked(self, version: int) -> bool:
        """Whether a request for weights of that version or newer may go to it."""
        return self.state is State.SERVING and self.version >= version


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All servers at one moment."""

    servers: tuple[Listed, ...]
    version: int
    """The newest that a quorum serves: what lies before is old."""
    num_routers: int = 1
    """That share the servers, each in equal parts."""
    lost_tokens: int = 0
    """Sampled by servers that died before they could answer, since the registry began."""
    is_young: bool = False
    """The registry began so lately that servers may not have found it yet."""

    def count(self, state: State) -> int:
        """Servers in that state."""
        return sum(one.state is state for one in self.servers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One server of a roster."""

    address: str
    incarnation: int
    layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Roster:
    """Who takes part in a weight update; frozen when that begins. Who joins later waits."""

    number: int
    """Of this roster among all of the run: groups of processes are named by it."""
    version: int
    members: Mapping[str, Member] = field(default_factory=dict)
    """By name."""
