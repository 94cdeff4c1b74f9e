"""How near two float32 computations of one thing must come, on whatever processor.

Types of processor, builds of torch and numbers of threads sum in different orders, so a tolerance
is not what one machine happened to show. It follows from the arithmetic: every product and sum of
a chain rounds by at most half a unit in the last place of its result, and roundings fall either
way, so that `terms` of them in a row come to sqrt(terms) of one, times a factor that is exceeded
with probability 2 exp(-factor^2 / 2) (Higham and Mary, 2019). Two results are compared, hence a
whole unit. A fault of the kind that tests look for is orders of magnitude above.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

EPS = float(np.finfo(np.float32).eps)
FACTOR = 6.0
"""Exceeded once in thirty million comparisons."""


def bound(terms: int, scale: float = 1.0) -> float:
    """How far apart results of size `scale` may lie after `terms` roundings in a row."""
    return FACTOR * terms**0.5 * EPS * scale


def depth(model: Any, num_tokens: int, *, backward: bool = False) -> int:
    """At most how many roundings lie between a model's input and its logits, or its gradients.

    Each matrix sums over its rows' length, each norm over its width, each attention twice over the
    tokens; branches beside each other are counted one after another. A gradient goes through the
    transposed matrices too, and is itself a sum over tokens.
    """
    terms = sum(weight.shape[-1] for weight in model.parameters())
    terms += 2 * num_tokens * model.config.num_hidden_layers
    if backward:
        terms += sum(weight.shape[-2] for weight in model.parameters() if weight.ndim > 1)
        terms += num_tokens * (2 * model.config.num_hidden_layers + 1)
    return terms


def largest(values: Any) -> float:
    """The scale of a result: its largest size that is finite."""
    array = np.abs(np.asarray(torch.as_tensor(values).detach(), np.float64))
    return float(np.max(array, where=np.isfinite(array), initial=0.0))


def near(expected: Any, terms: int, *, scale: float | None = None) -> Any:
    """`pytest.approx` with the bound of the arithmetic; `scale` where intermediates were larger."""
    size = largest(expected) if scale is None else scale
    return pytest.approx(expected, rel=0, abs=bound(terms, size))


def assert_near(
    actual: Any, expected: Any, terms: int, *, scale: float | None = None, name: str = ""
) -> None:
    """Every entry of two tensors, or arrays, lies within the bound of the arithmetic."""
    size = largest(expected) if scale is None else scale
    ours, theirs = (torch.as_tensor(one).detach().double() for one in (actual, expected))
    message = (lambda told: f"{name}: {told}") if name else None
    torch.testing.assert_close(ours, theirs, rtol=0, atol=bound(terms, size), msg=message)
