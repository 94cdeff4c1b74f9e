"""The model: a decoder of alternating dense and mixture feed-forwards, mostly local attention.

    tokens ──► embedding ──► [attention, feed-forward] x L ──► norm ──► embedding ──► logits
                    residual stream in float32 all the way

Every sub-layer is x + dropout(norm_out(F(norm_in(x)))). MAI-Thinking-1 report, section 2.1 and its
Fig. 2. Importing this module makes the model known to transformers' `Auto` classes.

Shape letters: B = rows, T = tokens of a row, D = model width, V = vocabulary, M = mixture layers,
E = experts, K = experts a token goes to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Cache,
    DynamicCache,
    GenerationMixin,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from munro.base_model.model.attention import Attention, Masks, attention_masks
from munro.base_model.model.configuration import MunroConfig
from munro.base_model.model.layers import FeedForward, ResidualOutput, RMSNorm, rotations
from munro.base_model.model.moe import Experts, LatentMoE, Router

__all__ = ["MunroConfig", "MunroForCausalLM", "MunroModel", "Routing"]


@dataclass
class Routing(ModelOutput):  # type: ignore[misc]
    """How the mixtures of one pass were used."""

    counts: Tensor | None = None
    """[M, E] assignments of the tokens that count."""
    probability: Tensor | None = None
    """[M, E] mean router probability of the same tokens; differentiable."""
    experts: Tensor | None = None
    """[B, T, M, K] the experts of every token, best first."""


@dataclass
class MunroModelOutput(ModelOutput):  # type: ignore[misc]
    """Of the model without its head."""

    last_hidden_state: Tensor | None = None
    """[B, T, D] float32"""
    past_key_values: Cache | None = None
    routing: Routing | None = None
    """None for a model without mixtures."""


@dataclass
class MunroOutput(ModelOutput):  # type: ignore[misc]
    """Of the whole model."""

    loss: Tensor | None = None
    """Mean cross-entropy in nats, where labels were given."""
    logits: Tensor | None = None
    """[B, T, V] float32"""
    past_key_values: Cache | None = None
    routing: Routing | None = None
    """None for a model without mixtures."""


class MunroLayer(GradientCheckpointingLayer):  # type: ignore[misc]
    """Attention and feed-forward, each between two norms."""

    def __init__(self, config: MunroConfig, layer: int) -> None:
        super().__init__()
        assert config.mlp_layer_types is not None
        width, eps = config.hidden_size, config.rms_norm_eps
        gain = 0.0 if config.zero_init_attention else 1.0
        self.attention_in_norm = RMSNorm(width, eps)
        self.self_attn = Attention(config, layer)
        self.attention_out_norm = RMSNorm(width, eps, initial_gain=gain)
        self.mlp_in_norm = RMSNorm(width, eps)
        self.is_mixture = config.mlp_layer_types[layer] == "sparse"
        self.mlp = (
            LatentMoE(config) if self.is_mixture else FeedForward(width, config.intermediate_size)
        )
        self.mlp_out_norm = RMSNorm(width, eps)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        x_BTD: Tensor,
        rotation: tuple[Tensor, Tensor],
        masks: Masks,
        replay_BTK: Tensor | None,
        counted_BT: Tensor | None,
        cache: Cache | None,
        **kwargs: Any,
    ) -> tuple[Tensor, Routing | None]:
        """The residual stream after this layer, and how its mixture was used."""
        dtype = self.self_attn.qkv_proj.weight.dtype
        inner = self.attention_in_norm(x_BTD).to(dtype)
        mixed = self.self_attn(inner, rotation, masks, cache, **kwargs)
        x_BTD = x_BTD + self.dropout(self.attention_out_norm(mixed))
        inner = self.mlp_in_norm(x_BTD)
        if not self.is_mixture:
            return x_BTD + self.dropout(self.mlp_out_norm(self.mlp(inner.to(dtype)))), None
        replay_NK = None if replay_BTK is None else replay_BTK.flatten(0, 1)
        out, choice = self.mlp(inner.flatten(0, 1), dtype, replay_NK)
        x_BTD = x_BTD + self.dropout(self.mlp_out_norm(out).view_as(x_BTD))
        counts_E, probability_E = choice.load(None if counted_BT is None else counted_BT.flatten())
        experts_BTK = choice.experts.view(*x_BTD.shape[:2], -1)
        used = Routing(counts=counts_E, probability=probability_E, experts=experts_BTK)
        return x_BTD, used


class MunroPreTrainedModel(PreTrainedModel):  # type: ignore[misc]
    """What transformers wants to know of the model."""

    config_class = MunroConfig
    config: MunroConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("MunroLayer",)
    _skip_keys_device_placement = ("past_key_values",)
    _keep_in_fp32_modules_strict = ("embed_tokens", "lm_head", "norm", "router")
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    shares_prefixes = True
    """Several continuations of one prefix may lie in a row, told apart by mask and positions."""

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """MAI-Thinking-1 report, section 2.6.2: normal, smaller where it feeds the residual."""
        std = self.config.initializer_range
        feeds_residual = std / (2 * self.config.num_hidden_layers) ** 0.5
        if isinstance(module, ResidualOutput):
            init.normal_(module.weight, std=feeds_residual)
        elif isinstance(module, nn.Linear | nn.Embedding):
            init.normal_(module.weight, std=std)
        elif isinstance(module, RMSNorm):
            init.constant_(module.weight, module.initial_gain)
        elif isinstance(module, Router):
            init.normal_(module.weight, std=std)
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, Experts):
            init.normal_(module.gate_up_proj, std=std)
            init.normal_(module.down_proj, std=std if self.config.latent_size else feeds_residual)


class MunroModel(MunroPreTrainedModel):
    """The model without its head."""

    def __init__(self, config: MunroConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(
            MunroLayer(config, layer) for layer in range(config.num_hidden_layers)
        )
        self.norm = RMSNorm(config.hidden_size, config.rms_norm_eps)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | Masks | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        use_cache: bool | None = None,
        routed_experts: Tensor | None = None,
        counted: Tensor | None = None,
        **kwargs: Any,
    ) -> MunroModelOutput:
        """From tokens to the last hidden state.

        Args:
            input_ids: [B, T]
            attention_mask: see `attention_masks`.
            position_ids: [B, T] each token's place in its own document; in order by default.
            past_key_values: cache that is read and extended.
            inputs_embeds: [B, T, D] instead of `input_ids`.
            use_cache: return a cache; by default the config's choice, and never while training.
            routed_experts: [B, T, M, K] choice of experts to repeat; -1 where there is none.
            counted: [B, T] bool, tokens whose routing is counted; by default those a
                two-dimensional mask lets through, or all.
            kwargs: go to transformers' attention function.
        """
        x_BTD = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        x_BTD = x_BTD.float()
        if use_cache is None:
            use_cache = bool(self.config.use_cache) and not self.training
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        B, T, _ = x_BTD.shape
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(past, past + T, device=x_BTD.device)[None]
        position_BT = position_ids.expand(B, T)
        masks = attention_masks(
            self.config, x_BTD.to(self._dtype), attention_mask, past_key_values, position_BT
        )
        if counted is None and isinstance(attention_mask, Tensor) and attention_mask.ndim == 2:
            counted = attention_mask[:, -T:].bool()
        rotation = rotations(position_BT, self.config.head_dim, self.config.rope_theta)
        used: list[Routing] = []
        for layer in self.layers:
            replay = None
            if routed_experts is not None and layer.is_mixture:
                replay = routed_experts[:, :, len(used)]
            x_BTD, routing = layer(
                x_BTD,
                rotation,
                masks,
                replay,
                counted,
                cache=past_key_values,
                position_ids=position_BT,
                **kwargs,
            )
            if routing is not None:
                used.append(routing)
        return MunroModelOutput(
            last_hidden_state=self.norm(x_BTD),
            past_key_values=past_key_values if use_cache else None,
            routing=_stacked(used) if used else None,
        )

    @property
    def _dtype(self) -> torch.dtype:
        """Of the matrix products, where it is not float32 in any case."""
        dtype: torch.dtype = self.get_parameter("layers.0.self_attn.qkv_proj.weight").dtype
        return dtype


class MunroForCausalLM(MunroPreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The model with its embedding as its head.

    Example:
        MunroForCausalLM(MunroConfig.from_shape(ModelShape.rung(6, vocab_size=512)))
    """

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012

    def __init__(self, config: MunroConfig) -> None:
        super().__init__(config)
        self.model = MunroModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | Masks | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        routed_experts: Tensor | None = None,
        counted: Tensor | None = None,
        **kwargs: Any,
    ) -> MunroOutput:
        """From tokens to logits.

        Args:
            labels: [B, T] token ids to be predicted, -100 for none; shifted here.
            logits_to_keep: so many last tokens get logits, or those at these columns; 0 for all.

        The other arguments are `MunroModel.forward`'s.
        """
        base = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            routed_experts=routed_experts,
            counted=counted,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        hidden = base.last_hidden_state[:, keep]
        with torch.autocast(hidden.device.type, enabled=False):
            logits = self.lm_head(hidden.to(self.lm_head.weight.dtype)).float()
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=self.config.vocab_size)
        return MunroOutput(
            loss=loss,
            logits=logits,
            past_key_values=base.past_key_values,
            routing=base.routing,
        )


def _stacked(used: list[Routing]) -> Routing:
    """One record of all layers."""

    def of(name: str) -> list[Tensor]:
        return [routing[name] for routing in used]

    return Routing(
        counts=torch.stack(of("counts")),
        probability=torch.stack(of("probability")),
        experts=torch.stack(of("experts"), dim=2),
    )


AutoConfig.register(MunroConfig.model_type, MunroConfig, exist_ok=True)
AutoModelForCausalLM.register(MunroConfig, MunroForCausalLM, exist_ok=True)
