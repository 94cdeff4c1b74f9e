"""Where the gradient of an output matrix goes: back to autograd, or straight into its `grad`.

The second costs no other matrix of that size, and no pass over one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def dtype_of(weight: Tensor) -> torch.dtype:
    """In what a matrix's gradient is wanted: its own type, or what its `grad_dtype` says."""
    asked = getattr(weight, "grad_dtype", None) if weight.is_leaf else None
    return asked or weight.dtype


def grad_of(weight: Tensor) -> Tensor:
    """[V, D] a leaf's `grad`, which is made where there is none yet."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight, dtype=dtype_of(weight))
    return weight.grad


def can_add(weight: Tensor) -> bool:
    """Whether a backward pass may write into this matrix's `grad` behind autograd's back.

    It may into a leaf's, in float32 (or 64), on one device, on which nobody's hook waits.
    """
    return (
        weight.requires_grad
        and weight.is_leaf
        and dtype_of(weight).itemsize >= 4
        and not hasattr(weight, "device_mesh")
        and not weight._backward_hooks
        and not getattr(weight, "_post_accumulate_grad_hooks", None)
    )


def gives_rows(embeddings: nn.Module) -> bool:
    """Whether embeddings may give the gradients of their tokens alone, to be added to `grad`.

    torch's own `sparse`; on a GPU their sums would come in no fixed order.
    """
    return (
        isinstance(embeddings, nn.Embedding)
        and embeddings.weight.device.type == "cpu"
        and can_add(embeddings.weight)
        and embeddings.weight.dtype == dtype_of(embeddings.weight)
        and embeddings.max_norm is None
        and not embeddings.scale_grad_by_freq
    )


def adds(grad_weight: str, weight: Tensor) -> bool:
    """Whether a call adds into the matrix's `grad`.

    Args:
        grad_weight: "return" or "add".
        weight: the output matrix; one without gradient has none to be added.

    Raises:
        ValueError: it is neither word, or the matrix's `grad` cannot be added to.
    """
    if grad_weight not in ("return", "add"):
        raise ValueError(f'grad_weight is "return" or "add", not "{grad_weight}"')
    if grad_weight == "return" or not weight.requires_grad:
        return False
    if not can_add(weight):
        raise ValueError(
            'grad_weight = "add" needs an output matrix that is a leaf with gradients in float32, '
            'on one device, without hooks; this one is not: take "return"'
        )
    return True
