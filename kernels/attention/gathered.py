"""Attention on the CPU of a few queries at a time over the keys that they see, gathered.

Replies to one prompt see it and themselves: with many of them that is a small part of a row's
pairs. Products of many small matrices leave the others out, and queries whose heads share keys are
rows of one matrix.

Shape letters: as in `reference`; N = R * L tokens, B = blocks of queries, M = H / G.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

QUERIES = 64
"""Of a block at most: the more, the more pairs that nobody sees."""
PAIRS = 1 << 16
"""Of a chunk, about: what stands in memory at once, times the heads."""
GROWTH = 1.25
"""The most keys of a chunk's blocks by the fewest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Blocks of about as many keys, computed at once; a block's padding repeats its first token."""

    queries: Tensor
    """[B, Q] which of the N tokens."""
    keys: Tensor
    """[B, K]"""
    hidden: Tensor
    """[B, Q, K] bool: the query does not see the key. No query sees nothing."""
    absent: Tensor
    """[B, Q] bool: padding."""
    is_full: bool
    """Nothing is padding."""


def plan(
    until_RL: Tensor, position_RL: Tensor, window: int = 0, *, most_pairs: float = math.inf
) -> tuple[Chunk, ...]:
    """Every query of some rows in one block; nothing where that would be too many pairs.

    Args:
        until_RL: this and the next two as `reference.visible` has them.
        position_RL: places.
        window: 0 for none.
        most_pairs: a byte of memory each.
    """
    blocks: list[_Block] = []
    pairs = 0
    for row, (until_L, position_L) in enumerate(
        zip(until_RL.numpy(), position_RL.numpy(), strict=True)
    ):
        for block in _blocks(until_L, position_L, window, row * until_RL.shape[1]):
            blocks.append(block)
            pairs += block.hidden.size
            if pairs > most_pairs:
                return ()
    return tuple(map(_chunk, _alike(blocks)))


def num_pairs(chunks: Sequence[Chunk]) -> int:
    """That are computed, those included which nobody sees."""
    return sum(chunk.hidden.numel() for chunk in chunks)


def attend(
    query: Tensor, key: Tensor, value: Tensor, chunks: tuple[Chunk, ...], *, scaling: float
) -> Tensor:
    """[R, H, L, E]; arguments as `reference.dense` has them.

    Scores and sums are float32 at least, and nothing of them is kept for the backward pass.
    """
    mixed: Tensor = _Gathered.apply(query, key, value, chunks, scaling)  # type: ignore[no-untyped-call]
    return mixed


class _Gathered(torch.autograd.Function):
    """Weights are computed anew where their gradient is wanted, as flash attention does."""

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, chunks: tuple[Chunk, ...], scale: float
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.chunks, ctx.scale = chunks, scale
        groups = key.shape[1]
        queries, keys, values = (_by_group(x, groups) for x in (query, key, value))
        mixed = queries.new_zeros(len(queries), query.shape[1] // groups * value.shape[-1])
        with torch.autocast("cpu", enabled=False):
            for chunk in chunks:
                own, seen = _taken(queries, chunk.queries, key), _taken(keys, chunk.keys, key)
                weights = _weights(own, seen, chunk, groups, scale).to(value.dtype)
                product = torch.bmm(weights, _taken(values, chunk.keys, value))
                _add(mixed, chunk.queries, _present(product, chunk, groups), groups)
        return _by_head(mixed, query.shape, value.shape[-1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        groups = key.shape[1]
        queries, keys, values, grads = (_by_group(x, groups) for x in (query, key, value, grad))
        # a key is in many blocks: what they add up to is rounded once
        of_queries = torch.zeros_like(queries)
        of_keys, of_values = (torch.zeros(x.shape, dtype=_exact(x.dtype)) for x in (keys, values))
        with torch.autocast("cpu", enabled=False):
            for chunk in ctx.chunks:
                own, seen = _taken(queries, chunk.queries, key), _taken(keys, chunk.keys, key)
                weights = _weights(own, seen, chunk, groups, ctx.scale)
                above = _present(_taken(grads, chunk.queries, value), chunk, groups)
                carried = _taken(values, chunk.keys, value)
                of_value = torch.bmm(weights.to(value.dtype).transpose(1, 2), above)
                _add(of_values, chunk.keys, of_value, groups)
                of_weights = torch.bmm(above, carried.transpose(1, 2)).to(weights.dtype)
                of_scores = _through_softmax(of_weights, weights).mul_(ctx.scale).to(query.dtype)
                _add(of_queries, chunk.queries, torch.bmm(of_scores, seen), groups)
                _add(of_keys, chunk.keys, torch.bmm(of_scores.transpose(1, 2), own), groups)
        return (
            _by_head(of_queries, query.shape, query.shape[-1]),
            _by_head(of_keys.to(key.dtype), key.shape, key.shape[-1]),
            _by_head(of_values.to(value.dtype), value.shape, value.shape[-1]),
            None,
            None,
        )


def _exact(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _weights(own: Tensor, seen: Tensor, chunk: Chunk, groups: int, scale: float) -> Tensor:
    """[B * G, Q * M, K], float32 at least."""
    exact = _exact(own.dtype)
    scores = torch.bmm(own.to(exact) * scale, seen.to(exact).transpose(1, 2))
    blocks, queries, keys = chunk.hidden.shape
    by_query = scores.view(blocks, groups, queries, -1, keys)
    by_query.masked_fill_(chunk.hidden[:, None, :, None], -torch.inf)
    return torch.softmax(scores, dim=-1)


def _through_softmax(of_weights: Tensor, weights: Tensor) -> Tensor:
    of_scores = of_weights.mul_(weights)
    return of_scores.sub_(weights * of_scores.sum(-1, keepdim=True))


def _by_group(x: Tensor, groups: int) -> Tensor:
    """[R, H, L, E] to [N * G, M * E]: a token's heads that share a key are one line."""
    return x.transpose(1, 2).reshape(x.shape[0] * x.shape[2] * groups, -1)


def _by_head(x: Tensor, shape: torch.Size, width: int) -> Tensor:
    """And back."""
    rows, heads, columns, _ = shape
    return x.view(rows, columns, heads, width).transpose(1, 2)


def _lines(token_BX: Tensor, groups: int) -> Tensor:
    """[B * G * X] where in [N * G] the tokens of each block lie, group by group."""
    return (token_BX[:, None] * groups + torch.arange(groups)[:, None]).flatten()


def _taken(x: Tensor, token_BX: Tensor, like: Tensor) -> Tensor:
    """[B * G, X * M, E] of those tokens; groups and E as `like` has them."""
    groups, width = like.shape[1], like.shape[-1]
    taken = x.index_select(0, _lines(token_BX, groups))
    return taken.view(len(token_BX) * groups, -1, width)


def _present(x: Tensor, chunk: Chunk, groups: int) -> Tensor:
    """[B * G, Q * M, E] with nothing where there is only padding."""
    if not chunk.is_full:
        blocks, queries = chunk.absent.shape
        by_query = x.view(blocks, groups, queries, -1)
        by_query.masked_fill_(chunk.absent[:, None, :, None], 0.0)
    return x


def _add(total: Tensor, token_BX: Tensor, x: Tensor, groups: int) -> None:
    """To the lines of those tokens."""
    lines = _lines(token_BX, groups)
    total.index_add_(0, lines, x.reshape(len(lines), -1).to(total.dtype))


@dataclass(frozen=True, slots=True)
class _Block:
    queries: NDArray[np.int64]
    keys: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    """(Q, K)"""


def _blocks(
    until_L: NDArray[np.int32], position_L: NDArray[np.int32], window: int, base: int
) -> Iterator[_Block]:
    """Of one row. Tokens of a block follow one another, so its first one's past is everyone's."""
    # where one does not follow the one before it, another branch or document begins
    starts = np.flatnonzero(np.append(True, until_L[:-1] <= np.arange(1, len(until_L))))
    for run_start, run_end in zip(starts, [*starts[1:], len(until_L)], strict=True):
        number = -(-(run_end - run_start) // QUERIES)
        edges = np.linspace(run_start, run_end, number + 1).astype(np.int64)
        for start, end in pairwise(edges):
            sees = until_L[:start] > start
            if window:
                sees &= position_L[start] - position_L[:start] < window
            query_Q = np.arange(start, end)
            key_K = np.append(np.flatnonzero(sees), query_Q)
            hidden_QK = key_K > query_Q[:, None]
            if window:
                hidden_QK |= position_L[query_Q][:, None] - position_L[key_K] >= window
            yield _Block(base + query_Q, base + key_K, hidden_QK)


def _alike(blocks: list[_Block]) -> Iterator[list[_Block]]:
    """Blocks of about as many keys, as many together as `PAIRS` allows."""
    chosen: list[_Block] = []
    for block in sorted(blocks, key=lambda block: (len(block.keys), len(block.queries))):
        keys = len(block.keys)
        pairs = (len(chosen) + 1) * QUERIES * keys
        if chosen and (pairs > PAIRS or keys > GROWTH * len(chosen[0].keys)):
            yield chosen
            chosen = []
        chosen.append(block)
    yield chosen


def _chunk(blocks: Sequence[_Block]) -> Chunk:
    queries = max(len(block.queries) for block in blocks)
    keys = max(len(block.keys) for block in blocks)
    query_BQ, key_BK = (
        np.tile([[block.queries[0]] for block in blocks], width) for width in (queries, keys)
    )
    hidden_BQK = np.ones((len(blocks), queries, keys), np.bool_)
    absent_BQ = np.ones((len(blocks), queries), np.bool_)
    for number, block in enumerate(blocks):
        query_BQ[number, : len(block.queries)] = block.queries
        key_BK[number, : len(block.keys)] = block.keys
        hidden_BQK[number, : len(block.queries), : len(block.keys)] = block.hidden
        hidden_BQK[number, len(block.queries) :, 0] = False  # what it sees, nobody asks
        absent_BQ[number, : len(block.queries)] = False
    return Chunk(
        queries=torch.from_numpy(query_BQ),
        keys=torch.from_numpy(key_BK),
        hidden=torch.from_numpy(hidden_BQK),
        absent=torch.from_numpy(absent_BQ),
        is_full=not absent_BQ.any(),
    )
