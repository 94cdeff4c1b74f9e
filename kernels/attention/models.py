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
from munro.kernels.attention.attend import UnsupportedAttention, attend, of_one_type
from munro.kernels.attention.rows import Documents, Ranks, RowMask

NAME = "munro"
KINDS = {"full_attention", "sliding_attention"}
"""Layers that our attention computes, by transformers' names."""


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


def layers_of(config: Any) -> tuple[frozenset[str], int]:
    """The kinds of a model's layers by its config, and the window of those that slide."""
    text = config.get_text_config()
    window = int(getattr(text, "sliding_window", None) or 0)
    named = getattr(text, "layer_types", None) or getattr(text, "layers_block_type", None)
    if named:
        return frozenset(named), window
    return frozenset({"sliding_attention" if window else "full_attention"}), window


def give(model: Any) -> None:
    """Have a model compute attention by ours if it can in every layer; else change nothing."""
    if not takes(type(model)) or not layers_of(model.config)[0] <= KINDS:
        return
    name = register()
    # a layer may hold a copy of the config, without the dropout that it would ask for
    for module in model.modules():
        if hasattr(getattr(module, "config", None), "_attn_implementation"):
            module.config._attn_implementation = name


def computes(config: Any) -> bool:
    """Whether every layer of the model with that config computes attention by ours."""
    asked = getattr(config, "_attn_implementation", None)
    return asked == NAME and layers_of(config)[0] <= KINDS


def row_mask(
    config: Any,
    until_RL: Tensor | None,
    position_RL: Tensor,
    starts_N: Tensor | None = None,
    longest: int = 0,
    ranks: Ranks | None = None,
) -> RowMask:
    """What that model's layers want to know of some rows.

    Args:
        config: of a model that `computes`.
        until_RL: see `RowMask`; None where every row is one sequence.
        position_RL: tokens before each on its own way.
        starts_N: see `Documents`; None where there are branches.
        longest: tokens of the longest document.
        ranks: those that have a stretch of the columns each, if not one has all.
    """
    kinds, window = layers_of(config)
    rows, columns = position_RL.shape
    if until_RL is None:
        until_RL = torch.full_like(position_RL, columns, dtype=torch.int32)
        ends = torch.arange(rows + 1, dtype=torch.int32, device=position_RL.device)
        starts_N, longest = ends * columns, columns
    return RowMask(
        until_RL,
        position_RL,
        documents=None if starts_N is None else Documents(starts=starts_N, longest=longest),
        windows={0 if kind == "full_attention" else window for kind in kinds},
        ranks=ranks,
    )


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
        scores |= {"scaling": scaling, "window": sliding_window or 0}
        if attention_mask.ranks is None:
            mixed = attend(query, key, value, attention_mask, **scores)
        else:
            mixed = _by_ranks(query, key, value, attention_mask, attention_mask.ranks, scores)
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


def _by_ranks(
    query: Tensor, key: Tensor, value: Tensor, mask: RowMask, ranks: Ranks, scores: dict[str, Any]
) -> Tensor:
    """Of columns whose rows go on elsewhere: this rank's heads over whole rows, and back."""
    if scores["sinks"] is not None:
        scores = scores | {"sinks": scores["sinks"][ranks.heads(query.shape[1])]}
    query, key, value = ranks.to_heads(*of_one_type(query, key, value))
    return ranks.to_columns(attend(query, key, value, mask, **scores))


def _require_rows(
    module: torch.nn.Module, query: Tensor, key: Tensor, dropout: float, kwargs: dict[str, Any]
) -> None:
    """Refuse what the ways over rows do not compute."""
    causal = kwargs.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    if dropout > 0:
        what = "dropout on its attention (its config's attention_dropout; set it to 0)"
    elif kwargs.get("position_bias") is not None:
        what = "a bias of positions on its scores"
    elif not causal:
        what = "attention to later tokens"
    elif query.shape[2] != key.shape[2]:
        what = "cached keys, of which the rows' mask says nothing"
    else:
        return
    raise UnsupportedAttention(
        f"{type(module).__name__} asks for {what}, which attention over packed rows or trees does "
        "not compute."
    )
