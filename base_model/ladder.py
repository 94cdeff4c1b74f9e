"""The family of models as arithmetic: one knob, the number of layers, and every size from it.

    ModelShape.rung(12)                                  the smallest rung of the report's ladder
    ModelShape.rung(12).num_params(active=True)          without allocating a weight
    ModelShape.rung(6, hidden_size=64, head_dim=16, ...) a rung for a laptop

Sizes and rules: MAI-Thinking-1 report, section 2.1 and its Table 1. Inner widths of the gated
feed-forwards are given here; the report prints the width of the fused first product, twice that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

PATTERN = "LLLLLG"
"""Five local attention layers, then a global one; repeated over the depth."""

LOCAL, GLOBAL = "L", "G"

WIDTH_PER_LAYER = 256 / 3


def keys_seen(windows: Sequence[int], context: float) -> float:
    """Keys that a token of a causal document attends to, over all layers, in the mean.

    Args:
        windows: tokens that each layer sees, its own included; 0 for all.
        context: tokens of the document.
    """
    found = 0.0
    for window in windows:
        near = min(window, context) if window else context
        found += (near * (near + 1) / 2 + (context - near) * near) / context
    return found


class ShapeError(ValueError):
    """Sizes that make no model; says which, and what would."""

    is_sentence = True


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelShape:
    """Every size of one model.

    Example:
        ModelShape.rung(12, num_experts=64).num_params(active=True)
    """

    num_layers: int
    """Layers, each an attention and a feed-forward."""
    hidden_size: int
    """D: width of the residual stream."""
    num_heads: int
    """Query heads."""
    num_kv_heads: int
    """Key and value heads, each shared by `num_heads / num_kv_heads` query heads."""
    head_dim: int
    """Width of a head; heads together need not be as wide as the residual stream."""
    pattern: str
    """"L" for a local layer (rotary positions, window), "G" for a global one (no positions);
    repeated over the depth."""
    window: int
    """Tokens a local layer sees, its own included."""
    dense_width: int
    """Inner width of a dense feed-forward."""
    moe_every: int
    """Every so many feed-forwards one is a mixture of experts, counted so that the first is dense:
    2 alternates, 1 makes all of them mixtures, 0 none."""
    num_experts: int
    """Experts of a mixture."""
    top_k: int
    """Experts a token goes to."""
    latent_size: int
    """Width in which the experts work; 0 lets them work in the residual stream's own."""
    expert_width: int
    """Inner width of an expert."""
    num_shared_experts: int
    """Experts beside the chosen ones that every token goes to, at the residual stream's width."""
    vocab_size: int
    """Rows of the embedding, which is the output matrix too."""

    def __post_init__(self) -> None:
        self._check_sizes()
        self._check_layers()
        if self.num_heads % self.num_kv_heads:
            raise ShapeError(
                f"num_heads = {self.num_heads} is not a multiple of num_kv_heads = "
                f"{self.num_kv_heads}: every key head serves the same number of query heads."
            )
        if self.head_dim % 2:
            raise ShapeError(
                f"head_dim = {self.head_dim} is odd: rotary positions turn pairs. Make it even."
            )
        if self.moe_layers and self.num_experts < self.top_k:
            raise ShapeError(
                f"num_experts = {self.num_experts} is fewer than top_k = {self.top_k}, the experts "
                "that each token goes to. Raise num_experts or lower top_k."
            )

    def _check_sizes(self) -> None:
        may_be_zero = {"moe_every", "latent_size", "num_shared_experts"}
        if not self.moe_every:
            may_be_zero |= {"num_experts", "top_k", "expert_width"}
        for field in fields(self):
            size = getattr(self, field.name)
            if field.name == "pattern":
                continue
            least = 0 if field.name in may_be_zero else 2 if field.name == "window" else 1
            if not isinstance(size, int) or size < least:
                raise ShapeError(f"{field.name} = {size!r}: give a whole number, {least} or more.")

    def _check_layers(self) -> None:
        if not self.pattern or set(self.pattern) - {LOCAL, GLOBAL}:
            raise ShapeError(
                f"pattern = {self.pattern!r}: write L for a local attention layer and G for a "
                f"global one, for example {PATTERN!r}."
            )
        if self.num_layers % len(self.pattern):
            raise ShapeError(
                f"num_layers = {self.num_layers} is not a multiple of {len(self.pattern)}, the "
                f"length of the attention pattern {self.pattern!r}. Choose a multiple, or give a "
                "pattern that fits."
            )

    @classmethod
    def rung(
        cls, num_layers: int, *, width_per_layer: float = WIDTH_PER_LAYER, **overrides: Any
    ) -> Self:
        """The model of this depth; sizes not given follow from it, or from those that are given.

        Args:
            num_layers: the one knob.
            width_per_layer: residual width per layer, for a family narrower than the report's.
            overrides: any field of this class.

        Raises:
            ShapeError: the sizes make no model, or an override is no field.
        """
        names = {field.name for field in fields(cls)}
        if unknown := sorted(set(overrides) - names):
            raise ShapeError(
                f"{unknown[0]} is no size of a model; there are {', '.join(sorted(names))}."
            )
        if not isinstance(num_layers, int) or num_layers < 1:
            raise ShapeError(f"num_layers = {num_layers!r}: give a whole number, 1 or more.")
        hidden = overrides.get("hidden_size", 8 * max(1, round(num_layers * width_per_layer / 8)))
        kv_heads = overrides.get("num_kv_heads", 8)
        latent = overrides.get("latent_size", hidden // 2)
        derived: dict[str, Any] = {
            "num_layers": num_layers,
            "hidden_size": hidden,
            # the report's table: its text says another rule, which its own counts contradict
            "num_heads": kv_heads * max(1, round(num_layers / 8)),
            "num_kv_heads": kv_heads,
            "head_dim": 128,
            "pattern": PATTERN,
            "window": 512,
            "dense_width": hidden,
            "moe_every": 2,
            "num_experts": 512,
            "top_k": 8,
            "latent_size": latent,
            "expert_width": 3 * (latent or hidden) // 2,
            "num_shared_experts": 0,
            "vocab_size": 200_019,
        }
        return cls(**{**derived, **overrides})

    @property
    def moe_layers(self) -> tuple[int, ...]:
        """Indices of the layers whose feed-forward is a mixture of experts."""
        every = self.moe_every
        return tuple(layer for layer in range(self.num_layers) if every and not (layer + 1) % every)

    @property
    def is_global(self) -> tuple[bool, ...]:
        """Layer by layer, whether its attention is global."""
        return tuple(
            self.pattern[layer % len(self.pattern)] == GLOBAL for layer in range(self.num_layers)
        )

    def num_params(self, *, active: bool = False) -> int:
        """Parameters, the tied embedding counted once.

        Args:
            active: count only the `top_k` experts that a token goes to.
        """
        norms = self.num_layers * (4 * self.hidden_size + 2 * self.head_dim) + self.hidden_size
        return self.vocab_size * self.hidden_size + self._products(active=active) + norms

    def flops_per_token(self, context: int) -> float:
        """Operations of the matrix products and of attention for one token of training.

        Forward and backward (twice the forward), a multiply-add counted as two, averaged over the
        tokens of a causal document of `context` tokens. Norms, gates and the embedding's look-up
        are left out, as is usual where utilisation is reported.

        Args:
            context: tokens of a document.
        """
        products = self._products(active=True) + self.vocab_size * self.hidden_size
        windows = [0 if is_global else self.window for is_global in self.is_global]
        keys = keys_seen(windows, context)
        attention = 4 * self.num_heads * self.head_dim * keys
        return 3 * (2 * products + attention)

    def _products(self, *, active: bool) -> int:
        """Weights of the layers' matrix products."""
        hidden, layers = self.hidden_size, self.num_layers
        attention = 2 * hidden * (self.num_heads + self.num_kv_heads) * self.head_dim
        num_moe = len(self.moe_layers)
        dense = 3 * hidden * self.dense_width
        at = self.latent_size or hidden
        experts = (self.top_k if active else self.num_experts) * 3 * at * self.expert_width
        shared = self.num_shared_experts * 3 * hidden * self.expert_width
        latent = 2 * hidden * self.latent_size
        router = self.num_experts * hidden
        moe = experts + shared + latent + router
        return layers * attention + (layers - num_moe) * dense + num_moe * moe
