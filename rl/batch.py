"""What one optimizer step trains on: the sequences of the groups that carry a signal.

NumPy only, so that it crosses Ray without copies. `rl/policy/packing.py` lays it out for the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from munro.envs.types import Trajectory
from munro.rl.advantage import group_relative
from munro.rl.plugs import Advantage
from munro.rl.policy.packing import Layout, MicroBatch, lay_out, planned
from munro.rl.policy.sequences import Bundle, TrainingSequence
from munro.rollout.branches import refuse_broken
from munro.rollout.types import Group


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """One optimizer step's work, or one rank's share of it.

    Example:
        batch = build_batch(groups)
        shares = batch.split(2)
    """

    bundles: tuple[Bundle, ...]
    num_global_tokens: int
    """Sampled tokens to train on, over all ranks: what the loss is divided by."""
    num_groups: int
    """Groups of the step over all ranks, those without signal included."""
    num_silent_groups: int
    """Groups whose rewards all agree: nothing to learn from, not trained on."""
    num_global_sequences: int
    """Sequences to train on, over all ranks."""

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
        if num_ranks == 1:
            return [self]
        share = max(1, sum(bundle.num_inputs for bundle in self.bundles) // num_ranks)
        parts = [part for bundle in self.bundles for part in bundle.cut(share)]
        shares: list[list[Bundle]] = [[] for _ in range(num_ranks)]
        load = [0] * num_ranks
        for part in sorted(parts, key=lambda part: -part.num_inputs):
            rank = load.index(min(load))
            shares[rank].append(part)
            load[rank] += part.num_inputs
        return [replace(self, bundles=tuple(bundles)) for bundles in shares]

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
    """Turn groups into one step's work.

    Args:
        groups: graded attempts, in any order.
        advantage: what each attempt of a group is worth; see `munro.rl.plugs.advantage_of`.

    Raises:
        ValueError: a trajectory is malformed: it begins with a sampled token, carries a log-prob
            that is not finite, sampled a token outside its own nucleus, or forks where it cannot.
            Names the task.
    """
    bundles, num_silent = [], 0
    for group in groups:
        advantages = advantage(group)
        if not any(advantages):
            num_silent += 1
            continue
        sequences = [
            sequence_of(attempt.trajectory, advantage, group.task.id)
            for attempt, advantage in zip(group.attempts, advantages, strict=True)
            if attempt.trajectory.sampled.any()
        ]
        if sequences:
            bundles.append(Bundle.of(sequences))
    sequences = [sequence for bundle in bundles for sequence in bundle.sequences]
    return Batch(
        bundles=tuple(bundles),
        num_global_tokens=sum(sequence.num_sampled for sequence in sequences),
        num_groups=len(groups),
        num_silent_groups=num_silent,
        num_global_sequences=len(sequences),
    )


def sequence_of(trajectory: Trajectory, advantage: float, task_id: str) -> TrainingSequence:
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
