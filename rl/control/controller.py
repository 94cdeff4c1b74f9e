"""Who decides which tasks are handed out, and which groups the learner gets.

`OnPolicy` hands out waves and waits for them: deterministic. `OffPolicy`
(`rl/control/streaming.py`) keeps tasks in flight while the learner learns, and drops groups that
got too old. Both account for every task in the journal.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

from munro.rewards.errors import EpisodeError
from munro.rl.config import ClimbConfig
from munro.rl.control.journal import Journal
from munro.rl.control.pass_rates import PassRates
from munro.rl.control.tally import Tallies
from munro.rl.curriculum import response_cap
from munro.rl.ports import Solvers
from munro.rl.state import ClimbState, Cursor
from munro.rollout.types import Outcome

PASS_RATES = "pass_rates.jsonl"
"""Beside the journal, for budgets by difficulty."""


class NoSignal(Exception):
    """The gates let nothing through: there is nothing to learn from these tasks."""

    is_sentence = True


class TooManyUnscored(EpisodeError):
    """More attempts went ungraded than the config allows."""


class Ledger:
    """Accounts for tasks: what is out, what came back, what it was worth. Not thread-safe."""

    def __init__(
        self,
        config: ClimbConfig,
        cursor: Cursor,
        journal: Journal,
        task_id: Callable[[int], str],
        *,
        step: int,
    ) -> None:
        self.cursor = cursor
        self.step = step
        self._config = config
        self._journal = journal
        self._task_id = task_id
        self._again = list(cursor.pending)
        self._out: set[int] = set(cursor.pending)
        self._tallies = Tallies()
        self._recent: deque[tuple[int, int]] = deque(maxlen=20)
        self._last_failure = ""
        # as a deque, which one thread may empty while another fills it
        self._dropped: deque[Outcome] = deque(maxlen=config.rollout.keep_dropped)
        self._rates: PassRates | None = None
        if config.length.budget == "difficulty":
            self._rates = PassRates(journal.path.with_name(PASS_RATES), cursor.pass_rates, step)
            self.cursor = replace(cursor, pass_rates={})
        self.num_abandoned = 0
        """Tasks that came back without a group, so far."""

    @property
    def is_exhausted(self) -> bool:
        """The task limit is reached and nothing waits to be handed out again."""
        limit = self._config.num_tasks
        return not self._again and 0 < limit <= self.cursor.next_index

    @property
    def num_out(self) -> int:
        """Tasks handed out and not accounted for."""
        return len(self._out) - len(self._again)

    def hand_out(self, most: int, state: ClimbState) -> list[tuple[int, int]]:
        """Up to `most` tasks as (index, response cap): those to be repeated first."""
        indices, self._again = self._again[:most], self._again[most:]
        fresh = most - len(indices)
        if self._config.num_tasks:
            fresh = min(fresh, max(self._config.num_tasks - self.cursor.next_index, 0))
        start = self.cursor.next_index
        indices += range(start, start + fresh)
        self.cursor = replace(self.cursor, next_index=start + fresh)
        self._out |= set(indices)
        self._journal.write("out", indices, version=state.policy_version)
        self._journal.flush()
        return [(index, self._cap(index, state)) for index in indices]

    def _cap(self, index: int, state: ClimbState) -> int:
        known = None if self._rates is None else self._rates.of(self._task_id(index))
        return response_cap(self._config.length, state.stage, known)

    def take_in(self, outcomes: Sequence[Outcome]) -> list[Outcome]:
        """Account for what came back; the groups among it.

        Raises:
            TooManyUnscored: the rate over the last 20 outcomes is above the config's bound.
        """
        for outcome in outcomes:
            self._take_in(outcome)
        self._journal.flush()
        if self._rates is not None:
            self._rates.flush()
        return [outcome for outcome in outcomes if outcome.is_group]

    def _take_in(self, outcome: Outcome) -> None:
        rate = 0.9 * self.cursor.acceptance + 0.1 * outcome.is_group
        self.cursor = replace(self.cursor, acceptance=rate)
        self._tallies.of(outcome.env).add(outcome)
        if outcome.is_group:
            self._journal.write("group", [outcome.index])
        else:
            self.num_abandoned += 1
            self._out.discard(outcome.index)
            if outcome.place is not None:
                self._dropped.append(outcome)
            self._journal.abandoned(outcome, self.step)
        scored = outcome.num_attempts if outcome.pass_rate is not None else 0
        self._recent.append((scored, outcome.num_unscored))
        if outcome.num_unscored:
            self._last_failure = outcome.detail
        if self._rates is not None and outcome.pass_rate is not None:
            self._rates.note(outcome.task_id, outcome.pass_rate, self.step)
        self._check_unscored()

    def _check_unscored(self) -> None:
        scored, unscored = (sum(column) for column in zip(*self._recent, strict=True))
        bound = self._config.rewards.max_unscored_rate
        if len(self._recent) < 5 or unscored <= bound * (scored + unscored):
            return
        raise TooManyUnscored(
            f"{unscored} of the last {scored + unscored} attempts could not be graded "
            f"(rewards.max_unscored_rate = {bound}). Last failure: {self._last_failure}"
        )

    def too_old(self, groups: Sequence[Outcome]) -> None:
        """Note groups that aged out; their tasks will be handed out again."""
        for group in groups:
            self._tallies.of(group.env).stale += 1
        self.lost(groups)

    def lost(self, groups: Sequence[Outcome]) -> None:
        """Note groups that are there no more; their tasks will be handed out again."""
        self._journal.write("stale", [group.index for group in groups])
        self._again += [group.index for group in groups]

    def settle(self, groups: Sequence[Outcome], step: int) -> Cursor:
        """Note that these were trained on; the cursor that the checkpoint of `step` must hold."""
        indices = [group.index for group in groups]
        self._journal.write("trained", indices, step=step)
        self._journal.commit()
        self._journal.compact()
        self._out -= set(indices)
        self.step = step
        self.cursor = replace(self.cursor, pending=tuple(sorted(self._out)))
        return self.cursor

    def gone_back(self, state: ClimbState) -> None:
        """Begin again after a checkpoint's step; tasks that are out stay out.

        All else that was handed out since, or was pending then, is handed out again: the weights
        that were trained on it are gone, and with them what they had given up.
        """
        held = self._out - set(self._again)
        since = range(state.cursor.next_index, self.cursor.next_index)
        self._out = held.union(state.cursor.pending, since)
        self._again = sorted(self._out - held)
        self.cursor = replace(state.cursor, next_index=self.cursor.next_index)
        self.step = state.step
        if self._rates is not None:
            self._rates = self._rates.gone_back(state.step)
        self._journal.resumed(state.step)
        self._journal.write("out", sorted(held), version=state.policy_version)
        self._journal.flush()

    def metrics(self) -> dict[str, float]:
        """Figures since the last call."""
        found = self._tallies.metrics(several=self._config.has_several)
        self._tallies = Tallies()
        return found

    def dropped(self) -> list[Outcome]:
        """The last tasks given up since the last call, as many as `rollout.keep_dropped`."""
        found = []
        while self._dropped:
            found.append(self._dropped.popleft())
        return found

    def no_signal(self, tried: int, step: int) -> NoSignal:
        """What to raise when `tried` tasks were handed out for a step and none passed the gates."""
        reasons = ", ".join(
            f"{n} {reason}" for reason, n in self._tallies.whole.abandoned.most_common()
        )
        return NoSignal(
            f"no task passed the gates in {tried} tries at step {step}: {reasons}. Choose easier "
            "or harder tasks, or widen rollout.early_pass_rate and rollout.pass_rate."
        )


class OnPolicy:
    """Waves of tasks, each sampled by the policy of its weight update. The same seed gives the same
    groups.

    A wave serves every optimizer step up to the next weight update, so with `sync.every_steps`
    above 1 the later ones learn from groups of weights that are a few steps old.
    """

    def __init__(self, config: ClimbConfig, ledger: Ledger, solvers: Solvers) -> None:
        self._config, self._ledger, self._solvers = config, ledger, solvers
        self._batches: list[list[Outcome]] = []

    def take(self, num_groups: int, state: ClimbState) -> Sequence[Outcome]:
        """The next batch of the wave; a new wave where the last one is used up.

        Raises:
            NoSignal: `batch.patience` tasks per wanted group were tried and none passed.
        """
        if not self._batches:
            every = self._config.sync.every_steps
            steps = every - state.step % every
            self._batches = split(self._wave(steps * num_groups, state), steps)
        return self._batches.pop(0) if self._batches else []

    def _wave(self, num_groups: int, state: ClimbState) -> list[Outcome]:
        """Groups that passed the gates, `num_groups` or more: what came beyond is kept."""
        found: list[Outcome] = []
        tried, most = 0, num_groups * self._config.batch.patience
        while len(found) < num_groups and tried < most and not self._ledger.is_exhausted:
            wave = self._ledger.hand_out(self._wave_size(num_groups - len(found)), state)
            tried += len(wave)
            outcomes = self._solvers.solve_all(wave, self._config.deadlines.groups_s)
            found += self._ledger.take_in(outcomes)
        if not found and tried >= most:
            raise self._ledger.no_signal(tried, state.step)
        return found

    def _wave_size(self, wanted: int) -> int:
        chance = max(self._ledger.cursor.acceptance, 1 / 8)
        return math.ceil(wanted / chance)

    def settle(self, groups: Sequence[Outcome], step: int) -> Cursor:
        """See `munro.rl.ports.GroupSource`."""
        return self._ledger.settle(groups, step)

    def metrics(self) -> dict[str, float]:
        """Figures since the last call."""
        return self._ledger.metrics()

    def close(self) -> None:
        """Nothing runs between waves."""


def split(groups: list[Outcome], parts: int) -> list[list[Outcome]]:
    """The groups in order, in at most `parts` batches of nearly equal size, none of them empty."""
    parts = min(parts, len(groups))
    bounds = [len(groups) * part // parts for part in range(parts + 1)] if parts else []
    return [groups[start:stop] for start, stop in pairwise(bounds)]
