"""LatentMoE: a router on the full width, experts in a narrower one, no token dropped.

    x ──► router ──► which experts, with what gates
    x ──► down to the latent width ──► experts ──► weighted sum ──► back up

How experts are computed is `munro.kernels.experts`'s.

MAI-Thinking-1 report, section 2.1; Nemotron 3 (arXiv:2512.20856) for the latent width.

Shape letters: N = tokens, D = model width, W = width the experts work in, E = experts, K = experts
a token goes to.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from munro.base_model.model.configuration import MunroConfig
from munro.base_model.model.layers import FeedForward, ResidualOutput
from munro.kernels.experts import count, experts, reference, route

Mix = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, int], Tensor]

DISPATCHES: dict[str, Mix] = {"grouped": experts, "reference": reference.experts}
"""By `MunroConfig.moe_dispatch`. Which twin "grouped" is, the device decides."""


class Choice(NamedTuple):
    """What a router decided."""

    experts: Tensor
    """[N, K] int64, best first."""
    gates: Tensor
    """[N, K] float32, differentiable."""
    probability: Tensor
    """[N, E] float32, differentiable: the softmax over all experts."""
    counts: Tensor
    """[E] int64, how many tokens chose each."""

    def load(self, counted_N: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """How often each expert was chosen, and its mean probability, [E] each.

        Args:
            counted_N: bool, the tokens that count; all by default.
        """
        if counted_N is None:
            return self.counts, self.probability.sum(0) / max(1, len(self.probability))
        # a weight of 0 instead of leaving out: how many are left nobody has to wait for
        weight_N1 = counted_N[:, None].to(self.probability)
        counts = count(self.experts, len(self.counts), counted_N)
        return counts, (self.probability * weight_N1).sum(0) / weight_N1.sum().clamp(min=1)


class Router(nn.Module):
    """Scores in float32, the best K of them; ties go to the lower index."""

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
        experts_NK, counts_E = route(scores_NE, self.top_k)
        if replay_NK is not None:
            replay_NK = replay_NK.to(experts_NK)
            is_known_N1 = (replay_NK >= 0).all(-1, keepdim=True)
            experts_NK = torch.where(is_known_N1, replay_NK, experts_NK)
            counts_E = count(experts_NK, len(self.weight))
        gates_NK = self._gates(logits_NE, probability_NE, experts_NK)
        return Choice(experts_NK, gates_NK, probability_NE, counts_E)

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
