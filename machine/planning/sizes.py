"""A model by its shape alone: what every formula of a plan asks of it. No weights, no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from munro.base_model.ladder import ModelShape, keys_seen
from munro.machine.climb.sizes import num_parameters
from munro.machine.errors import BadConfig

NEEDED = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
SHARED = ("num_shared_experts", "n_shared_experts")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """Weights of one layer, by how they are cut among ranks; norms and biases left out.

    Example:
        Layer(attention=4 * 64 * 64, feed_forward=3 * 64 * 128)
    """

    attention: int
    feed_forward: int = 0
    """Of a dense one, of shared experts, of router and latent projections."""
    experts: int = 0
    """Routed experts, all of them."""
    chosen: int = 0
    """Of those, what one token goes through."""
    inner: int = 0
    """Inner width of its dense feed-forward, or of its shared experts."""
    at: int = 0
    """Width that its experts work in."""
    expert_inner: int = 0
    """Inner width of an expert."""
    top_k: int = 0
    """Experts a token goes to."""
    num_experts: int = 0

    @property
    def dense(self) -> int:
        """What every token goes through."""
        return self.attention + self.feed_forward


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """A model, in numbers."""

    name: str
    layers: tuple[Layer, ...]
    width: int
    vocabulary: int
    tied: bool
    heads: int
    kv_heads: int
    head_dim: int
    windows: tuple[int, ...]
    """Tokens that each layer sees; 0 for all."""
    numbers_per_token: int
    """That a layer's cache holds of a token."""
    norms: int = 0
    """Parameters of norms, and what else a count of the files found."""
    wide_residual: bool = False
    """The residual stream is float32 whatever products are in, as the bundled model's is."""

    @property
    def embeddings(self) -> int:
        """Parameters of the embedding, and of the output matrix where that is another."""
        return self.vocabulary * self.width * (1 if self.tied else 2)

    @property
    def experts(self) -> int:
        """Parameters of routed experts."""
        return sum(layer.experts for layer in self.layers)

    @property
    def dense(self) -> int:
        """All other parameters."""
        return self.embeddings + self.norms + sum(layer.dense for layer in self.layers)

    @property
    def parameters(self) -> int:
        """All of them, a tied embedding once."""
        return self.dense + self.experts

    @property
    def active(self) -> int:
        """Those that one token uses."""
        return self.dense + sum(layer.chosen for layer in self.layers)

    @property
    def largest(self) -> Layer:
        """The layer that takes most when it is gathered whole."""
        return max(self.layers, key=lambda layer: layer.dense + layer.experts)

    def flops_per_token(self, context: float) -> float:
        """Operations of training on a token, as `ModelShape.flops_per_token` counts them."""
        products = sum(layer.dense + layer.chosen for layer in self.layers)
        products += self.vocabulary * self.width
        return 3 * (2 * products + self._attention(context))

    def _attention(self, context: float) -> float:
        return 4 * self.heads * self.head_dim * keys_seen(self.windows, context)

    def cached_numbers(self, tokens: float) -> float:
        """Numbers in the caches of a sequence of so many tokens, over all layers."""
        seen = sum(min(window, tokens) if window else tokens for window in self.windows)
        return self.numbers_per_token * seen


def of_shape(shape: ModelShape, name: str) -> Sizes:
    """The sizes of a bundled model."""
    hidden, at = shape.hidden_size, shape.latent_size or shape.hidden_size
    one = 3 * at * shape.expert_width
    attention = 2 * hidden * (shape.num_heads + shape.num_kv_heads) * shape.head_dim
    shared = shape.num_shared_experts * shape.expert_width
    plain = Layer(
        attention=attention, feed_forward=3 * hidden * shape.dense_width, inner=shape.dense_width
    )
    mixed = Layer(
        attention=attention,
        feed_forward=hidden * (2 * shape.latent_size + shape.num_experts + 3 * shared),
        experts=shape.num_experts * one,
        chosen=shape.top_k * one,
        inner=shared,
        at=at,
        expert_inner=shape.expert_width,
        top_k=shape.top_k,
        num_experts=shape.num_experts,
    )
    mixtures = set(shape.moe_layers)
    sizes = Sizes(
        name=name,
        layers=tuple(mixed if i in mixtures else plain for i in range(shape.num_layers)),
        width=hidden,
        vocabulary=shape.vocab_size,
        tied=True,
        heads=shape.num_heads,
        kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        windows=tuple(0 if whole else shape.window for whole in shape.is_global),
        numbers_per_token=2 * shape.num_kv_heads * shape.head_dim,
        wide_residual=True,
    )
    return replace(sizes, norms=shape.num_params() - sizes.parameters)


def of_folder(folder: Path, name: str) -> Sizes:
    """The sizes of a model by its config.json; its weights' headers are counted where they are.

    Raises:
        BadConfig: there is no config.json, or it does not say enough.
    """
    file = folder / "config.json"
    if not file.is_file():
        raise BadConfig(
            f"{name} has no config.json here, and a plan needs the model's sizes: give a folder "
            "that holds one (weights are not needed), or a shape of ours with plan.rung = 12"
        )
    try:
        sizes = of_config(json.loads(file.read_text(encoding="utf-8")), name)
    except (json.JSONDecodeError, UnicodeDecodeError, AttributeError) as error:
        raise BadConfig(f"{file} is no model's config: {error}") from error
    counted = num_parameters(folder)
    return replace(sizes, norms=max(0, sizes.norms + counted - sizes.parameters if counted else 0))


def of_config(raw: Mapping[str, Any], name: str) -> Sizes:
    """The sizes of a causal language model by what transformers writes of it.

    Raises:
        BadConfig: something is missing without which nothing can be said.
    """
    raw = raw.get("text_config") or raw
    if missing := [key for key in NEEDED if not raw.get(key)]:
        raise BadConfig(
            f"the config.json of {name} does not say {missing[0]}: a plan is made for causal "
            "language models of transformers"
        )
    heads, width = raw["num_attention_heads"], raw["hidden_size"]
    head_dim = raw.get("head_dim") or width // heads
    kv_heads = raw.get("num_key_value_heads") or heads
    attention, cached = _attention(raw, heads, kv_heads, head_dim)
    return Sizes(
        name=name,
        layers=tuple(_layer(raw, i, attention) for i in range(raw["num_hidden_layers"])),
        width=width,
        vocabulary=raw["vocab_size"],
        tied=bool(raw.get("tie_word_embeddings", False)),
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        windows=_windows(raw),
        numbers_per_token=cached,
        norms=raw["num_hidden_layers"] * 2 * width + width,
        wide_residual=raw.get("model_type") == "munro",
    )


def _attention(raw: Mapping[str, Any], heads: int, kv_heads: int, head_dim: int) -> tuple[int, int]:
    """A layer's attention weights, and the numbers that its cache holds of a token."""
    width, rank = raw["hidden_size"], raw.get("kv_lora_rank")
    if not rank:
        return 2 * width * (heads + kv_heads) * head_dim, 2 * kv_heads * head_dim
    # multi-head latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1)
    rope, plain = raw["qk_rope_head_dim"], raw["qk_nope_head_dim"]
    value, low = raw["v_head_dim"], raw.get("q_lora_rank")
    query = heads * (plain + rope)
    queries = low * (width + query) if low else width * query
    keys = width * (rank + rope) + rank * heads * (plain + value)
    return queries + keys + heads * value * width, rank + rope


def _layer(raw: Mapping[str, Any], index: int, attention: int) -> Layer:
    width, inner = raw["hidden_size"], raw.get("intermediate_size") or 0
    experts = _first(raw, EXPERTS)
    if not experts or not _is_mixture(raw, index):
        return Layer(attention=attention, feed_forward=3 * width * inner, inner=inner)
    each = raw.get("moe_intermediate_size") or inner
    latent = raw.get("latent_size") or 0
    one = 3 * (latent or width) * each
    shared = raw.get("shared_expert_intermediate_size") or _first(raw, SHARED) * each
    top_k = raw.get("num_experts_per_tok") or 1
    return Layer(
        attention=attention,
        feed_forward=width * (experts + 2 * latent + 3 * shared),
        experts=experts * one,
        chosen=top_k * one,
        inner=shared,
        at=latent or width,
        expert_inner=each,
        top_k=top_k,
        num_experts=experts,
    )


def _is_mixture(raw: Mapping[str, Any], index: int) -> bool:
    if kinds := raw.get("mlp_layer_types"):
        return bool(kinds[index] == "sparse")
    if index < (raw.get("first_k_dense_replace") or 0) or index in (
        raw.get("mlp_only_layers") or ()
    ):
        return False
    every = raw.get("decoder_sparse_step") or raw.get("moe_layer_freq") or 1
    first = 1 if raw.get("decoder_sparse_step") else 0
    return (index + first) % every == 0


def _windows(raw: Mapping[str, Any]) -> tuple[int, ...]:
    layers, window = int(raw["num_hidden_layers"]), int(raw.get("sliding_window") or 0)
    if kinds := raw.get("layer_types"):
        return tuple(window if kind == "sliding_attention" else 0 for kind in kinds)
    everywhere = window if raw.get("use_sliding_window", True) else 0
    return (everywhere,) * layers


def _first(raw: Mapping[str, Any], names: tuple[str, ...]) -> int:
    return next((int(raw[name]) for name in names if raw.get(name)), 0)
