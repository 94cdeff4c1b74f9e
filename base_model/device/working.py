"""Weights in bfloat16 for a step's passes, made once; what the optimizer moves stays in float32.

    float32 masters ──► bfloat16 copies ──► forward, backward ──► float32 gradients
          ▲                (gone after the step's passes)                │
          └────────────────────────── optimizer ◄───────────────────────┘

The parameters themselves hold the copies meanwhile, so that whatever computes with the model does
so with these, and holds the masters again afterwards: optimizer, checkpoints and publications know
of nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def working_copy(model: nn.Module, dtype: torch.dtype | None) -> Iterator[None]:
    """The model's float32 weights are in `dtype` inside; gradients are added up in float32.

    Args:
        model: not sharded.
        dtype: None to leave everything as it is.
    """
    masters = {p: p.data for p in wide(model)} if dtype is not None else {}
    try:
        for parameter, master in masters.items():
            if parameter.requires_grad:
                parameter.grad_dtype = master.dtype
            parameter.data = master.to(dtype)
        yield
    finally:
        for parameter, master in masters.items():
            parameter.data = master


@contextmanager
def gradients_aside(model: nn.Module) -> Iterator[None]:
    """A forward pass inside sees no gradients of another type than their weights.

    torch.compile declines to trace a layer with such weights, and would leave it as it is.
    """
    aside = [
        (parameter, parameter.grad)
        for parameter in model.parameters()
        if parameter.grad is not None and parameter.grad.dtype != parameter.dtype
    ]
    for parameter, _ in aside:
        parameter.grad = None
    try:
        yield
    finally:
        for parameter, gradient in aside:
            parameter.grad = gradient


def narrow(model: nn.Module, dtype: torch.dtype) -> None:
    """Hold the model's float32 weights in `dtype` from now on: one that is not trained."""
    for parameter in wide(model):
        parameter.data = parameter.data.to(dtype)


def wide(model: nn.Module) -> list[Tensor]:
    """The float32 weights that passes need not have in float32: none that the model's class keeps
    so in any case (transformers' `_keep_in_fp32_modules_strict`).
    """
    kept: set[str] = set()
    for module in model.modules():
        kept |= {*(getattr(module, "_keep_in_fp32_modules_strict", None) or ())}
    return [
        parameter
        for name, parameter in model.named_parameters()
        if parameter.dtype == torch.float32 and not kept & {*name.split(".")}
    ]
