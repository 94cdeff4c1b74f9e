"""The door to transformers: any model whose attention is a function of its registry gets ours.

    register()
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation=NAME)
    model(input_ids=..., position_ids=..., attention_mask=RowMask(until_RL, position_RL))

Masks of any other kind are transformers' own affair, and so is what is computed with them, but for
soft caps and sinks, which its `sdpa` would leave out.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from munro.kernels.attention import reference
from munro.kernels.attention.attend import UnsupportedAttention, attend
from munro.kernels.attention.rows import RowMask

NAME = "munro"


def register() -> str:
    """Make transformers know our attention; returns its name there. Any number of times."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention_forward)
    # a mask of another kind than ours is made as for torch's own attention
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


def takes(kind: type) -> bool:
    """Whether models of that class leave their attention to transformers' registry."""
    return bool(getattr(kind, "_supports_attention_backend", False))


def attention_forward(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: RowMask | Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """[R, L, H, E], by transformers' contract of an attention function.

    Raises:
        UnsupportedAttention: with a `RowMask`, for dropout, a bias of positions, attention to what
            comes later, or cached keys.
    """
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    scores: dict[str, Any] = {"softcap": softcap or 0.0, "sinks": s_aux}
    if isinstance(attention_mask, RowMask):
        _require_rows(module, query, key, dropout, kwargs)
        window = sliding_window or 0
        mixed = attend(query, key, value, attention_mask, scaling=scaling, window=window, **scores)
        return mixed.transpose(1, 2).contiguous(), None
    if softcap or s_aux is not None:
        mask = attention_mask
        if mask is None and query.shape[2] > 1:
            shape = (query.shape[2], key.shape[2])
            mask = torch.ones(shape, dtype=torch.bool, device=query.device).tril()
        mixed = reference.dense(query, key, value, mask, scaling=scaling, **scores)
        return mixed.transpose(1, 2).contiguous(), None
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    mixed, _ = sdpa_attention_forward(
        module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs
    )
    return mixed, None


def _require_rows(
    module: torch.nn.Module, query: Tensor, key: Tensor, dropout: float, kwargs: dict[str, Any]
) -> None:
    """Refuse what the ways over rows do not compute."""
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    refused = {
        f"dropout of {dropout} on its attention: set attention_dropout to 0": dropout > 0,
        "a bias of positions on its scores": kwargs.get("position_bias") is not None,
        "attention to later tokens": not causal,
        "cached keys, of which the rows' mask says nothing": query.shape[2] != key.shape[2],
    }
    for what, asked in refused.items():
        if asked:
            raise UnsupportedAttention(
                f"{type(module).__name__} asks for {what}, which attention over packed rows or "
                "trees does not compute."
            )
