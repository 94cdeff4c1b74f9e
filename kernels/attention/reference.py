"""What attention over trees is: every pair of tokens written out.

A token sees itself and, of those before it in its row, the ones whose `until` lies beyond it: what
they are followed by has not ended yet. Documents end to end are trees without branches.

    0 1 2 3 4 5 6 7 8 9
    p p p a a a b b b b      until = 10 10 10 6 6 6 10 10 10 10: a prompt and two replies

Shape letters: R = rows, L = columns, Q and K = some of them, H = heads, G = key and value heads,
E = width of a head.
"""

from __future__ import annotations

import torch
from torch import Tensor


def visible(
    until_RL: Tensor,
    position_RL: Tensor | None = None,
    window: int = 0,
    *,
    queries: slice | Tensor = slice(None),
    keys: slice | Tensor = slice(None),
) -> Tensor:
    """[R, Q, K] bool: which keys each query sees.

    Args:
        until_RL: the column at which what follows a token ends.
        position_RL: tokens before each on its own way; wanted where there is a window.
        window: a token sees those fewer than so many places before it; 0 for all.
        queries: columns.
        keys: columns.
    """
    at_L = torch.arange(until_RL.shape[1], device=until_RL.device)
    at_Q, at_K = at_L[queries][:, None], at_L[keys]
    seen = (at_Q >= at_K) & (at_Q < until_RL[:, None, keys])
    if window:
        assert position_RL is not None, "a window goes by positions"
        since = position_RL[:, queries, None] - position_RL[:, None, keys]
        seen &= since < window
    return seen


def added(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """[R, 1, Q, K] what is added to scores: 0 where a token may look, else the minimum."""
    mask = torch.zeros(seen.shape, dtype=dtype, device=seen.device)
    return mask.masked_fill_(~seen, torch.finfo(dtype).min)[:, None]


def tree_mask(until_RL: Tensor, dtype: torch.dtype) -> Tensor:
    """[R, 1, L, L] the whole mask, to be added to scores."""
    return added(visible(until_RL), dtype)


def grouped(x: Tensor, num_heads: int) -> Tensor:
    """[R, G, K, E] to [R, H, K, E]: each key head as often as queries share it."""
    rows, groups, columns, width = x.shape
    if groups == num_heads:
        return x
    spread = x[:, :, None].expand(rows, groups, num_heads // groups, columns, width)
    return spread.reshape(rows, num_heads, columns, width)


def dense(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    *,
    scaling: float,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
) -> Tensor:
    """[R, H, Q, E] by the definition; all scores stand in memory.

    Args:
        query: [R, H, Q, E]
        key: [R, G, K, E]
        value: [R, G, K, E]
        mask: bool, or added to scores; broadcast to [R, H, Q, K].
        scaling: scores are multiplied by it.
        softcap: bound of the scores, by a tanh; 0 for none.
        sinks: [H] score of a key that every query sees, whose value is nothing.
    """
    key, value = grouped(key, query.shape[1]), grouped(value, query.shape[1])
    scores = query @ key.transpose(-1, -2) * scaling
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if mask is not None:
        if mask.dtype == torch.bool:
            scores = scores.masked_fill(~mask, -torch.inf)
        else:
            scores = scores + mask.to(scores.dtype)
    scores = scores.float() if scores.dtype != torch.float64 else scores
    if sinks is None:
        return torch.softmax(scores, dim=-1).to(value.dtype) @ value
    sink = sinks.to(scores.dtype).view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
    weights = torch.softmax(torch.cat([scores, sink], dim=-1), dim=-1)[..., :-1]
    return weights.to(value.dtype) @ value
