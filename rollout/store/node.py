"""What the workers of one node made, until it is written or nobody wants it any more.

The arrays of a group lie apart from the rest of it: a learner's rank takes these alone.
"""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from munro.rollout.branches import way
from munro.rollout.payload import Columns, joined, parted
from munro.rollout.telling import Weigh, told
from munro.rollout.types import Abandoned, Group, Outcome, Place

if TYPE_CHECKING:
    from munro.rollout.store.store import RolloutStore


class PayloadLost(Exception):
    """Tokens that were to be used are gone with their node."""

    is_sentence = True


@dataclass(frozen=True, slots=True)
class Held:
    """A group in two halves."""

    columns: Any
    """What `put` made of the arrays; None of a task given up."""
    rest: bytes
    """The group without them, pickled by our own worker; a task given up as it is."""


def halves(found: Group | Abandoned, weigh: Weigh | None) -> tuple[Columns | None, bytes, Outcome]:
    """Arrays, all else as bytes, and what the driver is told.

    Raises:
        ValueError: a trajectory is malformed (`munro.rl.batch.build_batch`).
    """
    if isinstance(found, Abandoned):
        return None, pickle.dumps(found), told(found, weigh)
    columns, bare = parted(found)
    return columns, pickle.dumps(bare), told(found, weigh)


def _same(one: Any) -> Any:
    return one


class NodeStore:
    """A node's attempts.

    Example:
        store = NodeStore("here", keep_dropped=8)
        outcome = store.tell(group, None)
        store.draft("runs/stem/rollouts", 1, [outcome.place], [[0.5, -0.5]])
        store.commit("runs/stem/rollouts", 1)
    """

    def __init__(
        self,
        name: str,
        *,
        keep_dropped: int,
        put: Callable[[Columns], Any] = _same,
        get: Callable[[Any], Columns] = _same,
    ) -> None:
        """
        Args:
            name: what places here say.
            keep_dropped: tasks given up that are kept, the newest.
            put: lays arrays down, where other processes can take them.
            get: takes them up.
        """
        self.name = name
        self._keep_dropped, self._put, self._get = keep_dropped, put, get
        self._held: dict[str, Held] = {}
        self._dropped: deque[str] = deque()
        self._stores: dict[str, RolloutStore] = {}
        self._drafts: dict[tuple[str, int], Sequence[Place]] = {}

    def tell(self, found: Group | Abandoned, weigh: Weigh | None) -> Outcome:
        """Take in what is made in this process; what the driver is told."""
        columns, rest, outcome = halves(found, weigh)
        if not found.attempts:
            return outcome
        place = Place(store=self.name, key=uuid4().hex)
        self.hold(place.key, columns, rest)
        return replace(outcome, place=place)

    def hold(self, key: str, columns: Columns | None, rest: bytes) -> None:
        """Take a group in, or a task given up; of these the newest are kept."""
        self._held[key] = Held(None if columns is None else self._put(columns), rest)
        if columns is None:
            self._dropped.append(key)
            while len(self._dropped) > self._keep_dropped:
                self._held.pop(self._dropped.popleft(), None)

    def laid(self, places: Sequence[Place]) -> list[Any]:
        """What `put` made of the arrays of these groups.

        Raises:
            PayloadLost: it has not got one of them.
        """
        if gone := self.missing(places):
            raise PayloadLost(f"{len(gone)} of {len(places)} groups are not in their node's store")
        return [self._held[place.key].columns for place in places]

    def missing(self, places: Sequence[Place]) -> list[Place]:
        """Those of them that it has not got."""
        return [place for place in places if place.key not in self._held]

    def forget(self, places: Sequence[Place]) -> None:
        """Nobody will ask for these any more."""
        for place in places:
            self._held.pop(place.key, None)

    def clear(self) -> None:
        """Nobody will ask for anything that is here now."""
        self._held.clear()
        self._dropped.clear()
        self._drafts.clear()

    def found(self, places: Sequence[Place]) -> list[Group | Abandoned]:
        """These as they were made, but those that are gone."""
        return [self._whole(place) for place in places if place.key in self._held]

    def first_tokens(self, place: Place, longest: int | None) -> list[int]:
        """What the last turn of a group's first attempt read and wrote."""
        first = self._get(self._held[place.key].columns).attempts()[0]
        # of a tree, a server could not score more at once, nor all that the context cut off
        read = first.token_ids[way(len(first.token_ids) - 1, first.forks)]
        return [int(token) for token in read[:longest]]

    def draft(
        self,
        folder: str,
        step: int,
        places: Sequence[Place],
        advantages: Sequence[Sequence[float] | None],
        *,
        to_read: bool = False,
        part: int = 0,
    ) -> None:
        """Write these where nobody sees them before `commit`.

        Args:
            folder: of the rollout store.
            step: optimizer step.
            places: of what goes into it; of tasks given up some may be gone.
            advantages: of the attempts of each; None where nothing is learned from it.
            to_read: leave out what only a learner needs.
            part: of the step, where several nodes write.

        Raises:
            StoreError: the disk refused.
        """
        groups: list[Group] = []
        worths: list[Sequence[float | None]] = []
        reasons: list[str | None] = []
        for place, worth in zip(places, advantages, strict=True):
            for one in self.found([place]):
                group = one.as_group if isinstance(one, Abandoned) else one
                groups.append(group.to_read if to_read else group)
                worths.append([None] * len(group.attempts) if worth is None else worth)
                reasons.append(one.reason.value if isinstance(one, Abandoned) else None)
        self._store(folder).draft(step, groups, worths, reasons, part=part)
        self._drafts[folder, step] = places

    def commit(
        self, folder: str, step: int, most_bytes: int | None = None, *, part: int = 0
    ) -> None:
        """Let the draft be seen, forget its groups, and tidy up.

        Args:
            folder, step, part: as for `draft`.
            most_bytes: of the folder; the oldest steps go where there are more.

        Raises:
            StoreError: the disk refused.
        """
        store = self._store(folder)
        store.commit(step, part=part)
        self.forget(self._drafts.pop((folder, step)))
        if part:
            return
        store.tidy()
        if most_bytes is not None:
            store.shrink(most_bytes)

    def _store(self, folder: str) -> RolloutStore:
        # Arrow takes a while, and workers and ranks that import this file never write
        from munro.rollout.store.store import RolloutStore

        return self._stores.setdefault(folder, RolloutStore(folder))

    def _whole(self, place: Place) -> Group | Abandoned:
        held = self._held[place.key]
        rest: Group | Abandoned = pickle.loads(held.rest)
        return rest if isinstance(rest, Abandoned) else joined(self._get(held.columns), rest)
