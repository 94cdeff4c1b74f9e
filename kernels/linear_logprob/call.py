"""What a forward and its backward pass agree on, and small things that all twins do alike.

Shape suffixes: T = positions, D = model width, V = vocabulary, t and v = one tile of T and V.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from munro.kernels.gradient import dtype_of, grad_of
from munro.kernels.precision import Precision
from munro.kernels.scale import Scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """How a call is to be done."""

    scale: Scale
    entropy: bool
    precision: Precision
    adds: bool
    """The matrix's gradient goes straight into its `grad`."""
    tile: int
    """Positions of one, on a CPU."""
    keep_bytes: int
    """Of logits, from the forward to the backward pass, on a CPU."""


def plainly(tensor: Tensor) -> torch.autocast:
    """Autocast off, so that no product in a pass is rounded behind its back."""
    return torch.autocast(tensor.device.type, enabled=False)


def tiles(size: int, step: int) -> Iterator[slice]:
    """Slices of at most `step` that cover `size`."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def sum_for(weight: Tensor, call: Call) -> Tensor:
    """[V, D] what the matrix's gradient is added up in."""
    if call.adds:
        return grad_of(weight)
    return torch.zeros_like(weight, dtype=call.precision.exact)


def returned(total: Tensor, weight: Tensor, call: Call) -> Tensor | None:
    """What autograd is told of the matrix's gradient."""
    return None if call.adds else total.to(dtype_of(weight))
