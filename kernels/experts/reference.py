"""The definition of routing and of a mixture of experts, in as few words as possible.

Shape letters: N = tokens, W = width the experts work in, I = an expert's inner width, E = experts,
K = experts a token goes to, A = N * K assignments.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def route(logits_NE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The `top_k` largest of each row, ties to the lower index, and how often each was chosen."""
    order_NE = logits_NE.sort(dim=-1, descending=True, stable=True).indices
    ids_NK = order_NE[:, :top_k]
    return ids_NK, count(ids_NK, logits_NE.shape[-1])


def count(ids_NK: Tensor, num_experts: int, counted_N: Tensor | None = None) -> Tensor:
    """[E] int64 assignments to each expert, of the tokens that count."""
    if counted_N is not None:
        ids_NK = ids_NK[counted_N]
    return torch.bincount(ids_NK.flatten(), minlength=num_experts)


def experts(
    x_NW: Tensor,
    gate_up_EIW: Tensor,
    down_EWI: Tensor,
    ids_NK: Tensor,
    gates_NK: Tensor,
    round_tokens: int = 0,  # noqa: ARG001 - the definition computes nothing at once anyway
) -> Tensor:
    """Expert by expert, add its answers to the tokens that chose it."""
    out_NW = torch.zeros(x_NW.shape, dtype=wide(x_NW.dtype), device=x_NW.device)
    for expert in range(len(gate_up_EIW)):
        token, place = (ids_NK == expert).nonzero(as_tuple=True)
        answer = F.linear(gated(F.linear(x_NW[token], gate_up_EIW[expert])), down_EWI[expert])
        weighted = answer.to(out_NW.dtype) * gates_NK[token, place, None]
        out_NW = out_NW.index_add(0, token, weighted)
    return out_NW


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of a fused product, [..., 2 * I] to [..., I]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def wide(dtype: torch.dtype) -> torch.dtype:
    """In which sums are taken: float32, or float64 where the operands are."""
    return torch.promote_types(dtype, torch.float32)
