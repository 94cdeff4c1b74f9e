"""Mixtures of experts: routing, and every token through the experts that it chose.

    logits ──► route ──► ids, counts
    x, ids, gates ──► experts ──► gated sum of each token's experts

    reference.py   the definition
    grouped.py     torch operators, one expert after another: any device
    fused.py       NVIDIA's GPUs: a counting sort, grouped products, sums by places, in Triton

Each adds in an order of its own that never changes, so a run repeats bit for bit; on a GPU only
`grouped` makes the host wait. torch.compile leaves all of it as it is: its kernels are there.

Shape letters: N = tokens, W = width the experts work in, I = an expert's inner width, E = experts,
K = experts a token goes to.
"""

from __future__ import annotations

from types import ModuleType

import torch
from torch import Tensor

from munro.kernels.dispatch import twin
from munro.kernels.experts import grouped, reference

TWINS = ("reference", "plain", "fused")

__all__ = ["TWINS", "count", "experts", "route"]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def route(logits_NE: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """The experts with the largest logits; the softmax is the caller's.

    Args:
        logits_NE: float32 scores. NaN counts as the largest.
        top_k: K, at most E.

    Returns:
        [N, K] int64 ids, best first, of equal scores the lower index first; and [E] int64, how many
        tokens chose each expert. Neither carries a gradient.
    """
    return _of(logits_NE).route(logits_NE.detach(), top_k)  # type: ignore[no-any-return]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def count(ids_NK: Tensor, num_experts: int, counted_N: Tensor | None = None) -> Tensor:
    """[E] int64: how many assignments each expert has.

    Args:
        ids_NK: experts of each token.
        num_experts: E.
        counted_N: bool, the tokens that count; all by default.
    """
    found: Tensor = _of(ids_NK).count(ids_NK, num_experts, counted_N)
    return found


@torch.compiler.disable  # type: ignore[untyped-decorator]
def experts(
    x_NW: Tensor,
    gate_up_EIW: Tensor,
    down_EWI: Tensor,
    ids_NK: Tensor,
    gates_NK: Tensor,
    round_tokens: int = 0,
) -> Tensor:
    """Every token's sum of gates times what its experts, gated feed-forwards, make of it.

    Products are of autocast's precision where it is on, else of `x_NW`'s, whatever the weights'
    type; the weights' gradients are of theirs. On a GPU their sums over tokens are float32, and
    rounded once.

    Args:
        x_NW: tokens at the experts' width.
        gate_up_EIW: [E, 2 * I, W] first matrices, gate above up.
        down_EWI: second matrices.
        ids_NK: int64 experts of each token, all different.
        gates_NK: how much, float32.
        round_tokens: most assignments of one expert that are computed at once: what is inside the
            experts then takes no more memory however uneven the load, and is computed again in the
            backward pass; 0 for no limit. On a GPU the host waits once, for the number of rounds.

    Returns:
        [N, W] float32 (float64 of float64), with gradients to all but `ids_NK`.
    """
    which = _of(x_NW)
    out: Tensor = which.experts(x_NW, gate_up_EIW, down_EWI, ids_NK, gates_NK, round_tokens)
    return out


def _of(tensor: Tensor) -> ModuleType:
    which = twin("experts", tensor.device, TWINS)
    if which == "reference":
        return reference
    if which == "plain" or tensor.dtype == torch.float64:  # float64 is for proofs
        return grouped
    from munro.kernels.experts import fused

    return fused
