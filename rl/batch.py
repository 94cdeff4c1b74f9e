"""What one optimizer step trains on: the sequences of the groups that carry a signal.

    group ──► weighed ──► Worth ──► shares (driver) ──► a Share a rank ──► batch_of ──► Batch
      └─────────────────────── tokens, where they were made ───────────────────┘

Whoever shares a step out among ranks needs to know how long sequences are, and no token of them.
NumPy only, so that it crosses Ray without copies. `rl/policy/packing.py` lays it out for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from munro.envs.types import Trajectory
from munro.rl.advantage import group_relative
from munro.rl.config import LearnerConfig
from munro.rl.plugs import Advantage, advantage_of
from munro.rl.policy.packing import Layout, MicroBatch, lay_out, planned
from munro.rl.policy.sequences import Bundle, TrainingSequence
from munro.rl.sharing import Share, shared_out, shares_of
from munro.rollout.branches import refuse_broken
from munro.rollout.payload import Tokens
from munro.rollout.types import Group, Worth


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One optimizer step's work, or one rank's share of it.

    Example:
        batch = build_batch(groups)
        shares = batch.split(2)
    """

    bundles: tuple[Bundle, ...]
    num_global_tokens: int
    """As `Counts.tokens`."""
    num_groups: int
    num_silent_groups: int
    num_global_sequences: int

    @property
    def sequences(self) -> list[TrainingSequence]:
        """All sequences of this share."""
        return [sequence for bundle in self.bundles for sequence in bundle.sequences]

    @property
    def counts(self) -> dict[str, float]:
        """Sizes of the global batch, as metrics."""
        return {
            "learner/sequences": float(self.num_global_sequences),
            "learner/groups": float(self.num_groups),
            "learner/silent_groups": float(self.num_silent_groups),
        }

    def split(self, num_ranks: int) -> list[Batch]:
        """Shares for that many ranks, balanced by tokens; some may be empty.

        Bundles larger than an even share are cut (each part reads the common prefix again), then
        the largest goes to the least loaded rank. Every share keeps the global counts.
        """
        sizes = [(b.num_shared, [s.num_inputs for s in b.sequences]) for b in self.bundles]
        return [
            replace(
                self,
                bundles=tuple(
                    Bundle(
                        num_shared=self.bundles[number].num_shared,
                        sequences=tuple(self.bundles[number].sequences[place] for place in places),
                    )
                    for number, places in of_rank
                ),
            )
            for of_rank in shared_out(sizes, num_ranks)
        ]

    def micro_batches(
        self, budget: int, *, layout: Layout = Layout.PADDED, width: int = 1024
    ) -> list[MicroBatch]:
        """This share in pieces of at most `budget` tokens, padding included.

        Args:
            budget: tokens of a piece; a sequence longer than that goes alone.
            layout: how rows are made.
            width: tokens of a row at which attention costs as much as all the rest of a layer
                (about five times the model's width); with `Layout.SHARED` it limits a row's length.
        """
        return lay_out(self.bundles, budget, layout=layout, width=width)

    def planned(self, budget: int, *, layout: Layout, width: int) -> list[Callable[[], MicroBatch]]:
        """The same, each laid out when it is called for."""
        return planned(self.bundles, budget, layout=layout, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepReport:
    """What an optimizer step reports.

    Example:
        StepReport(metrics={"learner/loss": -0.02, "learner/grad_norm": 0.4}, entropy=0.31)
    """

    metrics: Mapping[str, float]
    entropy: float
    """The estimate that steers the clip, in nats per token; NaN when nothing was trained on."""


def build_batch(groups: Sequence[Group], advantage: Advantage = group_relative) -> Batch:
    """Turn groups into one step's work, where all of it is at hand.

    Args:
        groups: graded attempts, in any order.
        advantage: what each attempt of a group is worth; see `munro.rl.plugs.advantage_of`.

    Raises:
        ValueError: a trajectory is malformed: it begins with a sampled token, carries a log-prob
            that is not finite, sampled a token outside its own nucleus, or forks where it cannot.
            Names the task.
    """
    worths = [weighed(group, advantage) for group in groups]
    tasks = [group.task.id for group in groups]
    (share,) = shares_of(worths, tasks, [None] * len(groups), 1)
    taught = [
        [attempt.trajectory for attempt in group.attempts]
        for group, worth in zip(groups, worths, strict=True)
        if worth.attempts
    ]
    return batch_of(share, taught)


def weighed(group: Group, advantage: Advantage) -> Worth:
    """What sharing out must know of a group, reckoned where its tokens are.

    Raises:
        ValueError: as `build_batch`.
    """
    advantages = tuple(advantage(group))
    if not any(advantages):
        return Worth(advantages=advantages)
    sequences = {
        place: sequence_of(attempt.trajectory, advantages[place], group.task.id)
        for place, attempt in enumerate(group.attempts)
        if attempt.trajectory.sampled.any()
    }
    if not sequences:
        return Worth(advantages=advantages)
    return Worth(
        advantages=advantages,
        attempts=tuple(sequences),
        num_inputs=tuple(sequence.num_inputs for sequence in sequences.values()),
        num_shared=Bundle.of([*sequences.values()]).num_shared,
        num_sampled=sum(sequence.num_sampled for sequence in sequences.values()),
    )


class Weigher:
    """`weighed` by the advantage that a config names, which is found where it is called.

    Example:
        Weigher(resolved(config.learner))(group)
    """

    def __init__(self, config: LearnerConfig) -> None:
        self._config = config

    @cached_property
    def _advantage(self) -> Advantage:
        return advantage_of(self._config)

    def __call__(self, group: Group) -> Worth:
        """What sharing out must know of a group."""
        return weighed(group, self._advantage)


def batch_of(share: Share, taught: Sequence[Sequence[Trajectory | Tokens]]) -> Batch:
    """A rank's share once its tokens are there.

    Args:
        share: the rank's.
        taught: for each part of it, the tokens of every attempt of its group.

    Raises:
        ValueError: as `build_batch`.
    """
    bundles = tuple(
        Bundle(
            num_shared=part.num_shared,
            sequences=tuple(
                sequence_of(told[place], advantage, part.task_id)
                for place, advantage in zip(part.attempts, part.advantages, strict=True)
            ),
        )
        for part, told in zip(share.parts, taught, strict=True)
    )
    counts = share.counts
    return Batch(
        bundles=bundles,
        num_global_tokens=counts.tokens,
        num_groups=counts.groups,
        num_silent_groups=counts.silent_groups,
        num_global_sequences=counts.sequences,
    )


def sequence_of(
    trajectory: Trajectory | Tokens, advantage: float, task_id: str
) -> TrainingSequence:
    """A trajectory as it is trained on.

    Raises:
        ValueError: as `build_batch`.
    """
    sampled = trajectory.sampled
    try:
        refuse_broken(len(sampled), trajectory.forks)
    except ValueError as error:
        raise ValueError(f"task {task_id!r}: {error}") from error
    begins = [0, *(place for place, after in trajectory.forks if after < 0)]
    if sampled[begins].any():
        raise ValueError(f"task {task_id!r}: the first token is sampled, so nothing predicts it")
    if not np.isfinite(trajectory.behaviour_logp[sampled]).all():
        raise ValueError(f"task {task_id!r}: a sampled token has no finite behaviour log-prob")
    counts = np.diff(trajectory.kept.starts)
    owner = np.repeat(np.arange(len(sampled)), counts)
    is_own = trajectory.kept.ids == trajectory.token_ids[owner]
    outside = sampled & (counts > 0) & (np.bincount(owner[is_own], minlength=len(sampled)) == 0)
    if outside.any():
        raise ValueError(
            f"task {task_id!r}: token {int(outside.argmax())} was sampled outside its own nucleus"
        )
    return TrainingSequence(
        token_ids=trajectory.token_ids,
        sampled=sampled,
        behaviour_logp=trajectory.behaviour_logp,
        kept=trajectory.kept,
        advantage=advantage,
        routed_experts=trajectory.routed_experts,
        forks=trajectory.forks,
    )
