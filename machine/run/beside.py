"""What a climb stores beside what it learns from: groups that were dropped, and evaluations.

Each in a folder of its own, in the files of the rollout store, and capped. Whoever counts, learns
or distils reads `rollouts/` alone, so nothing here can be taken for it; a distillation that asks
for it (`select.dropped`) reads what was dropped as well.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from munro.machine.config import RunConfig
from munro.machine.run.folder import RunFolder
from munro.machine.run.replies import replies
from munro.rollout.store.store import RolloutStore
from munro.rollout.types import Abandoned, Group

MB = 10**6


class Beside:
    """The two stores of one run.

    Example:
        beside = Beside(run, config)
        beside.dropped(12, ledger.dropped())
        beside.evaluated(12, groups)
    """

    def __init__(self, run: RunFolder, config: RunConfig) -> None:
        self._config = config
        self._dropped, self._evaluated = RolloutStore(run.dropped), RolloutStore(run.evaluated)

    def dropped(self, step: int, outcomes: Sequence[Abandoned]) -> None:
        """Store what was given up on the way to `step`, as far as attempts of it were kept.

        Raises:
            StoreError: the disk is full or not writable.
        """
        kept = [outcome for outcome in outcomes if outcome.attempts]
        if kept:
            groups = [outcome.as_group for outcome in kept]
            reasons = [outcome.reason.value for outcome in kept]
            most = self._config.rollout.keep_dropped_mb * MB
            _write(self._dropped, step, groups, most, reasons)

    def nothing_passed(
        self, step: int, outcomes: Sequence[Abandoned], note: Callable[[str], None]
    ) -> None:
        """Tell a person what some of the replies were that the gates dropped, and store them."""
        for line in replies(outcomes):
            note(line)
        self.dropped(step, outcomes)

    def evaluated(self, step: int, groups: Sequence[Group]) -> None:
        """Store the attempts at some of the held-out tasks, evenly over all of them.

        An evaluation of freshly distilled weights takes the place of the one before it, which was
        after the same step.

        Raises:
            StoreError: the disk is full or not writable.
        """
        most = min(self._config.eval.keep, len(groups))
        if most:
            chosen = [groups[number * len(groups) // most] for number in range(most)]
            _write(self._evaluated, step, chosen, self._config.eval.keep_mb * MB)


def _write(
    store: RolloutStore,
    step: int,
    groups: Sequence[Group],
    most_bytes: int,
    reasons: Sequence[str] | None = None,
) -> None:
    readable = [group.to_read for group in groups]
    store.write(step, readable, [[None] * len(group.attempts) for group in readable], reasons)
    store.shrink(most_bytes)
