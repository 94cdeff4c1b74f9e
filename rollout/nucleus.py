"""Top-k, then top-p, then one draw: the sampling rule both engines share.

Shape letters: B = sequences, V = vocabulary, K = candidates.

The rule works on the K largest logits alone, so the whole vocabulary is never sorted, and the
tokens it samples from are exactly the ones it reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Nucleus(NamedTuple):
    """What a position may sample from."""

    ids: Tensor
    """[B, K] int64 vocabulary ids, most probable first."""
    logp: Tensor
    """[B, K] float32, renormalised over the nucleus; -inf outside it; finite ones lead."""


def nucleus(logits_BV: Tensor, temperature_B: Tensor, top_k_B: Tensor, top_p_B: Tensor) -> Nucleus:
    """Keep the `top_k` largest logits, then the fewest of these whose mass reaches `top_p`.

    Mass is counted after top-k, as a share of what top-k left (report, section 3.1.2: a token
    leaves when those above it already hold `top_p`). Of equal logits either may be kept.

    Args:
        logits_BV: any float dtype; computed in float32.
        temperature_B: > 0.
        top_k_B: int64 in [1, V]; its maximum is K.
        top_p_B: in (0, 1]; 1 is no limit.
    """
    K = int(top_k_B.max())
    top_BK, ids_BK = logits_BV.float().topk(K, dim=-1)
    top_BK = top_BK / temperature_B.float()[:, None]
    rank_K = torch.arange(K, device=logits_BV.device)
    top_BK = top_BK.masked_fill(rank_K >= top_k_B[:, None], float("-inf"))
    p_BK = top_BK.softmax(-1)
    above_BK = p_BK.cumsum(-1) - p_BK
    # a limit of 1 keeps candidates whose predecessors round up to all the mass there is
    out_BK = (above_BK >= top_p_B[:, None]) & (top_p_B < 1)[:, None]
    out_BK[:, 0] = False
    top_BK = top_BK.masked_fill(out_BK, float("-inf"))
    return Nucleus(ids_BK, top_BK.log_softmax(-1))


BLOCK = 256
"""Candidates that are added up together where there are many."""
AT_ONCE = 1 << 20
"""Logits of a whole vocabulary that are worked on at once, on a CPU."""


def draw(logp_BK: Tensor, uniform_B: Tensor) -> Tensor:
    """[B, 1] int64: the candidate of its row that each uniform number in [0, 1) hits.

    Accumulated in float64, so that a candidate of any recorded probability can be hit. A candidate
    at -inf never is. Of many candidates blocks are hit first, and then one of a block's.
    """
    if logp_BK.shape[1] <= 2 * BLOCK:
        mass_BK = logp_BK.double().exp().cumsum(-1)
        return _hit(mass_BK, uniform_B[:, None] * mass_BK[:, -1:])
    p_BK = logp_BK.exp()
    if missing := -p_BK.shape[1] % BLOCK:
        p_BK = F.pad(p_BK, (0, missing))
    p_BNb = p_BK.view(len(p_BK), -1, BLOCK)
    mass_BN = F.pad(p_BNb.sum(-1).double().cumsum(-1), (1, 0))
    target_B1 = uniform_B[:, None] * mass_BN[:, -1:]
    block_B1 = _hit(mass_BN[:, 1:], target_B1)
    below_B1, above_B1 = mass_BN.gather(1, block_B1), mass_BN.gather(1, block_B1 + 1)
    p_Bb = p_BNb[torch.arange(len(p_BNb), device=p_BNb.device), block_B1[:, 0]]
    mass_Bb = p_Bb.double().cumsum(-1)
    # the block's share of the target, of a sum that differs from the first one's in its last bits
    share_B1 = (target_B1 - below_B1) / (above_B1 - below_B1)
    return block_B1 * BLOCK + _hit(mass_Bb, share_B1 * mass_Bb[:, -1:])


def _hit(mass_BK: Tensor, target_B1: Tensor) -> Tensor:
    """[B, 1] the first place whose accumulated mass lies beyond the target; never one of none."""
    mass_BK = mass_BK.contiguous()
    last_B1 = torch.searchsorted(mass_BK, mass_BK[:, -1:].contiguous())
    return torch.searchsorted(mass_BK, target_B1, right=True).minimum(last_B1)


class Draws(NamedTuple):
    """One token for every row, and what it was drawn from."""

    token: Tensor
    """[B] int64"""
    logp: Tensor
    """[B] float32, of that token, renormalised over its nucleus."""
    candidates: Tensor
    """[B, K] int64; those with a finite entry in `candidate_logp` are the nucleus."""
    candidate_logp: Tensor
    """[B, K] float32; a row that sampled from the whole vocabulary is -inf throughout."""


def sample(
    logits_BV: Tensor,
    temperature_B: Tensor,
    top_k_B: Tensor,
    top_p_B: Tensor,
    uniform_B: Tensor,
) -> Draws:
    """Sample every row by its own rule; a row's result does not depend on the other rows.

    Args:
        logits_BV: [B, V].
        temperature_B: > 0.
        top_k_B: int64 in [1, V]; V is no limit.
        top_p_B: in (0, 1]; 1 is no limit.
        uniform_B: float64 in [0, 1), the only source of chance.
    """
    B, V = logits_BV.shape
    wide_B = (top_k_B >= V) & (top_p_B >= 1)
    K = int(torch.where(wide_B, 1, top_k_B).max())
    token_B = torch.empty(B, dtype=torch.int64, device=logits_BV.device)
    logp_B = torch.empty(B, dtype=torch.float32, device=logits_BV.device)
    ids_BK = torch.zeros(B, K, dtype=torch.int64, device=logits_BV.device)
    logp_BK = torch.full((B, K), float("-inf"), device=logits_BV.device)
    wide, narrow = wide_B.nonzero().squeeze(-1), (~wide_B).nonzero().squeeze(-1)
    # a few rows at a time: what is made of them stays in the processor's cache
    step = B if logits_BV.is_cuda else max(1, AT_ONCE // V)
    for start in range(0, len(wide), step):
        rows = wide[start : start + step]
        scaled = logits_BV[rows].float() / temperature_B[rows].float()[:, None]
        logp = scaled.log_softmax(-1)
        place = draw(logp, uniform_B[rows])
        token_B[rows], logp_B[rows] = place.squeeze(-1), logp.gather(-1, place).squeeze(-1)
    if len(narrow):
        kept = nucleus(
            logits_BV if len(narrow) == B else logits_BV[narrow],
            temperature_B[narrow],
            top_k_B[narrow],
            top_p_B[narrow],
        )
        place = draw(kept.logp, uniform_B[narrow])
        token_B[narrow] = kept.ids.gather(-1, place).squeeze(-1)
        logp_B[narrow] = kept.logp.gather(-1, place).squeeze(-1)
        ids_BK[narrow, : kept.ids.shape[-1]] = kept.ids
        logp_BK[narrow, : kept.ids.shape[-1]] = kept.logp
    return Draws(token_B, logp_B, ids_BK, logp_BK)


def uniforms(streams: Iterable[torch.Generator]) -> Tensor:
    """(B,) float64 in [0, 1), the next number of each request's own stream."""
    return torch.cat([torch.rand(1, generator=g, dtype=torch.float64) for g in streams])
