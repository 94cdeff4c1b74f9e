"""How sequences become the rows of a forward pass.

    SHARED   [prompt][reply 1][reply 2]...   a prompt computed once, replies blind to each other
    PADDED   [prompt][reply 1][padding]      one sequence a row; any causal model
    PACKED   [prompt][reply 1][prompt][reply 2]...   one row, positions restart
    FOREST   [prompt][reply 1][reply 2][prompt]...   shared ones end to end in one row

The last two are for GPUs, where attention that skips what nobody sees (`munro.kernels.attention`)
does so at no cost in one wide row: no padding.

A sequence that is itself a tree lies in a SHARED or FOREST row as one, every token once. The others
know no trees: there its branches are rows of their own, in the same micro-batch, and what they have
in common is computed for each and counts in one.

Shape letters: R = rows, L = columns, T = sampled tokens, M = kept candidates of all T together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from munro.rl.policy.sequences import Bundle, TrainingSequence


class Layout(StrEnum):
    """What the rows of a micro-batch hold."""

    SHARED = "shared"
    PADDED = "padded"
    PACKED = "packed"
    FOREST = "forest"

    @property
    def shares(self) -> bool:
        """A prompt is computed once."""
        return self in (Layout.SHARED, Layout.FOREST)

    @property
    def is_one_row(self) -> bool:
        """A micro-batch is one row, without padding."""
        return self in (Layout.PACKED, Layout.FOREST)


@dataclass(frozen=True, slots=True, kw_only=True)
class MicroBatch:
    """What goes through the model at once."""

    token_ids: NDArray[np.int64]
    """(R, L)"""
    positions: NDArray[np.int64]
    """(R, L) place of each token in its own sequence."""
    until: NDArray[np.int32] | None
    """(R, L) the column at which what follows a token ends: those before that column see it, from
    its own on. None where plain causality will do: every row is one sequence."""
    document_starts: NDArray[np.int32] | None
    """(N + 1,) where `until` knows no branches: where each of its sequences begins in the R * L
    tokens, and their number."""
    longest: int
    """Tokens of the longest of them; L where there are branches."""
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

    @property
    def is_tree(self) -> bool:
        return len(self.sequences) > 1 or bool(self.sequences[0].forks)


_Unit = tuple[_Piece, ...]
"""Pieces that must be in one micro-batch: one, or the branches of a sequence."""


def lay_out(
    bundles: Sequence[Bundle], budget: int, *, layout: Layout, width: int
) -> list[MicroBatch]:
    """Micro-batches of at most `budget` tokens, padding included; see `Batch.micro_batches`."""
    return [fill() for fill in planned(bundles, budget, layout=layout, width=width)]


def planned(
    bundles: Sequence[Bundle], budget: int, *, layout: Layout, width: int
) -> list[Callable[[], MicroBatch]]:
    """The micro-batches of `lay_out`, each written when it is called for."""
    units: list[_Unit]
    if layout.shares:
        units = [
            (piece,)
            for bundle in bundles
            for piece in _pieces(
                bundle, reply_room(bundle.num_shared, budget, layout=layout, width=width)
            )
        ]
    else:
        units = [
            tuple(map(_alone, sequence.branches()))
            for bundle in bundles
            for sequence in bundle.sequences
        ]
    if layout.is_one_row:
        filled = _fitting(units, budget, pad=False)
        return [partial(_fill, [[*chain(*chosen)]], _numbers(chosen)) for chosen in filled]
    # rows that are no trees need no mask, which attention computes faster: keep them apart
    trees = [unit for unit in units if any(piece.is_tree for piece in unit)]
    plain = [unit for unit in units if not any(piece.is_tree for piece in unit)]
    return [
        partial(_fill, [[piece] for piece in chain(*chosen)], _numbers(chosen))
        for kind in (trees, plain)
        for chosen in _fitting(kind, budget, pad=True)
    ]


def _alone(sequence: TrainingSequence) -> _Piece:
    return _Piece(0, (sequence,))


def _numbers(units: Sequence[_Unit]) -> list[int]:
    """Which sequence is laid, one after another; branches of one are the same one."""
    numbers: list[int] = []
    for unit in units:
        first = numbers[-1] + 1 if numbers else 0
        own = len(unit[0].sequences)
        numbers += [first] * len(unit) if len(unit) > 1 else range(first, first + own)
    return numbers


def reply_room(shared: int, budget: int, *, layout: Layout, width: int) -> int:
    """Tokens of replies that are best laid behind one computation of their prompt.

    Where the mask does not spare attention any work, a row of prefix P and replies of r tokens
    together costs (P + r) + (P + r)^2 / width, and the cost per reply token is least at
    r = sqrt(P (P + width)). Where it does, each reply costs the same wherever it lies, and the
    prompt is computed the fewer times the wider a row is.

    Args:
        shared: P, tokens of the prompt.
        budget: of a micro-batch.
        layout: of its rows; a FOREST's mask spares work.
        width: tokens of a row at which its attention costs what the rest of a layer does.

    Returns:
        0 or less where nothing can be shared.
    """
    if layout is Layout.FOREST:
        return budget - shared if shared else 0
    return min(math.isqrt(shared * (shared + width)), budget - shared)


def _pieces(bundle: Bundle, room: int) -> list[_Piece]:
    """Cut a bundle into rows whose replies have so much room."""
    shared = bundle.num_shared
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


def _fitting(units: Iterable[_Unit], budget: int, *, pad: bool) -> list[list[_Unit]]:
    """Consecutive units, longest first, while they fit the budget (padded to the longest)."""
    groups: list[list[_Unit]] = []
    used = longest = 0
    for unit in sorted(units, key=lambda unit: -max(piece.length for piece in unit)):
        if not pad:
            own = sum(piece.length for piece in unit)
        else:
            own = len(unit) * (longest if groups else 0)
        if groups and used + own <= budget:
            groups[-1].append(unit)
            used += own
            continue
        groups.append([unit])
        longest = max(piece.length for piece in unit)
        used = len(unit) * longest if pad else own
    return groups


def _fill(rows: list[list[_Piece]], numbers: list[int]) -> MicroBatch:
    """Write the pieces of each row one after another."""
    num_columns = max(sum(piece.length for piece in row) for row in rows)
    shape = (len(rows), num_columns)
    token_ids = np.zeros(shape, np.int64)
    # padding of a plain row goes on counting, so that it is not taken for another sequence
    positions = np.tile(np.arange(num_columns, dtype=np.int64), (len(rows), 1))
    # and of a tree it sees itself, for what sees nothing is not a number
    until = np.full(shape, num_columns, np.int32)
    present = np.zeros(shape, np.bool_)
    routed = _empty_routing(shape, rows)
    targets: list[_Targets] = []
    starts: list[int] = []
    for row, pieces in enumerate(rows):
        column = 0
        for piece in pieces:
            start, shared = column, piece.num_shared
            for index, sequence in enumerate(piece.sequences):
                skip = shared if index else 0
                laid = sequence.laid()
                order = laid.order[skip:]
                end = column + len(order)
                token_ids[row, column:end] = sequence.token_ids[order]
                positions[row, column:end] = laid.depth[skip:]
                until[row, column:end] = column - skip + laid.until[skip:]
                if routed is not None and sequence.routed_experts is not None:
                    routed[row, column:end] = sequence.routed_experts[order]
                base = row * num_columns
                at = laid.predicted_at
                # what is shared lies where the first of them laid it
                at = base + at + np.where(at < shared, start, column - skip)
                targets.append(_targets(sequence, at))
                column = end
            until[row, start : start + shared] = column
            present[row, start:column] = True
            starts.append(row * num_columns + start)
    is_tree = any(piece.is_tree for row in rows for piece in row)
    is_plain = not is_tree and all(len(row) == 1 for row in rows)
    ends = np.array([*starts, token_ids.size], np.int32)
    return _joined(
        token_ids,
        positions,
        None if is_plain else until,
        present,
        routed,
        targets,
        numbers,
        document_starts=None if is_tree else ends,
        longest=num_columns if is_tree else int(np.diff(ends).max()),
    )


@dataclass(frozen=True, slots=True)
class _Targets:
    """What one sequence asks of the hidden states."""

    predicted_at: NDArray[np.int64]
    tokens: NDArray[np.int64]
    behaviour_logp: NDArray[np.float32]
    advantages: NDArray[np.float32]
    kept_ids: NDArray[np.int64]
    kept_counts: NDArray[np.int64]


def _targets(sequence: TrainingSequence, predicted_at: NDArray[np.int64]) -> _Targets:
    """Of the tokens of a sequence, those that are sampled; each predicted at its place."""
    at = np.flatnonzero(sequence.sampled)
    counts = np.diff(sequence.kept.starts)
    return _Targets(
        predicted_at=predicted_at[at],
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
    until: NDArray[np.int32] | None,
    present: NDArray[np.bool_],
    routed: NDArray[np.int16] | None,
    targets: list[_Targets],
    numbers: list[int],
    **more: Any,
) -> MicroBatch:
    counts = np.concatenate([target.kept_counts for target in targets])
    return MicroBatch(
        token_ids=token_ids,
        positions=positions,
        until=until,
        present=present,
        predicted_at=np.concatenate([target.predicted_at for target in targets]),
        tokens=np.concatenate([target.tokens for target in targets]),
        behaviour_logp=np.concatenate([target.behaviour_logp for target in targets]),
        advantages=np.concatenate([target.advantages for target in targets]),
        sequences=np.repeat(numbers, [len(target.tokens) for target in targets]),
        kept_ids=np.concatenate([target.kept_ids for target in targets]),
        kept_starts=np.concatenate([np.zeros(1, np.int64), counts.cumsum()]),
        routed_experts=routed,
        **more,
    )
