"""The model that a climb began from, frozen, and how far the policy has gone from it.

Shape letters: T = sampled tokens.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from munro.base_model.adapters.attach import left_out
from munro.base_model.adapters.files import is_adapter
from munro.base_model.device.working import narrow
from munro.base_model.training.sharding import World, working_dtype
from munro.rl.config import LearnerConfig
from munro.rl.loss import MAX_LOG_RATIO
from munro.rl.policy.device import DeviceBatch
from munro.rl.policy.loading import spread_policy
from munro.rl.policy.model import Policy


class Reference(Protocol):
    """Log-probabilities under weights that do not move: a second model's, or a base's without the
    adapter that is being trained on it.
    """

    def __call__(self, micro: DeviceBatch, *, temperature: float) -> Tensor:
        """[T] float32, without gradient, over the same nuclei as the policy's."""
        ...


class Frozen:
    """A model of its own in memory."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy.eval().requires_grad_(False)

    @torch.no_grad()
    def __call__(self, micro: DeviceBatch, *, temperature: float) -> Tensor:
        """See `Reference`; a mixture of experts chooses its own."""
        logp_T: Tensor = self._policy(micro, temperature=temperature)[0]
        return logp_T


class LeftOut:
    """The policy without the adapter that is being trained on it: no second model in memory."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy

    @torch.no_grad()
    def __call__(self, micro: DeviceBatch, *, temperature: float) -> Tensor:
        """See `Reference`; a mixture of experts chooses its own."""
        was_training = self._policy.training
        self._policy.eval()
        with left_out(self._policy.model):
            logp_T: Tensor = self._policy(micro, temperature=temperature)[0]
        self._policy.train(was_training)
        return logp_T


def reference_of(
    path: str, config: LearnerConfig, world: World, policy: Policy
) -> Reference | None:
    """What the KL term measures the distance to; None where it has no weight.

    Args:
        path: the folder that the policy is loaded from.
        config: the learner's.
        world: where it lies, sharded as the policy is.
        policy: that is trained.

    Raises: as `spread_policy`.
    """
    if not config.kl_weight:
        return None
    if config.lora is not None and not is_adapter(path):
        return LeftOut(policy)
    still = config.model_copy(update={"dropout": 0.0, "activation_checkpointing": False})
    policy = spread_policy(path, still, world)
    halved = config.in_bfloat16(on_gpu=world.device.type == "cuda")
    if dtype := working_dtype(world, bfloat16=halved):
        narrow(policy, dtype)
    return Frozen(policy)


def kl_to(reference_logp_T: Tensor, logp_T: Tensor) -> Tensor:
    """[T] an estimate of KL(policy || reference) from what the policy sampled; never below 0.

    With d = log p_reference - log p it is exp(d) - 1 - d, "k3" (Schulman, "Approximating KL
    divergence", 2020), which GRPO subtracts from its objective (arXiv:2402.03300, Eq. 4).
    """
    difference_T = (reference_logp_T - logp_T).clamp(max=MAX_LOG_RATIO)
    return difference_T.exp() - 1 - difference_T
