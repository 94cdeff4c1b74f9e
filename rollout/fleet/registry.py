"""Which servers there are: they join, say every second how they are, leave, or are not heard of.

                    engine up            has the newest version
    join ► starting ─────────► catching up ──────────────────► serving ◄──► probed
                                    ▲                             │ an update stopped half-way,
                  has a whole one   └────────── torn ◄────────────┘ or it says what is not so
    any of them ──(leaves, or its lease is over)──► gone          (a new process joins anew)

Everything follows from what was heard and when, by the registry's own clock; nobody else's is
looked at. Nothing here waits, sends or reads a clock: `munro.rollout.cluster.registry` does.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from munro.rollout.fleet.bound import Bound
from munro.rollout.fleet.types import Beat, Listed, Member, Roster, Standing, State, View

LEASE_S = 10.0
"""Without a word for so long, a server is gone."""
QUIET_S = 3.0
"""Without a word for so long, it is asked for nothing until it is heard again."""
MOST_STEP_S = 2.0
"""The longest that may seem to have passed between two looks: a registry that was held up itself,
or whose clock jumped, must not take everybody for dead whose words lie unread before its door."""
ROUTER_S = 30.0
"""A router that has not looked for so long is none any more."""


@dataclass(slots=True)
class LeaseClock:
    """Seconds that have passed, whatever the clock that is looked at does.

    Example:
        clock = LeaseClock()
        clock.look(100.0), clock.look(101.0), clock.look(9000.0), clock.look(50.0)
        # 0.0, 1.0, 3.0, 3.0
    """

    now: float = 0.0
    _last: float | None = None

    def look(self, clock: float) -> float:
        """The time, once the clock shows that."""
        if self._last is not None:
            self.now += min(max(clock - self._last, 0.0), MOST_STEP_S)
        self._last = clock
        return self.now


@dataclass(slots=True, kw_only=True)
class Entry:
    """What is known of one incarnation of a server."""

    name: str
    address: str
    token: str
    """Drawn by the process as it started: tells it from the others that had its name."""
    incarnation: int
    heard: float
    """When, by the registry's clock."""
    beat: Beat | None = None
    """The latest."""
    gone: str = ""
    """Why, where it is."""
    torn: str = ""
    """Why, where others found that it is."""
    whole_at: int | None = None
    """Version from which on its own word that it is whole again is taken; None: it is not."""
    bound: Bound = field(default_factory=Bound)


class Registry:
    """The servers of one run.

    Example:
        registry = Registry(layout="5f2a")
        number = registry.join("server-0", "run/server-0", token="a1", now=0.0)
        registry.beat(Beat(name="server-0", incarnation=number, number=1, ...), now=1.0)
        registry.view(now=1.5).servers[0].state
    """

    def __init__(self, *, layout: str) -> None:
        """
        Args:
            layout: digest of how all servers' models must be cut and named.
        """
        self._layout = layout
        self._clock = LeaseClock()
        self._entries: dict[str, Entry] = {}
        self._tokens: dict[str, int] = {}
        """Incarnation of every process that ever joined, by its token."""
        self._routers: dict[str, float] = {}
        self._announced = self._newest = 0
        self._is_told = False
        """Which versions there are; one that was started again must be told anew."""
        self._num_rosters = 0
        self._lost_tokens = 0

    def join(self, name: str, address: str, *, token: str, now: float, had: int = 0) -> int | None:
        """A process took that name: its incarnation, the same however often it says so.

        None where that token's time is over: another process took the name, or its lease ended.
        `had` is the incarnation that the process had before, where a registry that knows nothing of
        that must count on from it.
        """
        at = self._look(now)
        held = self._entries.get(name)
        if token in self._tokens:
            is_it = held is not None and held.token == token and not held.gone
            return self._tokens[token] if is_it else None
        if held is not None:
            self._lose(held, "another process took its name")
        incarnation = max(held.incarnation if held is not None else 0, had) + 1
        self._tokens[token] = incarnation
        self._entries[name] = Entry(
            name=name, address=address, token=token, incarnation=incarnation, heard=at
        )
        return incarnation

    def beat(self, beat: Beat, *, now: float) -> bool:
        """A server said how it is; False where it is not known, or gone: it must join anew."""
        at = self._look(now)
        entry = self._entries.get(beat.name)
        if entry is None or entry.gone or entry.incarnation != beat.incarnation:
            return False
        if entry.beat is not None and beat.number <= entry.beat.number:
            return True
        entry.heard, entry.beat = at, beat
        if self._is_told and beat.version > self._announced:
            # for good: that version will come, and it has still not got it
            entry.torn, entry.whole_at = self._why_not(beat), None
        entry.bound = entry.bound.after(beat.running, beat.load)
        is_whole = beat.standing is Standing.WHOLE and entry.whole_at is not None
        if entry.torn and is_whole and beat.version >= (entry.whole_at or 0):
            entry.torn, entry.whole_at = "", None
        return True

    def leave(self, name: str, incarnation: int, *, now: float) -> None:
        """It ends, and says so."""
        self._look(now)
        entry = self._entries.get(name)
        if entry is not None and entry.incarnation == incarnation and not entry.gone:
            self._lose(entry, "it left")

    def caught(self, name: str, incarnation: int, why: str, *, now: float) -> None:
        """It was found to have other weights than it says: only an update clears it of that."""
        self._look(now)
        entry = self._entries.get(name)
        if entry is not None and entry.incarnation == incarnation:
            entry.torn, entry.whole_at = why, None

    def freeze(self, version: int, *, now: float) -> Roster:
        """Who takes part in the update to that version: all that live and are cut alike."""
        self._look(now)
        self._announced, self._is_told = max(self._announced, version), True
        self._num_rosters += 1
        members = {
            entry.name: Member(
                address=entry.address, incarnation=entry.incarnation, layout=entry.beat.layout
            )
            for entry in self._sorted()
            if entry.beat is not None
            and self.state(entry).is_live
            and entry.beat.layout == self._layout
        }
        return Roster(number=self._num_rosters, version=version, members=members)

    def closed(self, roster: Roster, took: Collection[str], *, now: float) -> None:
        """The update is over: who of the roster took it, and so has it whole; others are torn.

        Those are whole again once they say that they have that version, or a newer one.
        """
        self._look(now)
        self._newest = max(self._newest, roster.version)
        for name, member in roster.members.items():
            entry = self._entries.get(name)
            if entry is None or entry.incarnation != member.incarnation:
                continue  # the process that was asked is no more
            if name in took:
                self._take(entry, roster.version)
            elif not entry.torn:
                entry.torn = f"it did not take version {roster.version} in time"
                entry.whole_at = roster.version

    def served(self, version: int) -> None:
        """A quorum serves that version: what a registry that was started again must be told."""
        self._announced, self._is_told = max(self._announced, version), True
        self._newest = max(self._newest, version)

    def view(self, *, now: float, router: str = "") -> View:
        """All servers; with the name of a router, that it is one of those that share them."""
        at = self._look(now)
        if router:
            self._routers[router] = at
        self._routers = {who: seen for who, seen in self._routers.items() if at - seen < ROUTER_S}
        return View(
            servers=tuple(self._listed(entry) for entry in self._sorted()),
            version=self._newest,
            num_routers=max(len(self._routers), 1),
            lost_tokens=self._lost_tokens,
            is_young=at < LEASE_S,
        )

    def state(self, entry: Entry) -> State:
        """What an entry is to others, by what is known of it now."""
        beat = entry.beat
        if entry.gone:
            return State.GONE
        if entry.torn or (beat is not None and self._why_not(beat)):
            return State.TORN
        if beat is None or beat.standing is Standing.STARTING:
            return State.STARTING
        is_quiet = self._clock.now - entry.heard > QUIET_S
        if is_quiet or beat.standing in (Standing.UNWELL, Standing.RETIRING):
            return State.PROBED
        if beat.standing is Standing.LOADING or beat.version < self._newest:
            return State.CATCHING_UP
        return State.SERVING

    def _why_not(self, beat: Beat) -> str:
        """Why a server's own word says that it must not be asked; empty where nothing does."""
        if beat.standing is Standing.TORN:
            return beat.why or "an update stopped half-way"
        if beat.version > self._announced:
            return f"it claims version {beat.version}, and the newest is {self._announced}"
        if beat.standing is not Standing.STARTING and beat.layout != self._layout:
            return f"its model is laid out as {beat.layout}, the others' as {self._layout}"
        return ""

    def _listed(self, entry: Entry) -> Listed:
        beat = entry.beat
        said = (self._why_not(beat) or beat.why) if beat is not None else ""
        return Listed(
            name=entry.name,
            address=entry.address,
            incarnation=entry.incarnation,
            state=self.state(entry),
            version=beat.version if beat is not None else -1,
            layout=beat.layout if beat is not None else "",
            running=beat.running if beat is not None else 0,
            most=entry.bound.most,
            why=entry.gone or entry.torn or said,
        )

    def _take(self, entry: Entry, version: int) -> None:
        """It took an update, as the driver saw: its next beat need not be waited for."""
        entry.torn, entry.whole_at = "", None
        if entry.beat is not None and entry.beat.version < version:
            entry.beat = replace(entry.beat, version=version, standing=Standing.WHOLE, why="")

    def _sorted(self) -> list[Entry]:
        return [entry for _, entry in sorted(self._entries.items(), key=lambda one: _order(one[0]))]

    def _look(self, clock: float) -> float:
        """Note the time, and whose lease is over."""
        now = self._clock.look(clock)
        for entry in self._entries.values():
            if not entry.gone and now - entry.heard > LEASE_S:
                self._lose(entry, f"not heard of for {LEASE_S:.0f} s")
        return now

    def _lose(self, entry: Entry, why: str) -> None:
        if not entry.gone and entry.beat is not None:
            self._lost_tokens += entry.beat.pending_tokens
        entry.gone = entry.gone or why


def _order(name: str) -> tuple[str, int]:
    """server-2 before server-10."""
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdigit() else (name, 0)
