"""Attention, local or global: grouped queries, normalised queries and keys.

A local layer turns queries and keys by their positions and sees a window; a global layer sees all
that came before and knows no positions (MAI-Thinking-1 report, section 2.1).

Shape letters: B = rows, T = tokens of a row, D = model width, H = width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import Cache
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from munro.base_model.model.configuration import MunroConfig
from munro.base_model.model.layers import ResidualOutput, RMSNorm, rotated
from munro.kernels.attention import RowMask

Masks = dict[str, Tensor | RowMask | None]
"""One per kind of layer; None where plain causality will do."""


class Attention(nn.Module):
    """One layer's attention, with a cache where one is given."""

    is_causal = True  # read by transformers' attention functions

    def __init__(self, config: MunroConfig, layer: int) -> None:
        super().__init__()
        assert config.layer_types is not None
        self.config = config
        self.layer_idx = layer
        self.kind = config.layer_types[layer]
        self.is_local = self.kind == "sliding_attention"
        self.head_dim = config.head_dim
        self.num_heads, self.num_kv_heads = config.num_attention_heads, config.num_key_value_heads
        self.num_key_value_groups = self.num_heads // self.num_kv_heads
        self.scaling = self.head_dim**-0.5
        width = (self.num_heads + 2 * self.num_kv_heads) * self.head_dim
        self.qkv_proj = nn.Linear(config.hidden_size, width, bias=False)
        width = self.num_heads * self.head_dim
        self.o_proj = ResidualOutput(width, config.hidden_size, bias=False)
        self.q_norm = RMSNorm(self.head_dim, config.rms_norm_eps)
        self.k_norm = RMSNorm(self.head_dim, config.rms_norm_eps)

    def forward(
        self,
        x_BTD: Tensor,
        rotation: tuple[Tensor, Tensor],
        masks: Masks,
        cache: Cache | None,
        **kwargs: Any,
    ) -> Tensor:
        """[B, T, D]; `kwargs` go to transformers' attention function."""
        B, T, _ = x_BTD.shape
        heads = self.qkv_proj(x_BTD).view(B, T, -1, self.head_dim).transpose(1, 2)
        query, key, value = heads.split(
            (self.num_heads, self.num_kv_heads, self.num_kv_heads), dim=1
        )
        query, key = self.q_norm(query), self.k_norm(key)
        if self.is_local:
            query, key = rotated(query, *rotation), rotated(key, *rotation)
        query, key = query.to(value.dtype), key.to(value.dtype)
        if cache is not None:
            key, value = cache.update(key, value, self.layer_idx)
        mask = masks[self.kind]
        if isinstance(mask, Tensor) and mask.is_floating_point() and mask.dtype != value.dtype:
            # a sharded layer may compute in another precision than its weights are kept in
            mask = mask.clamp(min=torch.finfo(value.dtype).min).to(value.dtype)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, None)
        mixed, _ = attend(
            self,
            query,
            key,
            value,
            mask,
            scaling=self.scaling,
            sliding_window=self.config.sliding_window if self.is_local else None,
            **kwargs,
        )
        out: Tensor = self.o_proj(mixed.reshape(B, T, -1))
        return out


def attention_masks(
    config: MunroConfig,
    x_BTD: Tensor,
    attention_mask: Tensor | RowMask | Masks | None,
    cache: Cache | None,
    position_BT: Tensor,
) -> Masks:
    """What each kind of layer adds to its scores.

    Args:
        config: of the model.
        x_BTD: the embedded tokens.
        attention_mask: nothing; [B, past + T], 0 on padding; a `RowMask`, where attention is that
            of `munro.kernels.attention`; [B, 1, T, T], added to scores as it is, and in local
            layers narrowed to the window by the tokens' positions, which may restart or branch; or
            masks made before.
        cache: keys and values of earlier tokens.
        position_BT: each token's place in its own document.

    Raises:
        ValueError: a four-dimensional mask beside cached tokens, whose positions it cannot tell.
    """
    if isinstance(attention_mask, dict):
        return attention_mask
    if isinstance(attention_mask, RowMask):
        return {"full_attention": attention_mask, "sliding_attention": attention_mask}
    if attention_mask is None or attention_mask.ndim != 4:
        given = {
            "config": config,
            "inputs_embeds": x_BTD,
            "attention_mask": attention_mask,
            "past_key_values": cache,
            "position_ids": position_BT,
        }
        return {
            "full_attention": create_causal_mask(**given),
            "sliding_attention": create_sliding_window_causal_mask(**given),
        }
    if cache is not None and cache.get_seq_length():
        raise ValueError("a four-dimensional attention mask says nothing of cached tokens")
    least = torch.finfo(x_BTD.dtype).min
    mask = attention_mask.clamp(min=least).to(x_BTD.dtype)
    if mask.shape[-1] <= config.sliding_window:
        return {"full_attention": mask, "sliding_attention": mask}
    distance_BTT = position_BT[:, :, None] - position_BT[:, None, :]
    outside = (distance_BTT >= config.sliding_window)[:, None]
    return {"full_attention": mask, "sliding_attention": mask.masked_fill(outside, least)}
