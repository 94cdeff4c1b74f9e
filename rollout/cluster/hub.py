"""Tasks out to the workers, outcomes back: what the driver does for every task of a climb.

Each worker has one call open, which answers as soon as anything is done there and brings all that
is, so Ray is asked about as many references as there are workers, however many tasks are open. A
call costs more than a task: the more workers there are, the longer they wait for the rest of what
they were given, so that what a worker has done, and what it is given, comes by many at once. One
that has done all of it does not wait.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from munro.rollout.cluster.actors import cause_of
from munro.rollout.cluster.dealing import Dealer
from munro.rollout.types import Outcome

PAUSE_S, MOST_PAUSE_S = 0.005, 1.0
"""For each worker, and in all: how long a worker that has done something waits for the rest that it
was given."""
GATHER_S = 0.2
"""At most: how long others are waited for when one worker answers."""
LOOK_S = 5.0
"""Between two looks whether what was handed out has arrived."""


class Hub:
    """Which tasks are open, and at which worker. A worker that dies is given its tasks again.

    Args:
        actors: workers by name; they have `assign(items, version)`, and `next_outcomes(pause_s)`,
            which gathers for so long once something is done.
        version: of the weights that are served now.
        forget: told of outcomes that nobody waits for.
    """

    def __init__(
        self,
        actors: Mapping[str, Any],
        version: Callable[[], int],
        forget: Callable[[Sequence[Outcome]], None],
    ) -> None:
        self._actors, self._version, self._forget = actors, version, forget
        self._dealer = Dealer(actors)
        self._open: dict[str, dict[int, int]] = {name: {} for name in actors}
        self._asked: dict[Any, str] = {}
        """The call that each worker with open tasks has open."""
        self._given: dict[Any, str] = {}
        """Calls that handed tasks out and are not known to have arrived."""
        self._looked = time.monotonic()
        self._pause_s = min(PAUSE_S * (len(actors) - 1), MOST_PAUSE_S)
        self._gather_s = min(self._pause_s, GATHER_S)

    def assign(self, tasks: Iterable[tuple[int, int]]) -> None:
        """Hand out (index, cap) pairs, a call a worker."""
        dealt: defaultdict[str, dict[int, int]] = defaultdict(dict)
        for index, cap in tasks:
            dealt[self._dealer.deal()][index] = cap
        for name, items in dealt.items():
            was_idle = not self._open[name]
            self._open[name].update(items)
            self._give(name, items)
            if was_idle:
                self._ask(name)

    def _give(self, name: str, items: Mapping[int, int]) -> None:
        given = self._actors[name].assign.remote(list(items.items()), self._version())
        self._given[given] = name

    def _ask(self, name: str) -> None:
        self._asked[self._actors[name].next_outcomes.remote(self._pause_s)] = name

    def next_outcomes(self, timeout_s: float) -> list[Outcome]:
        """What has come back, waiting at most `timeout_s` for the first of it.

        Raises:
            Exception: what a worker raised, as it was raised there.
        """
        self._look()
        if not self._asked:
            time.sleep(timeout_s)
            return []
        asked = list(self._asked)
        done, _ = ray.wait(asked, num_returns=1, timeout=timeout_s)
        if done:
            done, _ = ray.wait(asked, num_returns=len(asked), timeout=self._gather_s)
        found: list[Outcome] = []
        for reference in done:
            name = self._asked.pop(reference)
            try:
                found += self._back(name, ray.get(reference))
            except RayActorError:
                self._give(name, self._open[name])
            except RayTaskError as error:
                raise cause_of(error) from error
            if self._open[name]:
                self._ask(name)
        return found

    def _back(self, name: str, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Those that were waited for: a task that was given twice comes back twice."""
        wanted, others = [], []
        for outcome in outcomes:
            if self._open[name].pop(outcome.index, None) is None:
                others.append(outcome)
                continue
            self._dealer.back(name)
            wanted.append(outcome)
        if others:
            self._forget(others)
        return wanted

    def _look(self) -> None:
        """Hand out again what a worker never got because it was just dying."""
        if not self._given or time.monotonic() - self._looked < LOOK_S:
            return
        self._looked = time.monotonic()
        done, _ = ray.wait(list(self._given), num_returns=len(self._given), timeout=0)
        failed = set()
        for reference in done:
            name = self._given.pop(reference)
            try:
                ray.get(reference)
            except RayActorError:
                failed.add(name)
            except RayTaskError as error:
                raise cause_of(error) from error
        for name in failed:
            if self._open[name]:
                self._give(name, self._open[name])
