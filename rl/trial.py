"""A loss, called once on made-up tokens before anything is started with it.

Two sequences of three tokens, as the learner gives them: ratios around 1 and beyond usual bounds,
advantages of both signs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from munro.rewards.plugins import BadPlugin, blame
from munro.rl.clip import Clip
from munro.rl.config import LearnerConfig

LOGP = (-1.0, -2.0, -0.5, -1.5, -3.0, -0.1)
BEHAVIOUR = (-1.1, -2.0, -0.4, -1.0, -9.0, -4.0)
ADVANTAGE = (1.0, 1.0, 1.0, -0.5, -0.5, -0.5)
SEQUENCE = (0, 0, 0, 1, 1, 1)


class Tried(Protocol):
    """A loss as the learner calls it."""

    @property
    def path(self) -> str:
        """As the config names it."""
        ...

    def __call__(self, *given: Any, offered: Mapping[str, Any], **named: Any) -> Any:
        """See `munro.rl.plugs.Loss`."""
        ...


def try_out(loss: Tried, config: LearnerConfig) -> None:
    """Whether the loss gives a finite number with a finite gradient for tokens that are in order.

    Raises:
        BadPlugin: it does not, or raises; says what it did.
    """
    logp_T = torch.tensor(LOGP, requires_grad=True)
    sampled_T = torch.ones(len(LOGP), dtype=torch.bool)
    try:
        value, _ = loss(
            *(logp_T, torch.tensor(BEHAVIOUR), torch.tensor(ADVANTAGE), sampled_T),
            clip=Clip(),
            num_global_tokens=len(LOGP),
            offered={
                "sequence_T": torch.tensor(SEQUENCE),
                "num_global_sequences": 2,
                "tokens_per_sequence": config.tokens_per_sequence,
            },
        )
        value.backward()
    except BadPlugin:
        raise
    except Exception as error:
        raise BadPlugin(f"learner.loss = {loss.path!r} cannot be used: {blame(error)}") from error
    figure = float(value.detach())
    if not math.isfinite(figure):
        raise BadPlugin(
            f"learner.loss = {loss.path!r} returned {figure} for six tokens whose "
            "log-probabilities are finite."
        )
    if logp_T.grad is None or not logp_T.grad.isfinite().all():
        raise BadPlugin(
            f"learner.loss = {loss.path!r} gives logp_T no gradient, or one that is not finite."
        )
