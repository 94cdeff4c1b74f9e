"""Which of the ways of computing attention a layer goes, and going it.

    CAUSAL      torch's own, told that rows are plain: nothing to skip but the future
    LENGTHS     flash attention over documents end to end
    FLEX        FlexAttention: trees, windows, soft caps, sinks
    DENSE       torch's own with the mask of all pairs: rows so short that it is small
    GATHERED    some queries at a time over the keys they see, on the CPU
    BLOCKS      torch's own, some queries at a time, where rows are too long for that
    REFERENCE   the definition

Shape letters: as in `reference`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from munro.kernels.attention import by_blocks, fused, gathered, reference
from munro.kernels.attention.rows import RowMask

SHORT = 1024
"""Columns up to which a dense mask is as fast as any: one of float32 is 4 MiB a row."""


class Way(StrEnum):
    """How attention is computed."""

    CAUSAL = "causal"
    LENGTHS = "lengths"
    FLEX = "flex"
    DENSE = "dense"
    GATHERED = "gathered"
    BLOCKS = "blocks"
    REFERENCE = "reference"


class UnsupportedAttention(ValueError):
    """A layer asks for what cannot be computed over such rows; says what."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What decides the way."""

    twin: str
    """Of the device; see `munro.kernels.dispatch`."""
    columns: int
    is_plain: bool
    """Every row is one sequence, and no window is shorter than it."""
    by_lengths: bool
    """There are no branches, and `fused.by_lengths` can do it."""
    changes_scores: bool
    """By a soft cap, or with sinks."""
    gathers: Callable[[], object] = bool
    """Something where `gathered` computes it, and is worth it; dear to ask."""


def way(asked: Asked) -> Way:
    """The fastest that is right."""
    if asked.twin == "reference":
        return Way.REFERENCE
    if asked.is_plain and not asked.changes_scores:
        return Way.CAUSAL
    if asked.twin == "fused":
        if asked.changes_scores:
            return Way.FLEX
        if asked.by_lengths:
            return Way.LENGTHS
        return Way.DENSE if asked.columns < SHORT else Way.FLEX
    if not asked.changes_scores and asked.gathers():
        return Way.GATHERED
    if asked.columns <= SHORT:
        return Way.REFERENCE if asked.changes_scores else Way.DENSE
    return Way.BLOCKS


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: RowMask,
    *,
    scaling: float,
    window: int = 0,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    """[R, H, L, E] in the type of `value`.

    Args:
        query: [R, H, L, E]
        key: [R, G, L, E]
        value: [R, G, L, E]
        mask: who sees whom; one for all layers.
        scaling: scores are multiplied by it.
        window: a token sees those fewer than so many places before it; 0 for all.
        softcap: bound of the scores, by a tanh; 0 for none.
        sinks: [H] score of a key that every query sees, whose value is nothing.
    """
    query, key, value = of_one_type(query, key, value)
    window = mask.narrowed(window)
    chosen = way(
        Asked(
            twin=mask.twin,
            columns=query.shape[2],
            is_plain=mask.is_plain and not window,
            by_lengths=mask.documents is not None
            and fused.takes_lengths(query, key, value, window),
            changes_scores=bool(softcap) or sinks is not None,
            gathers=partial(mask.chunks, window),
        )
    )
    if chosen is Way.CAUSAL:
        return _torchs(query, key, value, None, scaling)
    if chosen is Way.DENSE:
        return _torchs(query, key, value, mask.dense(window, query.dtype), scaling)
    if chosen is Way.GATHERED:
        return gathered.attend(query, key, value, mask.chunks(window), scaling=scaling)
    if chosen is Way.LENGTHS:
        assert mask.documents is not None
        starts, longest = mask.documents.starts, mask.documents.longest
        return fused.by_lengths(query, key, value, starts, longest, window=window, scaling=scaling)
    scores: dict[str, Any] = {"scaling": scaling, "softcap": softcap, "sinks": sinks}
    if chosen is Way.FLEX:
        return fused.flex(query, key, value, mask.blocks(window), **scores)
    if chosen is Way.REFERENCE:
        dense = mask.dense(window, query.dtype)
        return reference.dense(query, key, value, dense, **scores)
    seen: dict[str, Any] = {
        "until_RL": mask.until_RL,
        "position_RL": mask.position_RL,
        "window": window,
    }
    return by_blocks.attend(query, key, value, **seen, **scores)


def _torchs(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float
) -> Tensor:
    """By `scaled_dot_product_attention`, causal without a mask."""
    shared = bool(query.shape[1] != key.shape[1])  # a symbol, where this is being compiled
    if shared and (mask is not None or not key.shape[-1] == value.shape[-1] <= 256):
        # with a mask, shared keys would cost torch its fast kernels
        key, value = (reference.grouped(x, query.shape[1]) for x in (key, value))
        shared = False
    return F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=shared,
    )


def of_one_type(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Autocast's, which does not know of every kernel, or that of the values."""
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else value.dtype
    return query.to(dtype), key.to(dtype), value.to(dtype)
