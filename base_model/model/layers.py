"""The small parts of a layer: norm, rotary positions, gated feed-forward.

Shape letters: B = rows, T = tokens of a row, D = model width, H = width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class RMSNorm(nn.Module):
    """x / rms(x) * gain, computed and returned in float32.

    Args:
        width: of what is normalised.
        eps: added to the mean square.
        initial_gain: what every gain starts as.
    """

    def __init__(self, width: int, eps: float, *, initial_gain: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((width,), initial_gain, dtype=torch.float32))
        self.eps = eps
        self.initial_gain = initial_gain

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the last dimension."""
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps)


class ResidualOutput(nn.Linear):
    """A projection whose output is added to the residual stream: it starts smaller."""


class FeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)), gate and up as one product."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(width, 2 * inner, bias=False)
        self.down_proj = ResidualOutput(inner, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[..., width] to [..., width]"""
        down: Tensor = self.down_proj(gated(self.gate_up_proj(x)))
        return down


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of a fused product, [..., 2 * inner] to [..., inner]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return F.silu(gate) * up


def rotations(position_BT: Tensor, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of every position's angles, each [B, 1, T, H] in float32.

    Su et al. 2021 (arXiv:2104.09864); the first half of a head is paired with the second.
    """
    exponent = torch.arange(0, head_dim, 2, device=position_BT.device).float() / head_dim
    angle = position_BT[:, None, :, None].float() * theta**-exponent
    angle = torch.cat((angle, angle), dim=-1)
    return angle.cos(), angle.sin()


def rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """[B, heads, T, H] turned by the angles of its positions."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
