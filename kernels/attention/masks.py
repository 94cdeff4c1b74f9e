"""Which blocks of queries see which blocks of keys, without a mask of all pairs.

FlexAttention skips blocks that nobody sees, and asks of no token in those that all see. Both are
read off the smallest and largest `until` of each block; under a window, where a block's first
queries may see what its last ones no longer do, off each key's own `until` besides.

Shape letters: R = rows, L = columns, I = blocks of queries, J = blocks of keys, B = 128.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.attention.flex_attention import BlockMask

BLOCK = 128
FAR = 2**30
"""Beyond every position."""


def seen_blocks(
    until_RL: Tensor, position_RL: Tensor | None = None, window: int = 0
) -> tuple[Tensor, Tensor]:
    """[R, I, J] bool twice: some query of the block sees some key of the other; all see all.

    A block that the end of the row cuts short is never all. Nothing waits for the device.

    Args:
        until_RL: see `reference.visible`; of every token beyond itself, and at most L.
        position_RL: wanted where there is a window.
        window: 0 for none.
    """
    until_RJB = _blocks(until_RL, 0)
    num_blocks = until_RJB.shape[1]
    start_I = torch.arange(num_blocks, device=until_RL.device)[:, None] * BLOCK
    start_J = start_I[:, 0]
    before_IJ = start_J < start_I
    # a query sees a key before it while what follows that key has not ended
    some = before_IJ & (until_RJB.amax(-1)[:, None] > start_I)
    everyone = before_IJ & (until_RJB.amin(-1)[:, None] >= start_I + BLOCK)
    if window:
        assert position_RL is not None, "a window goes by positions"
        since_RIB = _blocks(position_RL - window, FAR)
        near = _some_in_window(until_RL, position_RL, since_RIB, start_I)
        some = before_IJ & near.view(*near.shape[:2], num_blocks, BLOCK).any(-1)
        latest_RI = torch.where(since_RIB < FAR - window, since_RIB, -FAR).amax(-1)
        everyone &= _blocks(position_RL, FAR).amin(-1)[:, None] > latest_RI[..., None]
    # of its own block every token sees itself
    return some | (start_J == start_I), everyone


def _some_in_window(
    until_RL: Tensor, position_RL: Tensor, since_RIB: Tensor, start_I: Tensor
) -> Tensor:
    """[R, I, J * B] bool: some query of the block sees that key, the block's order put aside.

    A key is seen by a block's queries from its first one on until its `until`, so it is enough that
    it lies in the widest reach of those.
    """
    reach_RIB = since_RIB.cummin(-1).values
    last_RL = until_RL.long() - 1
    of_last_RL = reach_RIB.flatten(1).gather(1, last_RL.clamp(min=0))
    ends_here = start_I // BLOCK == (last_RL // BLOCK)[:, None]
    whole = (until_RL[:, None] >= start_I + BLOCK) & (
        position_RL[:, None] > reach_RIB[..., -1][..., None]
    )
    near = whole | (ends_here & (position_RL > of_last_RL)[:, None])
    return F.pad(near, (0, reach_RIB.shape[1] * BLOCK - until_RL.shape[1]))


def block_mask(
    until_RL: Tensor, *, position_RL: Tensor | None = None, window: int = 0
) -> BlockMask:
    """What `create_block_mask` would make of the same rule, in O(L) memory where it takes O(L^2).

    With a window O(L^2 / 128), in bits of a byte.

    Args:
        until_RL: int32, see `reference.visible`; of every token beyond itself, and at most L.
        position_RL: int32, wanted where there is a window.
        window: a token sees those fewer than so many places before it; 0 for all.

    Returns:
        Its heads are one that all share.

    Example:
        block_mask(torch.tensor([[6, 6, 4, 4, 6, 6]], dtype=torch.int32))
    """
    some, everyone = (dense[:, None] for dense in seen_blocks(until_RL, position_RL, window))
    part = some & ~everyone
    length = until_RL.shape[1]
    (kv_num, kv), (full_kv_num, full_kv) = _ordered(part), _ordered(everyone)
    part, everyone = part.transpose(-1, -2), everyone.transpose(-1, -2)
    (q_num, q), (full_q_num, full_q) = _ordered(part), _ordered(everyone)
    return BlockMask(
        seq_lengths=(length, length),
        kv_num_blocks=kv_num,
        kv_indices=kv,
        full_kv_num_blocks=full_kv_num,
        full_kv_indices=full_kv,
        q_num_blocks=q_num,
        q_indices=q,
        full_q_num_blocks=full_q_num,
        full_q_indices=full_q,
        BLOCK_SIZE=(BLOCK, BLOCK),
        mask_mod=rule(until_RL, position_RL, window),
    )


def rule(
    until_RL: Tensor, position_RL: Tensor | None = None, window: int = 0
) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """`reference.visible` as FlexAttention asks it: of one row, head, query and key.

    A window stands in a tensor of its own, for a number would be compiled in.
    """

    def sees(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key <= query) & (query < until_RL[row, key])

    if not window:
        return sees
    assert position_RL is not None, "a window goes by positions"
    since_RL = position_RL - window

    def sees_near(row: Tensor, _: Tensor, query: Tensor, key: Tensor) -> Tensor:
        near = position_RL[row, key] > since_RL[row, query]
        return (key <= query) & (query < until_RL[row, key]) & near

    return sees_near


def _blocks(x_RL: Tensor, padding: int) -> Tensor:
    """[R, L] to [R, J, B]"""
    padded = F.pad(x_RL, (0, -x_RL.shape[1] % BLOCK), value=padding)
    return padded.view(len(x_RL), -1, BLOCK)


def _ordered(dense: Tensor) -> tuple[Tensor, Tensor]:
    """How many are true in each line, and their columns, before those of the others."""
    number = dense.to(torch.int32)
    order = number.argsort(dim=-1, descending=True, stable=True)
    return number.sum(-1, dtype=torch.int32), order.to(torch.int32).contiguous()
