"""Whatever happens, nobody is asked who is torn, old or gone, and who is well is found again.

A history: processes under three names that start, die, come back, load weights, tear and lie;
their words are lost, late and doubled on the way; the registry's clock jumps. What the registry may
know is kept beside it in the plainest form, and every view is held against that.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

from munro.rollout.fleet.registry import LEASE_S, QUIET_S, Registry
from munro.rollout.fleet.types import Beat, Standing, State

NAMES = ("server-0", "server-1", "server-2")
MOST_LATE_S = 3.0
"""Of a message."""
STEP_S = 0.5
"""Between two looks at the registry, at most."""
SKEW_S = 2.0
"""By so much one jump of the clock may make a lease longer or shorter."""


@dataclass(slots=True)
class Process:
    """A server as it truly is."""

    name: str
    token: str
    lie: str = ""
    incarnation: int = 0
    number: int = 0
    standing: Standing = Standing.STARTING
    version: int = -1
    beats_at: float = 0.0
    late: list[int] = field(default_factory=list)
    """Versions that it still loads though nobody waits any more."""

    def beat(self, newest: int) -> Beat:
        self.number += 1
        claimed = {"future": newest + 99, "stale": newest}.get(self.lie, self.version)
        standing = Standing.WHOLE if self.lie in ("future", "stale") else self.standing
        return Beat(
            name=self.name,
            incarnation=self.incarnation,
            number=self.number,
            standing=standing,
            version=claimed,
            layout="other" if self.lie == "layout" else "ours",
            pending_tokens=self.number,
        )


class World:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.registry, self.now, self.clock, self.jumps = Registry(layout="ours"), 0.0, 0.0, 0
        self.registry.served(0)
        self.newest = self.announced = 0
        self.processes: dict[str, Process] = {}
        self.died: dict[tuple[str, int], float] = {}
        self.letters: list[tuple[float, int, str, tuple]] = []
        self.heard: dict[tuple[str, int], tuple[float, Beat]] = {}
        self.took: dict[tuple[str, int], int] = {}
        self.caught: set[tuple[str, int]] = set()
        self.joined: dict[str, int] = {}
        self.loss, self.asked, self.views = 0.2, 0, []

    def step(self) -> None:
        dt = self.rng.uniform(0, STEP_S) if self.loss else STEP_S
        self.now, self.clock = self.now + dt, self.clock + dt
        if self.loss and self.rng.random() < 0.01:
            self.clock += self.rng.choice((-1e6, 3600.0, 1e9))
            self.jumps += 1
        self.deliver()
        self.registry.view(now=self.clock)  # it looks at its clock though nothing comes
        for one in list(self.processes.values()):
            if self.now >= one.beats_at:
                one.beats_at = self.now + 1.0
                if one.incarnation:
                    self.post("beat", (one.beat(self.newest),))
                else:
                    self.post("join", (one.name, one.token))
            if one.late and self.rng.random() < 0.2:
                one.standing, one.version = Standing.WHOLE, one.late.pop()

    def post(self, kind: str, what: tuple) -> None:
        for _ in range(1 + (self.rng.random() < 0.1)):
            if self.rng.random() >= self.loss:
                late = self.rng.uniform(0, MOST_LATE_S) if self.loss else 0.0
                self.letters.append((self.now + late, len(self.letters), kind, what))

    def deliver(self) -> None:
        due = sorted(letter for letter in self.letters if letter[0] <= self.now)
        self.letters = [letter for letter in self.letters if letter[0] > self.now]
        for _, _, kind, what in due:
            if kind == "join":
                self.join(*what)
            elif kind == "beat":
                self.hear(*what)
            else:
                self.registry.leave(*what, now=self.clock)

    def join(self, name: str, token: str) -> None:
        given = self.registry.join(name, f"run/{name}", token=token, now=self.clock)
        if given is not None:
            assert given >= self.joined.get(name, 0)
            self.joined[name] = given
        one = self.processes.get(name)
        if one is not None and one.token == token:
            one.incarnation, one.number = given or 0, 0
            one.token = one.token if given else f"{token}'"

    def hear(self, beat: Beat) -> None:
        is_known = self.registry.beat(beat, now=self.clock)
        one = self.processes.get(beat.name)
        if is_known:
            before = self.heard.get((beat.name, beat.incarnation))
            if before is None or beat.number > before[1].number:
                self.heard[beat.name, beat.incarnation] = (self.now, beat)
        elif one is not None and one.incarnation == beat.incarnation:
            one.token, one.incarnation = f"{one.token}'", 0

    def start(self) -> None:
        name = self.rng.choice(NAMES)
        if name not in self.processes:
            lie = self.rng.choice(("", "", "", "", "future", "stale", "layout"))
            self.processes[name] = Process(name, f"{name}/{self.rng.random()}", lie)

    def wake(self) -> None:
        for one in self.processes.values():
            if one.standing is Standing.STARTING and self.rng.random() < 0.5:
                one.standing = Standing.WHOLE
                one.version = self.rng.randint(0, self.newest)

    def die(self) -> None:
        if self.processes:
            one = self.processes.pop(self.rng.choice(sorted(self.processes)))
            self.died[one.name, one.incarnation] = self.now
            if self.rng.random() < 0.3:
                self.post("leave", (one.name, one.incarnation))

    def sync(self) -> None:
        self.announced += 1
        roster, took = self.registry.freeze(self.announced, now=self.clock), []
        for name, member in roster.members.items():
            assert member.layout == "ours"
            one = self.processes.get(name)
            if one is None or one.incarnation != member.incarnation:
                continue
            fate = self.rng.random()
            if fate < 0.6:
                one.standing, one.version, one.late = Standing.WHOLE, roster.version, []
                one.lie = ""
                self.took[name, one.incarnation] = roster.version
                self.caught.discard((name, one.incarnation))
                took.append(name)
            elif fate < 0.8 and not one.lie:
                one.standing = Standing.TORN
                one.late = [roster.version] if self.rng.random() < 0.5 else []
            for _ in range(self.rng.randint(0, 4)):
                self.step()
                if self.rng.random() < 0.2:
                    self.rng.choice((self.die, self.start, self.wake))()
        if took:
            self.newest = roster.version
            self.registry.closed(roster, took, now=self.clock)

    def look(self) -> None:
        view = self.registry.view(now=self.clock)
        self.views = [*self.views[-8:], (self.now, view)]
        assert view.version == self.newest
        assert [one.name for one in view.servers] == sorted(one.name for one in view.servers)
        for one in view.servers:
            if one.may_be_asked(view.version):
                self.may_be_asked(one, self.now)

    def may_be_asked(self, one, now: float) -> None:
        """Hold one that the registry would have asked against what it may know."""
        who, slack = (one.name, one.incarnation), SKEW_S * self.jumps
        assert one.incarnation == self.joined[one.name]
        at, beat = self.heard[who]
        assert now - at <= QUIET_S + slack
        assert beat.layout == "ours"
        assert one.version <= self.announced
        assert who not in self.caught
        has_it = beat.standing is Standing.WHOLE and beat.version >= self.newest
        assert has_it or self.took.get(who, -1) >= self.newest
        if who in self.died:
            assert now - self.died[who] <= QUIET_S + MOST_LATE_S + STEP_S + slack

    def ask(self) -> None:
        """A router asks by a view that may be some seconds old."""
        if not self.views:
            return
        _, view = self.rng.choice(self.views)
        for one in view.servers:
            true = self.processes.get(one.name)
            if not one.may_be_asked(max(view.version, self.newest)) or true is None:
                continue
            if true.incarnation != one.incarnation or true.standing is not Standing.WHOLE:
                continue  # it refuses, or is not there: the router goes elsewhere
            self.asked += 1
            if true.version < one.version:
                assert true.lie == "stale"  # no honest one ever answers with older weights
                self.caught.add((one.name, one.incarnation))
                self.registry.caught(one.name, one.incarnation, "it lied", now=self.clock)
                self.look()

    def heal(self) -> None:
        """Nothing is lost any more: what is true is known soon."""
        self.loss = 0.0
        for one in self.processes.values():
            if one.standing is Standing.STARTING:
                one.standing, one.version = Standing.WHOLE, self.newest
            one.late = []
        for _ in range(int((LEASE_S + 2 * MOST_LATE_S + SKEW_S) / STEP_S)):
            self.step()
        self.look()
        view = {one.name: one for one in self.registry.view(now=self.clock).servers}
        for name, one in view.items():
            true = self.processes.get(name)
            if true is None:
                assert one.state is State.GONE
            elif true.lie or true.standing is Standing.TORN:
                assert one.state is not State.SERVING or true.lie == "stale"
            elif (name, true.incarnation) in self.caught:
                assert one.state is State.TORN
            elif true.version >= self.newest:
                # an old lie may come late, and holds until the next update
                assert one.state is State.SERVING or "it claims" in one.why, (one, true)
            else:
                assert one.state in (State.CATCHING_UP, State.TORN)
        assert set(self.processes) <= set(view)


def play(seed: int) -> int:
    world = World(seed)
    acts = [world.start] * 3 + [world.wake] * 3 + [world.die, world.sync] + [world.ask] * 4
    for _ in range(world.rng.randint(20, 120)):
        world.step()
        world.rng.choice(acts)()
        world.look()
    world.heal()
    return world.asked


def test_no_history_has_a_torn_old_or_gone_server_asked() -> None:
    assert sum(play(seed) for seed in range(200)) > 200


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nor_have_ten_thousand() -> None:
    assert sum(play(seed) for seed in range(10_000)) > 10_000
