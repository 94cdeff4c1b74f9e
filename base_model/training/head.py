"""A causal LM's output matrix, asked for log-probabilities of targets instead of logits.

The model runs as it is, so that whatever wraps it (sharding, checkpointing, adapters) does its
part; for one pass only its head answers otherwise. What a model does with its logits afterwards, a
constant or a soft cap, is read from its config, and held against what it does at the first pass.

Shape suffixes: B = rows, T = tokens of a row, N = targets, D = model width, V = vocabulary.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from munro.base_model.model.logits import scale_of
from munro.kernels.gradient import can_add
from munro.kernels.linear_logprob import linear_logprob

log = logging.getLogger(__name__)

PROBED = 64
"""Tokens whose logits a model's first pass is given, to see what it makes of them."""
_KNOWN: WeakKeyDictionary[nn.Module, bool] = WeakKeyDictionary()
"""Models that were held against their configs, and whether they do as those say."""


@dataclass(slots=True)
class Answer:
    """What a pass came to."""

    logp: Tensor | None = None
    """[N] float32, in nats, with gradient; None before the pass."""
    probe: Tensor | None = field(default=None, repr=False)
    """[1, 1, K] what the head gave in its logits' place, where the model is not known yet."""


def head_of(model: Any) -> Any:
    """The model's output matrix as a module, or None: then its logits must be made whole."""
    if _KNOWN.get(model, True) and scale_of(model) is not None:
        head = model.get_output_embeddings()
        if isinstance(head, nn.Linear):
            return head
    if _KNOWN.get(model, True):
        _refuse(model)
    return None


@contextmanager
def answering(
    model: Any, predicted_at: Tensor, targets: Tensor, *, adds: bool = False
) -> Iterator[Answer]:
    """While this lasts, the model's head gives log-probabilities, and hardly any logits.

    Args:
        model: one that has `head_of`.
        predicted_at: [N] int64 index into the B * T hidden states.
        targets: [N] int64 tokens whose log-probabilities are wanted.
        adds: a backward pass may add into the matrix's `grad` behind autograd's back.
    """
    head, answer, scale = head_of(model), Answer(), scale_of(model)
    assert scale is not None

    def forward(hidden_BTD: Tensor) -> Tensor:
        hidden_ND = hidden_BTD.flatten(0, 1).index_select(0, predicted_at)
        weight = head.weight
        if head.bias is not None:
            # a bias is the weight of an input that is always 1
            hidden_ND = torch.cat([hidden_ND, torch.ones_like(hidden_ND[:, :1])], dim=-1)
            weight = torch.cat([weight, head.bias[:, None]], dim=-1)
        answer.logp, _ = linear_logprob(
            hidden_ND,
            weight,
            targets,
            scale=scale,
            precision=_precision(hidden_ND),
            grad_weight="add" if adds and can_add(weight) else "return",
        )
        if model in _KNOWN:
            return hidden_BTD.new_zeros(1, 1, 1)
        bias = None if head.bias is None else head.bias[:PROBED]
        some = nn.functional.linear(hidden_BTD[:1, :1], head.weight[:PROBED], bias)
        answer.probe = some.detach().float()
        return some.detach()

    head.forward = forward
    try:
        yield answer
    finally:
        del head.forward


def does_as_said(model: Any, probe: Tensor, logits: Tensor) -> bool:
    """Whether a model made of a probe what its config says; the answer is kept.

    Args:
        probe: [1, 1, K] products of its output matrix.
        logits: what the model gave out for them.
    """
    scale = scale_of(model)
    assert scale is not None
    ours = scale.apply(probe.clone())
    known = ours.shape == logits.shape and torch.allclose(
        ours, logits.detach().float(), rtol=1e-2, atol=1e-3
    )
    if not known:
        _refuse(model)
    _KNOWN[model] = known
    return known


def _refuse(model: Any) -> None:
    """Say once that logits are made whole."""
    _KNOWN[model] = False
    log.warning(
        "the logits of all tokens stand in memory together: %s does more than a matrix product and "
        "a constant or a soft cap after its last hidden state",
        type(model).__name__,
    )


def _precision(hidden: Tensor) -> str:
    """Autocast's where it is on; float32 as tensor cores can make it where it is not."""
    if hidden.device.type != "cuda" or hidden.dtype != torch.float32:
        return "operand"
    if torch.is_autocast_enabled("cuda") or torch.cuda.get_device_capability() < (8, 0):
        return "operand"
    return "bf16x3"
