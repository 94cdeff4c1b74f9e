"""A group in two halves: what a learner's rank takes, and what people and the store read.

    Columns   tokens, log-probs, nuclei and routed experts of all attempts end to end: few large
              arrays, which cross processes without copies
    Group     the same attempts without these: task, messages, replies, grades

Routed experts, where there are any, are most of the bytes. Their numbers are small, so they are
packed into as few bits as they need.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from munro.envs.types import KeptTokens
from munro.rollout.types import Group

NO_TOKENS = np.zeros(0, np.int32)
WORTH_IT = 0.7
"""Packed only where it takes at most this share of the bytes."""
AT_ONCE = 1 << 20
"""Numbers packed at a time: the bits of one are bytes meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """The tokens of one attempt; its fields are those of `munro.envs.types.Trajectory`."""

    token_ids: NDArray[np.int32]
    sampled: NDArray[np.bool_]
    behaviour_logp: NDArray[np.float32]
    versions: NDArray[np.int32]
    kept: KeptTokens
    routed_experts: NDArray[np.int16] | None
    forks: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """Small numbers from -1 up, in few bits each."""

    bits: int
    shape: tuple[int, ...]
    words: NDArray[np.uint8]

    @classmethod
    def of(cls, numbers: NDArray[np.int16]) -> Packed | NDArray[np.int16]:
        """The numbers packed, or as they are where that saves too little."""
        bits = int(numbers.max(initial=0) + 1).bit_length()
        if bits > 16 * WORTH_IT or numbers.min(initial=0) < -1:
            return numbers
        flat = (numbers.reshape(-1) + 1).astype(">u2")
        words = [
            np.packbits(
                np.unpackbits(flat[start : start + AT_ONCE].view(np.uint8)).reshape(-1, 16)[
                    :, 16 - bits :
                ]
            )
            for start in range(0, len(flat), AT_ONCE)
        ]
        return cls(bits=bits, shape=numbers.shape, words=np.concatenate([NO_WORDS, *words]))

    def unpacked(self) -> NDArray[np.int16]:
        """The numbers again."""
        size, parts = int(np.prod(self.shape)), []
        for start in range(0, size, AT_ONCE):
            count = min(AT_ONCE, size - start)
            words = self.words[start * self.bits // 8 :][: -(-count * self.bits // 8)]
            bits = np.zeros((count, 16), np.uint8)
            bits[:, 16 - self.bits :] = np.unpackbits(words, count=count * self.bits).reshape(
                count, self.bits
            )
            parts.append(np.packbits(bits).view(">u2").astype(np.int16) - np.int16(1))
        whole: NDArray[np.int16] = np.concatenate([np.zeros(0, np.int16), *parts])
        return whole.reshape(self.shape)


NO_WORDS = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """The arrays of a group's attempts end to end, one array a kind."""

    lengths: NDArray[np.int64]
    """(A,) tokens of each attempt."""
    token_ids: NDArray[np.int32]
    sampled: NDArray[np.bool_]
    behaviour_logp: NDArray[np.float32]
    versions: NDArray[np.int32]
    kept_ids: NDArray[np.int32]
    kept_starts: NDArray[np.int32]
    """Each attempt's own, from 0: one more than it has tokens."""
    routed_experts: tuple[Packed | NDArray[np.int16] | None, ...]
    """Of each attempt."""
    forks: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, group: Group) -> Columns:
        """The arrays of a group with at least one attempt."""
        told = [attempt.trajectory for attempt in group.attempts]
        return cls(
            lengths=np.array([len(one.token_ids) for one in told]),
            token_ids=np.concatenate([one.token_ids for one in told]),
            sampled=np.concatenate([one.sampled for one in told]),
            behaviour_logp=np.concatenate([one.behaviour_logp for one in told]),
            versions=np.concatenate([one.versions for one in told]),
            kept_ids=np.concatenate([one.kept.ids for one in told]),
            kept_starts=np.concatenate([one.kept.starts for one in told]),
            routed_experts=tuple(
                None if one.routed_experts is None else Packed.of(one.routed_experts)
                for one in told
            ),
            forks=tuple(one.forks for one in told),
        )

    @property
    def num_bytes(self) -> int:
        """Of all arrays."""
        arrays = [self.token_ids, self.sampled, self.behaviour_logp, self.versions]
        arrays += [self.kept_ids, self.kept_starts]
        experts = [one.words if isinstance(one, Packed) else one for one in self.routed_experts]
        return sum(one.nbytes for one in [*arrays, *experts] if one is not None)

    def attempts(self) -> list[Tokens]:
        """Attempt by attempt, as views but for experts that were packed."""
        found, start, kept = [], 0, 0
        for number, length in enumerate(self.lengths.tolist()):
            stop = start + length
            starts = self.kept_starts[start + number : stop + number + 1]
            ids = self.kept_ids[kept : kept + int(starts[-1])]
            experts = self.routed_experts[number]
            found.append(
                Tokens(
                    token_ids=self.token_ids[start:stop],
                    sampled=self.sampled[start:stop],
                    behaviour_logp=self.behaviour_logp[start:stop],
                    versions=self.versions[start:stop],
                    kept=KeptTokens(ids=ids, starts=starts),
                    routed_experts=experts.unpacked() if isinstance(experts, Packed) else experts,
                    forks=self.forks[number],
                )
            )
            start, kept = stop, kept + len(ids)
        return found


def parted(group: Group) -> tuple[Columns, Group]:
    """A group's arrays, and the rest of it."""
    bare = tuple(
        replace(
            attempt,
            trajectory=replace(
                attempt.trajectory,
                token_ids=NO_TOKENS,
                sampled=NO_TOKENS.astype(np.bool_),
                behaviour_logp=NO_TOKENS.astype(np.float32),
                versions=NO_TOKENS,
                kept=KeptTokens.nothing(0),
                routed_experts=None,
                forks=(),
            ),
        )
        for attempt in group.attempts
    )
    return Columns.of(group), replace(group, attempts=bare)


def joined(columns: Columns, bare: Group) -> Group:
    """The group again, every array bit by bit."""
    whole = tuple(
        replace(
            attempt,
            trajectory=replace(
                attempt.trajectory,
                token_ids=told.token_ids,
                sampled=told.sampled,
                behaviour_logp=told.behaviour_logp,
                versions=told.versions,
                kept=told.kept,
                routed_experts=told.routed_experts,
                forks=told.forks,
            ),
        )
        for attempt, told in zip(bare.attempts, columns.attempts(), strict=True)
    )
    return replace(bare, attempts=whole)
