"""Sequences to train on, and bundles of those that begin alike.

Shape letters: N = tokens of a trajectory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import KeptTokens


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

    @property
    def num_inputs(self) -> int:
        """Tokens the model must read to predict every sampled one; the last of those is not."""
        return int(np.flatnonzero(self.sampled)[-1])

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
        shortest = min(sequence.num_inputs for sequence in sequences)
        heads = np.stack([sequence.token_ids[:shortest] for sequence in sequences])
        differs = np.flatnonzero((heads != heads[0]).any(axis=0))
        num_shared = int(differs[0]) if len(differs) else shortest
        return cls(num_shared=num_shared, sequences=tuple(sequences))

    @property
    def num_inputs(self) -> int:
        """Tokens to compute when what is shared is computed once."""
        own = sum(sequence.num_inputs - self.num_shared for sequence in self.sequences)
        return self.num_shared + own

    def cut(self, most: int) -> list[Bundle]:
        """Parts of about `most` tokens, at least one sequence each; each reads what is shared."""
        parts: list[list[TrainingSequence]] = [[]]
        load = self.num_shared
        for sequence in self.sequences:
            own = sequence.num_inputs - self.num_shared
            if parts[-1] and load + own > most:
                parts.append([])
                load = self.num_shared
            parts[-1].append(sequence)
            load += own
        return [replace(self, sequences=tuple(part)) for part in parts]
