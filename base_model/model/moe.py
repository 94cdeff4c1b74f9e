"""LatentMoE: a router on the full width, experts in a narrower one, no token dropped.

    x ──► router ──► which experts, with what gates
    x ──► down to the latent width ──► experts ──► weighted sum ──► back up

Tokens are sorted by expert, each expert multiplies its own, and every token adds its experts'
answers in a fixed order, so that the result does not depend on how the work was cut.

MAI-Thinking-1 report, section 2.1; Nemotron 3 (arXiv:2512.20856) for the latent width.

Shape letters: N = tokens, D = model width, W = width the experts work in, I = an expert's inner
width, E = experts, K = experts a token goes to, A = N * K assignments.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from munro.base_model.model.configuration import MunroConfig
from munro.base_model.model.layers import FeedForward, ResidualOutput, gated


class Choice(NamedTuple):
    """What a router decided."""

    experts: Tensor
    """[N, K] int64, best first."""
    gates: Tensor
    """[N, K] float32, differentiable."""
    probability: Tensor
    """[N, E] float32, differentiable: the softmax over all experts."""


class Router(nn.Module):
    """Scores in float32, the best K by a stable sort, so that ties go to the lower index."""

    bias: Tensor | None

    def __init__(self, config: MunroConfig) -> None:
        super().__init__()
        self.top_k = config.num_experts_per_tok
        self.gating, self.renormalise = config.gating, config.norm_topk_prob
        self.weight = nn.Parameter(torch.empty(config.num_experts, config.hidden_size))
        self.register_buffer(
            "bias", torch.zeros(config.num_experts) if config.router_bias else None
        )

    def forward(self, x_ND: Tensor, replay_NK: Tensor | None = None) -> Choice:
        """Choose experts, or repeat a recorded choice; the gates are live in either case.

        Args:
            x_ND: the tokens at full width.
            replay_NK: experts to take instead; -1 where nothing was recorded.
        """
        with torch.autocast(x_ND.device.type, enabled=False):
            logits_NE = F.linear(x_ND.float(), self.weight.float())
        probability_NE = logits_NE.softmax(-1)
        scores_NE = (logits_NE if self.bias is None else probability_NE + self.bias).detach()
        order_NE = scores_NE.sort(dim=-1, descending=True, stable=True).indices
        experts_NK = order_NE[:, : self.top_k]
        if replay_NK is not None:
            replay_NK = replay_NK.to(experts_NK)
            is_known_N1 = (replay_NK >= 0).all(-1, keepdim=True)
            experts_NK = torch.where(is_known_N1, replay_NK, experts_NK)
        return Choice(
            experts_NK, self._gates(logits_NE, probability_NE, experts_NK), probability_NE
        )

    def _gates(self, logits_NE: Tensor, probability_NE: Tensor, experts_NK: Tensor) -> Tensor:
        if self.gating == "topk_softmax":
            return logits_NE.gather(-1, experts_NK).softmax(-1)
        gates_NK = probability_NE.gather(-1, experts_NK)
        return gates_NK / gates_NK.sum(-1, keepdim=True) if self.renormalise else gates_NK


class Experts(nn.Module):
    """E gated feed-forwards of one shape."""

    def __init__(self, config: MunroConfig) -> None:
        super().__init__()
        width = config.latent_size or config.hidden_size
        number, inner = config.num_experts, config.moe_intermediate_size
        self.gate_up_proj = nn.Parameter(torch.empty(number, 2 * inner, width))
        self.down_proj = nn.Parameter(torch.empty(number, width, inner))
        self.mix = DISPATCHES[config.moe_dispatch]
        self.round_tokens = config.moe_round_tokens

    def forward(self, x_NW: Tensor, experts_NK: Tensor, gates_NK: Tensor) -> Tensor:
        """[N, W] float32: the gated sum of each token's experts."""
        return self.mix(
            x_NW, self.gate_up_proj, self.down_proj, experts_NK, gates_NK, self.round_tokens
        )


class LatentMoE(nn.Module):
    """Router, latent projections, experts, and shared experts where there are any."""

    def __init__(self, config: MunroConfig) -> None:
        super().__init__()
        width, latent = config.hidden_size, config.latent_size
        self.router = Router(config)
        self.latent_down = nn.Linear(width, latent, bias=False) if latent else None
        self.latent_up = ResidualOutput(latent, width, bias=False) if latent else None
        self.experts = Experts(config)
        shared = config.num_shared_experts * config.moe_intermediate_size
        self.shared_experts = FeedForward(width, shared) if shared else None

    def forward(
        self, x_ND: Tensor, dtype: torch.dtype, replay_NK: Tensor | None = None
    ) -> tuple[Tensor, Choice]:
        """[N, D], and the router's choice.

        Args:
            x_ND: float32.
            dtype: in which the experts compute.
            replay_NK: see `Router.forward`.
        """
        choice = self.router(x_ND, replay_NK)
        x_ND = x_ND.to(dtype)
        x_NW = x_ND if self.latent_down is None else self.latent_down(x_ND)
        out = self.experts(x_NW, choice.experts, choice.gates)
        if self.latent_up is not None:
            out = self.latent_up(out.to(dtype))
        if self.shared_experts is not None:
            out = out + self.shared_experts(x_ND)
        return out, choice


def mix_reference(
    x_NW: Tensor,
    gate_up_EIW: Tensor,
    down_EWI: Tensor,
    experts_NK: Tensor,
    gates_NK: Tensor,
    round_tokens: int = 0,  # noqa: ARG001 - the definition computes nothing at once anyway
) -> Tensor:
    """The definition: expert by expert, add its answers to the tokens that chose it."""
    out_NW = torch.zeros(x_NW.shape, dtype=torch.float32, device=x_NW.device)
    for expert in range(len(gate_up_EIW)):
        token, place = (experts_NK == expert).nonzero(as_tuple=True)
        answer = F.linear(gated(F.linear(x_NW[token], gate_up_EIW[expert])), down_EWI[expert])
        out_NW = out_NW.index_add(0, token, answer.float() * gates_NK[token, place, None])
    return out_NW


def mix_grouped(
    x_NW: Tensor,
    gate_up_EIW: Tensor,
    down_EWI: Tensor,
    experts_NK: Tensor,
    gates_NK: Tensor,
    round_tokens: int = 0,
) -> Tensor:
    """Sort the assignments by expert, multiply group by group, add up in each token's own order.

    Args:
        x_NW: tokens at the experts' width.
        gate_up_EIW: fused first matrices, gate above up.
        down_EWI: second matrices.
        experts_NK: which.
        gates_NK: how much, float32.
        round_tokens: most assignments of one expert computed at once; 0 for no limit.

    Returns:
        [N, W] float32.
    """
    N, K = experts_NK.shape
    expert_A = experts_NK.flatten()
    order_A = expert_A.argsort(stable=True)
    sizes_E = torch.bincount(expert_A, minlength=len(gate_up_EIW))
    token_A = order_A.div(K, rounding_mode="floor")
    if round_tokens:
        answer_AW = _in_rounds(x_NW, gate_up_EIW, down_EWI, token_A, sizes_E, round_tokens)
    else:
        answer_AW = _answers(x_NW, gate_up_EIW, down_EWI, token_A, sizes_E)
    place_A = torch.empty_like(order_A)
    place_A[order_A] = torch.arange(len(order_A), device=order_A.device)
    answer_NKW = answer_AW.index_select(0, place_A).view(N, K, -1)
    return (answer_NKW.float() * gates_NK[..., None]).sum(1)


Mix = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]

DISPATCHES: dict[str, Mix] = {"grouped": mix_grouped, "reference": mix_reference}
"""By `MunroConfig.moe_dispatch`. A fused twin on GPUs is one more entry."""


def _answers(
    x_NW: Tensor, gate_up_EIW: Tensor, down_EWI: Tensor, token_A: Tensor, sizes_E: Tensor
) -> Tensor:
    """[A, W] what experts say to assignments that are sorted by expert."""
    x_AW = x_NW.index_select(0, token_A)
    return grouped_product(gated(grouped_product(x_AW, gate_up_EIW, sizes_E)), down_EWI, sizes_E)


def _in_rounds(
    x_NW: Tensor,
    gate_up_EIW: Tensor,
    down_EWI: Tensor,
    token_A: Tensor,
    sizes_E: Tensor,
    most: int,
) -> Tensor:
    """`_answers`, at most `most` assignments of every expert at a time until all are done.

    However uneven the load, no more than E * most rows of inner activations exist at once; they are
    computed again in the backward pass (MAI-Thinking-1 report, section 2.8).
    """
    starts_E = sizes_E.cumsum(0) - sizes_E
    rank_A = torch.arange(len(token_A), device=token_A.device) - starts_E.repeat_interleave(sizes_E)
    round_A = rank_A.div(most, rounding_mode="floor")
    chosen, answers = [], []
    for number in range(-(-int(sizes_E.max()) // most)):
        at = (round_A == number).nonzero().squeeze(1)
        sizes = (sizes_E - number * most).clamp(0, most)
        chosen.append(at)
        answers.append(
            checkpoint(
                _answers, x_NW, gate_up_EIW, down_EWI, token_A[at], sizes, use_reentrant=False
            )
        )
    return torch.cat(answers).index_select(0, torch.cat(chosen).argsort())


def grouped_product(x_AW: Tensor, weight_EVW: Tensor, sizes_E: Tensor) -> Tensor:
    """[A, V] each group of rows times its own matrix.

    On a GPU in bfloat16 torch's grouped kernel; elsewhere one product a group.

    Args:
        x_AW: rows, sorted by group.
        weight_EVW: a matrix a group.
        sizes_E: rows of each group.
    """
    if x_AW.is_cuda and x_AW.dtype == weight_EVW.dtype == torch.bfloat16:
        ends_E = sizes_E.cumsum(0).to(torch.int32)
        return F.grouped_mm(x_AW, weight_EVW.transpose(1, 2), offs=ends_E)
    groups = zip(torch.split(x_AW, sizes_E.tolist()), weight_EVW.unbind(), strict=True)
    return torch.cat([F.linear(x, weight_VW) for x, weight_VW in groups])
