"""Top-k, counts and a counting sort, without atomics and without asking the GPU for a number.

    scores ──► one program a few rows: K times the largest, of equal ones the first
    ids ──► one program a block of assignments: how many to each expert
        ──► one program some experts: how many in the blocks before each
        ──► one program a block: each assignment's place = those before it in the order

Integers are added in a fixed order by design, not only by luck: nothing here depends on which
program runs first.

Shape letters: N = tokens, E = experts, K = experts a token goes to, A = N * K assignments, B =
blocks of assignments.
"""

# Triton's functions are its own language
# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 128
"""Assignments that one program counts and ranks."""
CHUNK = 64
"""Experts whose counts a program holds at once."""
BLOCKS = 64
"""Blocks whose counts a program holds at once."""
SCORES = 2048
"""Scores that one program holds in registers."""

TAKEN = tl.constexpr(-(2**31))
LARGEST = tl.constexpr(2**31 - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    """Assignments by expert, in a token's order within an expert."""

    order: Tensor
    """int32: which assignment (n * K + k) lies at each place."""
    places: Tensor
    """int32: where each assignment lies."""
    sizes: Tensor
    """int32"""
    ends: Tensor
    """int32: one past each expert's last place."""

    @property
    def starts(self) -> Tensor:
        """int32: each expert's first place."""
        return self.ends - self.sizes


def route(logits_NE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The `top_k` largest of each row, ties to the lower index, and how often each was chosen."""
    N, E = logits_NE.shape
    logits_NE = logits_NE.detach().to(torch.float32).contiguous()
    ids_NK = torch.empty((N, top_k), dtype=torch.int64, device=logits_NE.device)
    width = triton.next_power_of_2(E)
    rows = max(1, SCORES // width)
    if N:
        _top_k[(triton.cdiv(N, rows),)](
            logits_NE, ids_NK, N, E, K=top_k, ROWS=rows, WIDTH=width, num_warps=4
        )
    return ids_NK, count(ids_NK, E)


def count(ids_NK: Tensor, num_experts: int, counted_N: Tensor | None = None) -> Tensor:
    """[E] int64 assignments to each expert, of the tokens that count."""
    if counted_N is not None:
        ids_NK = torch.where(counted_N[:, None], ids_NK, -1)
    return _block_counts(ids_NK.contiguous(), num_experts).sum(0)


def by_expert(ids_NK: Tensor, num_experts: int) -> Sorted:
    """Sort assignments by counting: stable, so within an expert tokens keep their order."""
    ids_NK = ids_NK.contiguous()
    A = ids_NK.numel()
    counts_BE = _block_counts(ids_NK, num_experts)
    sizes_E = torch.empty(num_experts, dtype=torch.int32, device=ids_NK.device)
    _before[(triton.cdiv(num_experts, CHUNK),)](
        counts_BE, sizes_E, len(counts_BE), num_experts, BLOCKS=BLOCKS, CHUNK=CHUNK, num_warps=4
    )
    ends_E = sizes_E.cumsum(0, dtype=torch.int32)
    order_A = torch.empty(A, dtype=torch.int32, device=ids_NK.device)
    places_NK = torch.empty(ids_NK.shape, dtype=torch.int32, device=ids_NK.device)
    if A:
        _place[(len(counts_BE),)](
            ids_NK, counts_BE, sizes_E, ends_E, order_A, places_NK, A, num_experts,
            BLOCK=BLOCK, num_warps=4,
        )  # fmt: skip
    return Sorted(order=order_A, places=places_NK, sizes=sizes_E, ends=ends_E)


def _block_counts(ids_NK: Tensor, num_experts: int) -> Tensor:
    """[B, E] int32 assignments to each expert of each block."""
    A = ids_NK.numel()
    num_blocks = triton.cdiv(A, BLOCK)
    counts_BE = torch.empty((num_blocks, num_experts), dtype=torch.int32, device=ids_NK.device)
    if A:
        _count[(num_blocks,)](
            ids_NK, counts_BE, A, num_experts, BLOCK=BLOCK, CHUNK=CHUNK, num_warps=4
        )
    return counts_BE


# numbers of tokens change from batch to batch: no kernel is compiled anew for one that 16 divides
@triton.jit(do_not_specialize=["num_rows"])
def _top_k(
    logits, ids, num_rows, num_experts, K: tl.constexpr, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    expert = tl.arange(0, WIDTH)
    is_row = row < num_rows
    at = row[:, None].to(tl.int64) * num_experts + expert[None, :]
    score = tl.load(logits + at, is_row[:, None] & (expert < num_experts)[None, :], other=0.0)
    # integers in the order of the numbers, so that what is taken is below the least of them
    score = tl.where(score == 0.0, 0.0, score)  # one zero
    bits = score.to(tl.int32, bitcast=True)
    key = tl.where(bits < 0, bits ^ LARGEST, bits)
    key = tl.where(score != score, LARGEST, key)
    key = tl.where((expert < num_experts)[None, :], key, TAKEN)
    for k in tl.static_range(K):
        best = tl.max(key, axis=1)
        is_best = key == best[:, None]
        chosen = tl.min(tl.where(is_best, expert[None, :], WIDTH), axis=1)
        tl.store(ids + row.to(tl.int64) * K + k, chosen.to(tl.int64), is_row)
        key = tl.where(expert[None, :] == chosen[:, None], TAKEN, key)


@triton.jit(do_not_specialize=["num_ids"])
def _count(ids, counts, num_ids, num_experts, BLOCK: tl.constexpr, CHUNK: tl.constexpr):
    block = tl.program_id(0)
    at = block * BLOCK + tl.arange(0, BLOCK)
    expert_of = tl.load(ids + at, at < num_ids, other=-1).to(tl.int32)
    for start in range(0, num_experts, CHUNK):
        expert = start + tl.arange(0, CHUNK)
        is_its = (expert[:, None] == expert_of[None, :]).to(tl.int32)
        tl.store(
            counts + block.to(tl.int64) * num_experts + expert,
            tl.sum(is_its, axis=1),
            expert < num_experts,
        )


@triton.jit(do_not_specialize=["num_blocks"])
def _before(counts, sizes, num_blocks, num_experts, BLOCKS: tl.constexpr, CHUNK: tl.constexpr):
    """Each block's counts become those of the blocks before it."""
    expert = tl.program_id(0) * CHUNK + tl.arange(0, CHUNK)
    is_expert = expert < num_experts
    total = tl.zeros((CHUNK,), dtype=tl.int32)
    for start in range(0, num_blocks, BLOCKS):
        block = start + tl.arange(0, BLOCKS)
        at = block.to(tl.int64)[:, None] * num_experts + expert[None, :]
        is_in = (block < num_blocks)[:, None] & is_expert[None, :]
        count = tl.load(counts + at, is_in, other=0)
        so_far = tl.cumsum(count, axis=0)
        tl.store(counts + at, so_far - count + total[None, :], is_in)
        total += tl.sum(count, axis=0)
    tl.store(sizes + expert, total, is_expert)


@triton.jit(do_not_specialize=["num_ids"])
def _place(
    ids, before, sizes, ends, order, places, num_ids, num_experts, BLOCK: tl.constexpr
):  # fmt: skip
    block = tl.program_id(0)
    here = tl.arange(0, BLOCK)
    at = block * BLOCK + here
    is_id = at < num_ids
    expert = tl.load(ids + at, is_id, other=-1).to(tl.int32)
    # a row again, loaded and not turned: cheaper than moving it between threads
    other = tl.load(ids + at, is_id, other=-1).to(tl.int32)
    is_before = (expert[:, None] == other[None, :]) & (here[None, :] < here[:, None])
    rank = tl.sum(is_before.to(tl.int32), axis=1)
    first = tl.load(ends + expert, is_id, other=0) - tl.load(sizes + expert, is_id, other=0)
    earlier = tl.load(before + block.to(tl.int64) * num_experts + expert, is_id, other=0)
    place = first + earlier + rank
    tl.store(places + at, place, is_id)
    tl.store(order + place, at, is_id)
