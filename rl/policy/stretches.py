"""A micro-batch whose rows several ranks compute together, a stretch of the columns each.

Who computes a token's hidden state computes the log-probability of what it predicts; these are then
gathered, so that every rank has the loss of all of them.

Shape letters: R = rows, L = columns, T = sampled tokens, M = kept candidates of all T together.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from munro.base_model.parallel.context import Context
from munro.rl.policy.packing import MicroBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """What of a micro-batch is one rank's.

    Example:
        Stretch(columns=slice(0, 4), sizes=(2, 3), place=array([0, 2, 1, 3, 4]), context=context)
    """

    columns: slice
    """Of its rows."""
    sizes: tuple[int, ...]
    """Sampled tokens of each rank."""
    place: Any
    """(T,) int64: where each sampled token lies among those of all ranks, one after another."""
    context: Context


def stretched(micro: MicroBatch, context: Context) -> tuple[MicroBatch, Stretch]:
    """Rows that divide into columns for every rank, and what is this rank's.

    Returns:
        The micro-batch, in which what is predicted, and from where in this rank's own columns, is
        this rank's alone; all else is of everything.
    """
    micro = _padded(micro, context.size)
    length = micro.token_ids.shape[1]
    columns = context.columns(length)
    width = columns.stop - columns.start
    row_T, column_T = np.divmod(micro.predicted_at, length)
    rank_T = column_T // width
    order_T = np.argsort(rank_T, kind="stable")
    place_T = np.empty_like(order_T)
    place_T[order_T] = np.arange(len(order_T))
    is_own_T = rank_T == context.rank
    counts_T = np.diff(micro.kept_starts)
    starts = np.concatenate([np.zeros(1, np.int64), counts_T[is_own_T].cumsum()])
    mine = replace(
        micro,
        predicted_at=(row_T * width + column_T - columns.start)[is_own_T],
        tokens=micro.tokens[is_own_T],
        kept_ids=micro.kept_ids[np.repeat(is_own_T, counts_T)],
        kept_starts=starts,
    )
    sizes = tuple(np.bincount(rank_T, minlength=context.size).tolist())
    return mine, Stretch(columns=columns, sizes=sizes, place=place_T, context=context)


def _padded(micro: MicroBatch, multiple: int) -> MicroBatch:
    """The same with columns behind the last ones, until they divide.

    They are the rest of a row's last sequence: it goes on counting, and nothing looks at it.
    """
    rows, length = micro.token_ids.shape
    width = -(-length // multiple) * multiple
    if width == length:
        return micro
    beyond = ((0, 0), (0, width - length))
    positions = np.pad(micro.positions, beyond, mode="edge")
    positions[:, length:] += np.arange(1, width - length + 1)
    row_T, column_T = np.divmod(micro.predicted_at, length)
    until, starts, routed = micro.until, micro.document_starts, micro.routed_experts
    if until is not None:
        until = np.where(until == length, width, until).astype(np.int32)
        until = np.pad(until, beyond, constant_values=width)
    if starts is not None:
        row_N, column_N = np.divmod(starts[:-1], length)
        starts = np.append(row_N * width + column_N, rows * width).astype(np.int32)
    if routed is not None:
        routed = np.pad(routed, (*beyond, (0, 0), (0, 0)), constant_values=-1)
    return replace(
        micro,
        token_ids=np.pad(micro.token_ids, beyond),
        positions=positions,
        until=until,
        document_starts=starts,
        longest=min(width, micro.longest + width - length),
        present=np.pad(micro.present, beyond),
        predicted_at=row_T * width + column_T,
        routed_experts=routed,
    )
