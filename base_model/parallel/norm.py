"""The norm of a gradient whose parts lie over several meshes, and clipping by it.

`torch.nn.utils.clip_grad_norm_` refuses gradients of two meshes. Here every gradient's squares are
added up over the ranks among which it is parted, and over no others: not over its replicas.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, distributed, nn
from torch.distributed.tensor import DTensor, Partial, Shard


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], most: float) -> float:
    """Scale gradients so that their norm is at most `most`; every rank must call it.

    Returns:
        The norm before, the same on every rank, in float64 but for each tensor's own sum.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = _norm(gradients)
    scale = min(1.0, most / (norm + 1e-6))
    for gradient in gradients:
        _local(gradient).mul_(scale)
    return norm


def _norm(gradients: list[Tensor]) -> float:
    squares: dict[tuple[distributed.ProcessGroup, ...], Tensor] = {}
    for gradient in gradients:
        local = _local(gradient)
        square = torch.linalg.vector_norm(local, dtype=torch.float32).double().square()
        groups = _parted_among(gradient)
        squares[groups] = squares.get(groups, torch.zeros_like(square)) + square
    total = 0.0
    for groups, square in squares.items():
        for group in groups:
            distributed.all_reduce(square, group=group)
        total += float(square)
    return math.sqrt(total)


def _parted_among(gradient: Tensor) -> tuple[distributed.ProcessGroup, ...]:
    """The groups over which the sum of squares goes, one for each dimension that parts it."""
    if not isinstance(gradient, DTensor):
        return ()
    mesh = gradient.device_mesh
    assert not any(isinstance(how, Partial) for how in gradient.placements)
    parted = [dim for dim, how in enumerate(gradient.placements) if isinstance(how, Shard)]
    return tuple(mesh.get_group(dim) for dim in parted)


def _local(gradient: Tensor) -> Tensor:
    return gradient.to_local() if isinstance(gradient, DTensor) else gradient
