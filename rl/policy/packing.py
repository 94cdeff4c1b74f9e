"""How sequences become the rows of a forward pass.

    SHARED   [prompt][reply 1][reply 2]...   a prompt computed once, replies blind to each other
    PADDED   [prompt][reply 1][padding]      one sequence a row; any causal model
    PACKED   [prompt][reply 1][prompt][reply 2]...   one row, positions restart; flash-attn

Shape letters: R = rows, L = columns, T = sampled tokens, M = kept candidates of all T together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from munro.rl.policy.sequences import Bundle, TrainingSequence


class Layout(StrEnum):
    """What the rows of a micro-batch hold."""

    SHARED = "shared"
    PADDED = "padded"
    PACKED = "packed"


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What goes through the model at once."""

    token_ids: NDArray[np.int64]
    """(R, L)"""
    positions: NDArray[np.int64]
    """(R, L) place of each token in its own sequence."""
    segments: NDArray[np.int16] | None
    """(R, L) 0 for a shared prefix, then 1, 2, ... for what follows it, -1 for padding. A token
    sees those before it in its own segment and the prefix. None where plain causality will do."""
    present: NDArray[np.bool_]
    """(R, L) False on padding."""
    predicted_at: NDArray[np.int64]
    """(T,) index into the R * L tokens of the one whose hidden state predicts the sampled token."""
    tokens: NDArray[np.int64]
    """(T,) the sampled tokens."""
    behaviour_logp: NDArray[np.float32]
    """(T,)"""
    advantages: NDArray[np.float32]
    """(T,)"""
    sequences: NDArray[np.int64]
    """(T,) which of the micro-batch's sequences a token is of: 0, 1, 2, ..."""
    kept_ids: NDArray[np.int64]
    """(M,) the nucleus of each sampled token, end to end."""
    kept_starts: NDArray[np.int64]
    """(T + 1,) offsets into `kept_ids`; an empty slice means the whole vocabulary."""
    routed_experts: NDArray[np.int16] | None
    """(R, L, layers, experts per token), -1 on padding."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Sequences that share their first `num_shared` tokens and lie in one row."""

    num_shared: int
    sequences: tuple[TrainingSequence, ...]

    @property
    def length(self) -> int:
        own = sum(sequence.num_inputs - self.num_shared for sequence in self.sequences)
        return self.num_shared + own


def lay_out(
    bundles: Sequence[Bundle], budget: int, *, layout: Layout, width: int
) -> list[MicroBatch]:
    """Micro-batches of at most `budget` tokens, padding included; see `Batch.micro_batches`."""
    if layout is Layout.SHARED:
        pieces = [piece for bundle in bundles for piece in _pieces(bundle, budget, width)]
    else:
        pieces = [_alone(sequence) for bundle in bundles for sequence in bundle.sequences]
    if layout is Layout.PACKED:
        return [_fill([chosen]) for chosen in _fitting(pieces, budget, pad=False)]
    # rows without a shared prefix need no mask, which attention computes faster: keep them apart
    trees = [piece for piece in pieces if len(piece.sequences) > 1]
    plain = [piece for piece in pieces if len(piece.sequences) == 1]
    return [
        _fill([[piece] for piece in chosen])
        for kind in (trees, plain)
        for chosen in _fitting(kind, budget, pad=True)
    ]


def _alone(sequence: TrainingSequence) -> _Piece:
    return _Piece(0, (sequence,))


def _pieces(bundle: Bundle, budget: int, width: int) -> list[_Piece]:
    """Cut a bundle into rows.

    A row of prefix P and replies of r tokens together costs (P + r) + (P + r)^2 / width, for the
    mask does not spare attention any work. The cost per reply token is least at
    r = sqrt(P (P + width)).
    """
    shared = bundle.num_shared
    room = min(math.isqrt(shared * (shared + width)), budget - shared)
    own = [sequence.num_inputs - shared for sequence in bundle.sequences]
    if room <= 0 or room < 2 * min(own):
        return [_alone(sequence) for sequence in bundle.sequences]
    num_rows = max(1, math.ceil(sum(own) / room))
    rows = _spread(own, num_rows)
    while num_rows < len(own) and any(sum(own[i] for i in row) > room for row in rows):
        num_rows += 1
        rows = _spread(own, num_rows)
    chosen = [tuple(bundle.sequences[index] for index in row) for row in rows if row]
    return [_Piece(shared, row) if len(row) > 1 else _alone(row[0]) for row in chosen]


def _spread(sizes: Sequence[int], num_rows: int) -> list[list[int]]:
    """Indices for each row: the largest goes to the least loaded."""
    rows: list[list[int]] = [[] for _ in range(num_rows)]
    load = [0] * num_rows
    for index in sorted(range(len(sizes)), key=lambda index: -sizes[index]):
        row = load.index(min(load))
        rows[row].append(index)
        load[row] += sizes[index]
    return rows


def _fitting(pieces: Iterable[_Piece], budget: int, *, pad: bool) -> list[list[_Piece]]:
    """Consecutive pieces, longest first, while they fit the budget (padded to the longest)."""
    groups: list[list[_Piece]] = []
    for piece in sorted(pieces, key=lambda piece: -piece.length):
        if groups:
            last = groups[-1]
            used = last[0].length * len(last) if pad else sum(other.length for other in last)
            if used + (last[0].length if pad else piece.length) <= budget:
                last.append(piece)
                continue
        groups.append([piece])
    return groups


def _fill(rows: list[list[_Piece]]) -> MicroBatch:
    """Write the pieces of each row one after another."""
    num_columns = max(sum(piece.length for piece in row) for row in rows)
    shape = (len(rows), num_columns)
    token_ids = np.zeros(shape, np.int64)
    # padding of a plain row goes on counting, so that it is not taken for another sequence
    positions = np.tile(np.arange(num_columns, dtype=np.int64), (len(rows), 1))
    segments = np.full(shape, -1, np.int16)
    routed = _empty_routing(shape, rows)
    targets: list[_Targets] = []
    for row, pieces in enumerate(rows):
        column = 0
        for piece in pieces:
            start, shared = column, piece.num_shared
            for index, sequence in enumerate(piece.sequences):
                skip = shared if index else 0
                end = column + sequence.num_inputs - skip
                token_ids[row, column:end] = sequence.token_ids[skip : sequence.num_inputs]
                positions[row, column:end] = np.arange(skip, sequence.num_inputs)
                segments[row, column:end] = index + 1
                if routed is not None and sequence.routed_experts is not None:
                    routed[row, column:end] = sequence.routed_experts[skip : sequence.num_inputs]
                base = row * num_columns
                targets.append(_targets(sequence, base + start, base + column - skip, shared))
                column = end
            segments[row, start : start + shared] = 0
    is_tree = any(len(piece.sequences) > 1 for row in rows for piece in row)
    return _joined(token_ids, positions, segments, is_tree, routed, targets)


@dataclass(frozen=True, slots=True)
class _Targets:
    """What one sequence asks of the hidden states."""

    predicted_at: NDArray[np.int64]
    tokens: NDArray[np.int64]
    behaviour_logp: NDArray[np.float32]
    advantages: NDArray[np.float32]
    kept_ids: NDArray[np.int64]
    kept_counts: NDArray[np.int64]


def _targets(sequence: TrainingSequence, prefix_at: int, own_at: int, num_shared: int) -> _Targets:
    """Index i of the sequence lies at `prefix_at + i` when shared, else at `own_at + i`."""
    at = np.flatnonzero(sequence.sampled)
    before = at - 1
    counts = np.diff(sequence.kept.starts)
    return _Targets(
        predicted_at=np.where(before < num_shared, prefix_at, own_at) + before,
        tokens=sequence.token_ids[at].astype(np.int64),
        behaviour_logp=sequence.behaviour_logp[at],
        advantages=np.full(len(at), sequence.advantage, np.float32),
        kept_ids=sequence.kept.ids[np.repeat(sequence.sampled, counts)].astype(np.int64),
        kept_counts=counts[at].astype(np.int64),
    )


def _empty_routing(shape: tuple[int, int], rows: list[list[_Piece]]) -> NDArray[np.int16] | None:
    """Routes of no token yet, when every sequence recorded its own; otherwise None."""
    routes = [s.routed_experts for row in rows for piece in row for s in piece.sequences]
    first = routes[0]
    if first is None or any(route is None for route in routes):
        return None
    return np.full((*shape, *first.shape[1:]), -1, np.int16)


def _joined(
    token_ids: NDArray[np.int64],
    positions: NDArray[np.int64],
    segments: NDArray[np.int16],
    is_tree: bool,
    routed: NDArray[np.int16] | None,
    targets: list[_Targets],
) -> MicroBatch:
    counts = np.concatenate([target.kept_counts for target in targets])
    return MicroBatch(
        token_ids=token_ids,
        positions=positions,
        segments=segments if is_tree else None,
        present=segments >= 0,
        predicted_at=np.concatenate([target.predicted_at for target in targets]),
        tokens=np.concatenate([target.tokens for target in targets]),
        behaviour_logp=np.concatenate([target.behaviour_logp for target in targets]),
        advantages=np.concatenate([target.advantages for target in targets]),
        sequences=np.repeat(np.arange(len(targets)), [len(target.tokens) for target in targets]),
        kept_ids=np.concatenate([target.kept_ids for target in targets]),
        kept_starts=np.concatenate([np.zeros(1, np.int64), counts.cumsum()]),
        routed_experts=routed,
    )
