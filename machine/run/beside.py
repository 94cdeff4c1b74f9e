"""What a climb stores beside what it learns from: groups that were dropped, and evaluations.

Each in a folder of its own, in the files of the rollout store, and capped. Whoever counts, learns
or distils reads `rollouts/` alone, so nothing here can be taken for it; a distillation that asks
for it (`select.dropped`) reads what was dropped as well.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from munro.machine.config import RunConfig
from munro.machine.run.folder import RunFolder
from munro.machine.run.replies import replies
from munro.rollout.types import Abandoned, Group, Outcome, Place, places_of

MB = 10**6


class Stores(Protocol):
    """What holds the attempts on every node (`munro.rollout.cluster.stores.Stores`)."""

    def draft(
        self,
        folder: str,
        step: int,
        places: Sequence[Place],
        advantages: Sequence[Sequence[float] | None],
        *,
        to_read: bool = False,
    ) -> None:
        """Begin to write them."""
        ...

    def commit(
        self, folder: str, step: int, most_bytes: int | None = None
    ) -> Mapping[int, str] | None:
        """Let them be seen; the host of every part, where there are several."""
        ...

    def found(self, places: Sequence[Place]) -> Sequence[Group | Abandoned]:
        """These as they were made."""
        ...

    def first_tokens(self, place: Place, longest: int | None) -> Sequence[int]:
        """What the last turn of a group's first attempt read and wrote."""
        ...

    def forget(self, places: Sequence[Place]) -> None:
        """Nobody will ask for these any more."""
        ...


class Beside:
    """The two stores of one run.

    Example:
        beside = Beside(run, config, stores)
        beside.dropped(12, ledger.dropped())
        beside.evaluated(12, groups)
    """

    def __init__(self, run: RunFolder, config: RunConfig, stores: Stores) -> None:
        self._run, self._config, self._stores = run, config, stores

    def dropped(self, step: int, outcomes: Sequence[Outcome]) -> None:
        """Store what was given up on the way to `step`, as far as attempts of it were kept.

        Raises:
            StoreError: the disk is full or not writable.
        """
        if kept := places_of(outcomes):
            self._write(self._run.dropped, step, kept, self._config.rollout.keep_dropped_mb * MB)

    def nothing_passed(
        self, step: int, outcomes: Sequence[Outcome], note: Callable[[str], None]
    ) -> None:
        """Tell a person what some of the replies were that the gates dropped, and store them."""
        found = self._stores.found(places_of(outcomes))
        for line in replies([one for one in found if isinstance(one, Abandoned)]):
            note(line)
        self.dropped(step, outcomes)

    def evaluated(self, step: int, groups: Sequence[Outcome]) -> None:
        """Store the attempts at some of the held-out tasks, evenly over all of them.

        An evaluation of freshly distilled weights takes the place of the one before it, which was
        after the same step.

        Raises:
            StoreError: the disk is full or not writable.
        """
        most = min(self._config.eval.keep, len(groups))
        chosen = [groups[number * len(groups) // most] for number in range(most)]
        if chosen:
            self._write(
                self._run.evaluated, step, places_of(chosen), self._config.eval.keep_mb * MB
            )
        self._stores.forget(places_of(groups))

    def _write(self, folder: Path, step: int, places: Sequence[Place], most_bytes: int) -> None:
        where = str(folder.absolute())
        self._stores.draft(where, step, places, [None] * len(places), to_read=True)
        self._stores.commit(where, step, most_bytes)


def note_parts(rollouts: Path, step: int, hosts: Mapping[int, str] | None) -> None:
    """Keep which host has which part of a step, where it has several."""
    if hosts:
        with (rollouts / "parts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, "hosts": dict(hosts)}) + "\n")
