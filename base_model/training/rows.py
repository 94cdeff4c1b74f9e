"""Packed rows where the model is, and what is learned of them, decided on the host.

Shape suffixes: B = rows, T = tokens of a row, N = tokens to be learned, C = columns with one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from munro.base_model.data.shards.packing import NO_DOCUMENT, PackedRows
from munro.base_model.device.feed import moved
from munro.base_model.parallel.context import Context


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRows:
    """`PackedRows` on a device, in whose passes the host then need not look at anything.

    Where several ranks read the same rows, `own` are the columns of this one, and what is learned
    is what follows them.
    """

    token_ids: Tensor
    """[B, T] int64"""
    documents: Tensor
    """[B, T] int64; `NO_DOCUMENT` on padding."""
    positions: Tensor
    """[B, T] int64"""
    until: Tensor
    """[B, T] int32 the column at which each token's document ends; padding is one too."""
    document_starts: Tensor
    """int32: where each of those begins in the B * T tokens, and their number."""
    predicted_at: Tensor
    """[N] int64 index into the tokens of `own` columns of the one that a learned token follows."""
    targets: Tensor
    """[N] int64 the learned tokens."""
    columns: Tensor
    """[C] int64 those of `own` that predict one, in order, counted from the first."""
    in_columns: Tensor
    """[N] int64 index into the B * C tokens of those columns: another `predicted_at`."""
    longest: int
    """Tokens of the longest document."""
    num_tokens: int
    """Tokens that are not padding."""
    own: slice
    """Columns that this rank computes."""
    context: Context | None = None
    """The ranks that compute the others."""

    @property
    def num_targets(self) -> int:
        """N"""
        return len(self.targets)


def rows_on_device(
    rows: PackedRows, device: torch.device, context: Context | None = None
) -> DeviceRows:
    """Copy rows, all of them at once; the host does not wait until they are there.

    Args:
        rows: what is read.
        device: where to.
        context: the ranks that read the same rows, a stretch of their columns each.
    """
    own = slice(0, rows.token_ids.shape[1])
    if context is not None:
        own = context.columns(own.stop)
    width = own.stop - own.start
    same_BT = rows.documents[:, 1:] == rows.documents[:, :-1]
    is_learned_BT = same_BT & rows.learned[:, 1:] & (rows.documents[:, 1:] != NO_DOCUMENT)
    is_learned_BT = is_learned_BT[:, own]
    row_N, column_N = np.nonzero(is_learned_BT)
    starts, until_BT = _documents(rows.documents)
    columns = np.flatnonzero(is_learned_BT.any(axis=0))
    arrays = {
        "token_ids": rows.token_ids,
        "documents": rows.documents,
        "positions": rows.positions,
        "until": until_BT,
        "document_starts": starts,
        "predicted_at": row_N * width + column_N,
        "targets": rows.token_ids[row_N, own.start + column_N + 1],
        "columns": columns,
        "in_columns": row_N * len(columns) + np.searchsorted(columns, column_N),
    }
    longest = int(np.diff(starts).max())
    tensors = moved(arrays, device)
    return DeviceRows(
        **tensors, longest=longest, num_tokens=rows.num_tokens, own=own, context=context
    )


def _documents(document_BT: NDArray[np.int64]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`document_starts` and `until` of rows, padding taken for a document."""
    first_BT = np.ones(document_BT.shape, np.bool_)
    first_BT[:, 1:] = document_BT[:, 1:] != document_BT[:, :-1]
    starts = np.append(np.flatnonzero(first_BT), document_BT.size)
    ends = np.repeat(starts[1:], np.diff(starts)).reshape(document_BT.shape)
    row_starts = np.arange(len(document_BT))[:, None] * document_BT.shape[1]
    return starts.astype(np.int32), (ends - row_starts).astype(np.int32)
