"""Load balancing of mixtures of experts over the global batch.

    counts and probabilities of a micro-batch ──► GlobalLoad.add ──► balance_loss ──► gradient

How often each expert is chosen is counted over all data-parallel ranks and over the micro-batches
of the optimizer step so far; only the router's probabilities carry gradient (Qiu et al. 2025,
arXiv:2501.11873; MAI-Thinking-1 report, section 2.1).

Shape letters: M = mixture layers, E = experts.
"""

from __future__ import annotations

import torch
from torch import Tensor, distributed, nn


def balance_loss(counts_ME: Tensor, probability_ME: Tensor) -> Tensor:
    """E * sum_i f_i p_i, averaged over the layers; 1 when experts are chosen evenly.

    Args:
        counts_ME: assignments to each expert, over as much of the global batch as is known; f_i is
            an expert's share of them.
        probability_ME: the router's mean probability of each expert, differentiable.

    Returns:
        A scalar.
    """
    counts_ME = counts_ME.detach().to(probability_ME.dtype)
    share_ME = counts_ME / counts_ME.sum(-1, keepdim=True).clamp(min=1)
    return counts_ME.shape[-1] * (share_ME * probability_ME).sum(-1).mean()


def violation_rate(counts_ME: Tensor) -> Tensor:
    """[M, E] (load - mean load) / mean load: 0 is balance, -1 an idle expert.

    MAI-Thinking-1 report, section 2.6.2 and its Fig. 8.
    """
    mean_M1 = counts_ME.double().mean(-1, keepdim=True).clamp(min=1e-12)
    return (counts_ME.double() - mean_M1) / mean_M1


class GlobalLoad:
    """Assignments to experts over the ranks, and over the micro-batches of one optimizer step.

    Example:
        load = GlobalLoad()
        for micro in micro_batches:
            routing = model(**micro).routing
            balance = balance_loss(load.add(routing.counts), routing.probability)
            ...
        load.reset()
    """

    def __init__(self) -> None:
        self.counts_ME: Tensor | None = None
        self._own_ME: Tensor | None = None

    def add(self, counts_ME: Tensor) -> Tensor:
        """Take in a micro-batch's counts; every rank must call it equally often.

        Returns:
            [M, E] all assignments of the step so far, of all ranks.
        """
        counts_ME = counts_ME.detach().clone()
        if distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(counts_ME)
        self.counts_ME = counts_ME if self.counts_ME is None else self.counts_ME + counts_ME
        return self.counts_ME

    def count(self, counts_ME: Tensor) -> None:
        """Take in a micro-batch's counts where no loss asks for the sum yet: no rank waits."""
        counts_ME = counts_ME.detach()
        self._own_ME = counts_ME if self._own_ME is None else self._own_ME + counts_ME

    def total(self) -> Tensor | None:
        """[M, E] all assignments of the step, of all ranks, each of which must call it."""
        if self._own_ME is not None:
            own_ME, self._own_ME = self._own_ME, None
            self.add(own_ME)
        return self.counts_ME

    def reset(self) -> None:
        """Begin the next optimizer step."""
        self.counts_ME = None


@torch.no_grad()
def update_router_bias(model: nn.Module, counts_ME: Tensor, *, rate: float) -> None:
    """The loss-free alternative: move each expert's selection bias against its load.

    For models whose config has `router_bias`; call it once after every optimizer step, with the
    counts of the whole step. The bias moves by `rate`, up for experts below the mean load and down
    for those above (Wang et al. 2024, arXiv:2408.15664).

    Raises:
        ValueError: the model's routers have no bias.
    """
    biases = [buffer for name, buffer in model.named_buffers() if name.endswith("router.bias")]
    if len(biases) != len(counts_ME):
        raise ValueError(
            f"the model has {len(biases)} routers with a bias, but there are loads of "
            f"{len(counts_ME)}: set router_bias in its config to balance without a loss."
        )
    for bias_E, violation_E in zip(biases, violation_rate(counts_ME), strict=True):
        bias_E.sub_(rate * violation_E.sign().to(bias_E))
