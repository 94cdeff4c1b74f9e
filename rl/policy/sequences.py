"""Sequences to train on, and bundles of those that begin alike.

Shape letters: N = tokens of a trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import KeptTokens
from munro.rl.policy.trees import Laid, laid, needed
from munro.rollout.branches import branches


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSequence:
    """One trajectory and what it is worth."""

    token_ids: NDArray[np.int32]
    """(N,)"""
    sampled: NDArray[np.bool_]
    """(N,) True where the policy chose the token; never at the first."""
    behaviour_logp: NDArray[np.float32]
    """(N,)"""
    kept: KeptTokens
    advantage: float
    """Of every sampled token of the sequence."""
    routed_experts: NDArray[np.int16] | None = None
    """(N, layers, experts per token)"""

    forks: tuple[tuple[int, int], ...] = ()
    """Where a token follows another than the one before it; see `munro.rollout.branches`."""

    @property
    def num_inputs(self) -> int:
        """Tokens the model must read to predict every sampled one; the last of those is not."""
        if self.forks:
            return sum(run.end - run.start for run in needed(self.sampled, self.forks))
        return int(np.flatnonzero(self.sampled)[-1])

    @property
    def stem(self) -> int:
        """Tokens to read, from the beginning, that all other ones follow."""
        if not self.forks:
            return self.num_inputs
        first, *others = needed(self.sampled, self.forks)
        return min([first.end if not first.start else 0, *(run.after + 1 for run in others)])

    def laid(self) -> Laid:
        """Its tokens branch by branch, each once."""
        return laid(self.sampled, self.forks)

    def branches(self) -> list[TrainingSequence]:
        """The same as sequences without forks; each sampled token counts in one of them."""
        if not self.forks:
            return [self]
        return [self._along(one.tokens, one.own) for one in branches(self.sampled, self.forks)]

    def _along(self, tokens: NDArray[np.int64], own: NDArray[np.bool_]) -> TrainingSequence:
        counts = np.where(own, np.diff(self.kept.starts)[tokens], 0)
        starts = np.concatenate([np.zeros(1, np.int64), counts.cumsum()])
        within = np.arange(starts[-1]) - np.repeat(starts[:-1], counts)
        ids = self.kept.ids[np.repeat(self.kept.starts[tokens], counts) + within]
        return replace(
            self,
            token_ids=self.token_ids[tokens],
            sampled=own,
            behaviour_logp=self.behaviour_logp[tokens],
            kept=KeptTokens(ids=ids, starts=starts.astype(np.int32)),
            routed_experts=None if self.routed_experts is None else self.routed_experts[tokens],
            forks=(),
        )

    @property
    def num_sampled(self) -> int:
        """Tokens the policy wrote."""
        return int(self.sampled.sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """Sequences that begin with the same tokens, which then need computing only once."""

    num_shared: int
    """Tokens all of them begin with."""
    sequences: tuple[TrainingSequence, ...]

    @classmethod
    def of(cls, sequences: Sequence[TrainingSequence]) -> Bundle:
        """Find out how much the sequences share; at least one of them."""
        shortest = min(sequence.stem for sequence in sequences)
        heads = np.stack([sequence.token_ids[:shortest] for sequence in sequences])
        differs = np.flatnonzero((heads != heads[0]).any(axis=0))
        num_shared = int(differs[0]) if len(differs) else shortest
        return cls(num_shared=num_shared, sequences=tuple(sequences))

    @property
    def num_inputs(self) -> int:
        """Tokens to compute when what is shared is computed once."""
        own = sum(sequence.num_inputs - self.num_shared for sequence in self.sequences)
        return self.num_shared + own


def cut(num_shared: int, num_inputs: Sequence[int], *, most: int) -> list[list[int]]:
    """Places of a bundle's sequences in parts of about `most` tokens, at least one sequence each.

    Args:
        num_shared: tokens that every part reads.
        num_inputs: of each sequence, these included.
        most: tokens of a part.
    """
    parts: list[list[int]] = [[]]
    load = num_shared
    for place, inputs in enumerate(num_inputs):
        own = inputs - num_shared
        if parts[-1] and load + own > most:
            parts.append([])
            load = num_shared
        parts[-1].append(place)
        load += own
    return parts
