"""Attention with a mask where FlexAttention cannot run: some queries at a time.

Never more than [R, 1, 512, L] of a mask stands in memory, forward or backward, and keys that no
query of a block sees take no part in its products.

Shape letters: as in `reference`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from munro.kernels.attention import reference
from munro.kernels.attention.masks import BLOCK, seen_blocks

QUERIES = 4 * BLOCK
"""At a time."""


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    until_RL: Tensor,
    position_RL: Tensor,
    window: int,
    scaling: float,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    """[R, H, L, E]; arguments as `reference.dense` and `reference.visible` have them."""
    length = query.shape[2]
    keys_of = _keys(until_RL, position_RL, window, on_host=query.device.type == "cpu")

    def some(query: Tensor, key: Tensor, value: Tensor, start: int, keys: slice | Tensor) -> Tensor:
        queries = slice(start, start + query.shape[2])
        seen = reference.visible(until_RL, position_RL, window, queries=queries, keys=keys)
        key, value = key[:, :, keys], value[:, :, keys]
        if softcap or sinks is not None:
            return reference.dense(
                query, key, value, seen[:, None], scaling=scaling, softcap=softcap, sinks=sinks
            )
        return F.scaled_dot_product_attention(
            query,
            reference.grouped(key, query.shape[1]),
            reference.grouped(value, query.shape[1]),
            attn_mask=reference.added(seen, query.dtype),
            scale=scaling,
        )

    parts = []
    for number, start in enumerate(range(0, length, QUERIES)):
        own = query[:, :, start : start + QUERIES]
        given = (own, key, value, start, keys_of[number])
        # the mask is made anew for the backward pass: kept, all of them were the whole one
        parts.append(
            checkpoint(some, *given, use_reentrant=False, preserve_rng_state=False)
            if torch.is_grad_enabled()
            else some(*given)
        )
    return torch.cat(parts, dim=2)


def _keys(
    until_RL: Tensor, position_RL: Tensor, window: int, *, on_host: bool
) -> list[slice | Tensor]:
    """Of each block of queries the columns that some of them see, a slice where it can be.

    Elsewhere than on the host, where it would wait for the device to tell, all up to its end.
    """
    length = until_RL.shape[1]
    ends = [min(start + QUERIES, length) for start in range(0, length, QUERIES)]
    if not on_host:
        return [slice(0, end) for end in ends]
    some_IJ = seen_blocks(until_RL, position_RL, window)[0].any(0)
    found: list[slice | Tensor] = []
    for number, end in enumerate(ends):
        rows = some_IJ[number * QUERIES // BLOCK : -(-end // BLOCK)]
        blocks = rows.any(0).nonzero().flatten().tolist()
        if blocks == list(range(blocks[0], blocks[-1] + 1)):
            found.append(slice(blocks[0] * BLOCK, min((blocks[-1] + 1) * BLOCK, length)))
            continue
        columns = [torch.arange(one * BLOCK, min((one + 1) * BLOCK, length)) for one in blocks]
        found.append(torch.cat(columns))
    return found
