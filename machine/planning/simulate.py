"""A climb as events: who waits for whom, which no formula of means can say.

    controller ──► groups ──► servers: attempts share each one, all of them at one rate
         ▲           │ first gate, the rest of the group, second gate
         │           ▼
         └──────── buffer ──► learner: steps, weight updates, checkpoints
    failures take a server's attempts, or the learner's steps since its last checkpoint

The controller's rules are those of `munro.rl.control.streaming` and
`munro.rl.control.controller`; how attempts share a server is `sharing`'s.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import pairwise
from random import Random
from typing import Any

from munro.machine.planning.scenario import Outcome, Scenario
from munro.machine.planning.sharing import Group, Server

Event = Callable[[Any], None]


class Climb:
    """One simulated climb; `run` returns what it came to."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario, self.random = scenario, Random(scenario.seed)
        sharing = scenario.slots, scenario.token_s, scenario.token_more_s
        self.servers = [Server(*sharing) for _ in range(scenario.servers)]
        self.events: list[tuple[float, int, Event, Any]] = []
        self.number, self.now, self.step, self.version = 0, 0.0, 0, 0
        self.sampling, self.buffer, self.wave = 0, list[Group](), deque[list[Group]]()
        self.idle, self.down, self.saved = True, False, (0, 0)
        self.learner_stamp = self.syncing = 0
        self.out = Outcome()

    def run(self) -> Outcome:
        """Until enough steps are taken, or the time is up."""
        scenario = self.scenario
        for server in self.servers:
            self._fails(server)
        self._learner_fails()
        self._hand_out()
        while self.events and self.step < scenario.num_steps and self.now < scenario.most_s:
            self.now, _, what, whom = heappop(self.events)
            what(whom)
        for server in self.servers:
            server.settle(self.now)
        return self.out.finished(self.now, sum(s.area for s in self.servers), scenario)

    def _after(self, seconds: float, what: Event, whom: Any = None) -> None:
        self.number += 1
        heappush(self.events, (self.now + seconds, self.number, what, whom))

    def _hand_out(self) -> None:
        how = self.scenario
        if not how.max_staleness:
            self._hand_out_wave()
            return
        ahead = how.in_flight + how.num_groups - self.sampling - len(self.buffer)
        self._begin(min(how.in_flight - self.sampling, ahead))

    def _hand_out_wave(self) -> None:
        how = self.scenario
        if self.sampling or self.wave or not self.idle:
            return
        steps = how.every_steps - self.step % how.every_steps
        missing = steps * how.num_groups - len(self.buffer)
        if missing > 0:
            self._begin(math.ceil(missing / max(how.pass_early * how.pass_full, 1 / 8)))
            return
        cuts = [len(self.buffer) * part // steps for part in range(steps + 1)]
        self.wave.extend(self.buffer[a:b] for a, b in pairwise(cuts))
        self.buffer = []
        self._take()

    def _begin(self, groups: int) -> None:
        for _ in range(groups):
            self.sampling += 1
            self._sample(Group(), self.scenario.num_early)

    def _sample(self, group: Group, number: int) -> None:
        """Hand attempts to the servers, the emptiest first."""
        group.left = number
        self._spread([(self.scenario.length(self.random), group) for _ in range(number)])

    def _spread(self, attempts: list[tuple[float, Group]]) -> None:
        order = sorted(self.servers, key=lambda s: (not s.runs, len(s.heap) + len(s.waiting)))
        for place, server in enumerate(order[: len(attempts)]):
            server.waiting.extend(attempts[place :: len(order)])
            self._admit(server)

    def _admit(self, server: Server) -> None:
        """Begin what waits, as far as there is room, and see when the next one ends."""
        server.settle(self.now)
        free = 0 if server.drains or not server.runs else server.slots - len(server.heap)
        while server.waiting and free > 0:
            length, group = server.waiting.popleft()
            self.number += 1
            free -= 1
            server.begin(length, self.number, group)
        server.stamp += 1
        if (at := server.next_end()) < math.inf:
            self._after(at - self.now, self._ended, (server, server.stamp))

    def _ended(self, whom: tuple[Server, int]) -> None:
        server, stamp = whom
        if stamp != server.stamp:
            return
        server.settle(self.now)
        _, _, length, began, group = server.end()
        self.out.attempt(length, self.now - began)
        if server.drains and not server.heap:
            self._swap(server)
        else:
            self._admit(server)
        group.tokens += length
        group.left -= 1
        if not group.left:
            self._gate(group)

    def _gate(self, group: Group) -> None:
        how = self.scenario
        if not group.second and self.random.random() < how.pass_early:
            group.second = True
            if how.num_later:
                self._sample(group, how.num_later)
                return
        self.sampling -= 1
        if group.second and self.random.random() < how.pass_full:
            self.buffer.append(group)
        self._hand_out()
        self._take()

    def _take(self) -> None:
        how = self.scenario
        if not self.idle:
            return
        if not how.max_staleness:
            if self.wave:
                self._train(self.wave.popleft())
            return
        oldest = self.version - how.max_staleness
        fresh = [group for group in self.buffer if group.oldest >= oldest]
        self.out.dropped += len(self.buffer) - len(fresh)
        self.buffer = fresh[how.num_groups :] if len(fresh) >= how.num_groups else fresh
        if len(fresh) >= how.num_groups:
            self._train(fresh[: how.num_groups])

    def _train(self, groups: list[Group]) -> None:
        how, self.idle = self.scenario, False
        tokens = sum(group.tokens for group in groups)
        took = how.step_s + tokens * how.trained_s
        ages = [max(self.version - group.oldest, 0) for group in groups]
        self._after(took, self._trained, (self.learner_stamp, took, tokens, ages))
        self._hand_out()

    def _trained(self, whom: tuple[int, float, float, list[int]]) -> None:
        stamp, took, tokens, ages = whom
        if stamp != self.learner_stamp:
            return
        self.step += 1
        self.out.step(self.now, took, tokens, ages)
        if self.step % self.scenario.every_steps:
            self._rests()
            return
        self.version += 1
        self.syncing = len(self.servers)
        for server in self.servers:
            server.drains = True
            if not server.runs:
                self._synced()  # it is down, and comes back with the newest
            elif self.scenario.swaps_in_flight or not server.heap:
                self._swap(server)

    def _swap(self, server: Server) -> None:
        server.stop(self.now)
        self._after(self.scenario.sync_s, self._swapped, server)

    def _swapped(self, server: Server) -> None:
        self._opened(server)
        self._synced()

    def _opened(self, server: Server) -> None:
        """Serve again, with the newest weights."""
        server.settle(self.now)
        server.runs, server.drains, server.version = True, False, self.version
        self._admit(server)

    def _synced(self) -> None:
        self.syncing -= 1
        if not self.syncing:
            self._rests()

    def _rests(self) -> None:
        """Save, where it is time, and be free."""
        if self.down:
            return
        stall_s = 0.0
        if not self.step % self.scenario.save_every:
            self.saved, stall_s = (self.step, self.version), self.scenario.stall_s
        self._after(stall_s, self._frees, self.learner_stamp)

    def _frees(self, stamp: int) -> None:
        if stamp == self.learner_stamp:
            self.idle = True
            self._take()
            self._hand_out()

    def _fails(self, server: Server) -> None:
        if rate := self.scenario.server_failures_per_s:
            self._after(self.random.expovariate(rate), self._failed, server)

    def _failed(self, server: Server) -> None:
        self._fails(server)
        if not server.runs:
            return
        draining, server.drains = server.drains, False
        server.stop(self.now)
        lost, tokens = server.lose()
        self.out.lost_tokens += tokens
        self._after(self.scenario.server_down_s, self._opened, server)
        self._spread(lost)
        if draining:
            self._synced()

    def _learner_fails(self, _: None = None) -> None:
        if rate := self.scenario.learner_failures_per_s:
            self._after(self.random.expovariate(rate), self._learner_failed)

    def _learner_failed(self, _: None) -> None:
        self._learner_fails()
        if self.down:
            return
        self.down, self.idle = True, False
        self.learner_stamp += 1
        step, self.version = self.saved
        self.out.again(self.step - step)
        self.step = step
        self._after(self.scenario.learner_down_s, self._learner_back)

    def _learner_back(self, _: None) -> None:
        self.down = False
        for server in self.servers:
            server.version = self.version
        self._frees(self.learner_stamp)
