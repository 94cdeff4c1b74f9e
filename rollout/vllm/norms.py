"""RMS norms in a vLLM on the CPU: by its own compiled kernels, one call where it takes five.

vLLM has them, but on the CPU counts on a compiler to join the five, which our engines do without:
a climb's models are small, and compiling would take longer than a step.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from vllm import ir
from vllm.platforms import current_platform

PROVIDER = "munro"


def use_kernels() -> None:
    """Have vLLM take them wherever they compute what is asked; again changes nothing."""
    current_platform.import_kernels()
    for name, (kernel, takes, changes) in KERNELS.items():
        op = getattr(ir.ops, name)
        if PROVIDER not in op.impls:
            op.register_impl(PROVIDER, supports_args=takes, inplace=changes)(kernel)
        op.set_default([PROVIDER, "native"])


def rms_norm(
    x: Tensor,
    weight: Tensor | None,
    epsilon: float,
    variance_size: int | None = None,  # noqa: ARG001 - vLLM's signature
) -> Tensor:
    """As vLLM's own of that name; see `suits`."""
    out = torch.empty_like(x)
    torch.ops._C.rms_norm(out, x, weight, epsilon)
    return out


def fused_add_rms_norm(
    x: Tensor,
    x_residual: Tensor,
    weight: Tensor | None,
    epsilon: float,
    variance_size: int | None = None,  # noqa: ARG001 - vLLM's signature
) -> tuple[Tensor, Tensor]:
    """As vLLM's own of that name; both are overwritten."""
    torch.ops._C.fused_add_rms_norm(x, x_residual, weight, epsilon)
    return x, x_residual


def suits(
    x: Tensor, weight: Tensor | None, epsilon: float, variance_size: int | None = None
) -> bool:
    """Whether the kernel computes that: whole rows that lie side by side, of one type."""
    del epsilon
    if variance_size is not None or weight is None:
        return False
    return weight.dtype == x.dtype and weight.is_contiguous() and x.is_contiguous()


def _suits_with_residual(
    x: Tensor,
    x_residual: Tensor,
    weight: Tensor | None,
    epsilon: float,
    variance_size: int | None = None,
) -> bool:
    alike = x.dtype == x_residual.dtype and x_residual.is_contiguous()
    return alike and suits(x, weight, epsilon, variance_size)


KERNELS: dict[str, tuple[Callable[..., Any], Callable[..., bool], bool]] = {
    "rms_norm": (rms_norm, suits, False),
    "fused_add_rms_norm": (fused_add_rms_norm, _suits_with_residual, True),
}
"""By vLLM's name of the operation: the kernel, what it computes, and whether in place."""
