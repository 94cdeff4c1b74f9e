"""The configuration that a checkpoint of our model carries, as transformers and vLLM read it."""

from __future__ import annotations

from typing import Any, Self

from transformers import PreTrainedConfig

from munro.base_model.ladder import GLOBAL, LOCAL, ModelShape, ShapeError

ATTENTION = {LOCAL: "sliding_attention", GLOBAL: "full_attention"}
GATINGS = ("softmax_topk", "topk_softmax")
DISPATCHES = ("grouped", "reference")


class MunroConfig(PreTrainedConfig):  # type: ignore[misc]
    """Sizes and choices of one model; `from_shape` fills in the sizes.

    Where the report is silent the choice is a field here (MAI-Thinking-1 report, section 2.1).

    Example:
        MunroConfig.from_shape(ModelShape.rung(12), max_position_embeddings=16_384)

    Raises:
        ShapeError: the sizes make no model.
    """

    model_type = "munro"
    keys_to_ignore_at_inference = ("past_key_values", "routing")

    vocab_size: int = 200_019
    hidden_size: int = 1024
    num_hidden_layers: int = 12
    num_attention_heads: int = 16
    num_key_value_heads: int = 8
    head_dim: int = 128
    layer_types: list[str] | None = None
    """One of "sliding_attention" and "full_attention" a layer; five to one by default."""
    sliding_window: int = 512
    """Tokens a local layer sees, its own included."""
    rope_theta: float = 10_000.0
    """Of local layers; global ones know no positions."""
    intermediate_size: int = 1024
    """Inner width of a dense feed-forward."""
    mlp_layer_types: list[str] | None = None
    """One of "dense" and "sparse" a layer; alternating by default, the first dense."""
    num_experts: int = 512
    num_experts_per_tok: int = 8
    latent_size: int = 512
    """Width in which experts work; 0 is the residual stream's own."""
    moe_intermediate_size: int = 768
    """Inner width of an expert."""
    num_shared_experts: int = 0
    """Experts every token goes to, computed as one feed-forward of their joint width."""
    gating: str = "softmax_topk"
    """"softmax_topk": gates are the chosen experts' shares of the softmax over all of them;
    "topk_softmax": a softmax over the chosen ones' logits."""
    norm_topk_prob: bool = True
    """Scale the gates of "softmax_topk" to add up to 1."""
    router_bias: bool = False
    """Give routers a selection bias, for balancing without a loss (`update_router_bias`)."""
    moe_dispatch: str = "grouped"
    """How experts are computed: "grouped" sorts tokens by expert, "reference" is the definition."""
    moe_round_tokens: int = 0
    """Compute experts in rounds of at most this many tokens each, recomputed in the backward pass,
    so that their memory does not depend on the balance; 0 computes all at once."""
    max_position_embeddings: int = 16_384
    """Longest token stream the model is made for; nothing in it depends on that."""
    rms_norm_eps: float = 1e-6
    initializer_range: float = 0.02
    """Standard deviation of the initial weights; outputs that feed a residual add get it divided
    by the square root of their number."""
    zero_init_attention: bool = True
    """Start with the gain of attention's output norm at 0, so that tokens are mixed only once
    training wants it (report, section 2.6.2)."""
    dropout: float = 0.15
    """On every sub-layer's output, before it is added to the residual stream."""
    tie_word_embeddings: bool = True
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        layers = self.num_hidden_layers
        if self.layer_types is None:
            self.layer_types = [ATTENTION["LLLLLG"[layer % 6]] for layer in range(layers)]
        if self.mlp_layer_types is None:
            self.mlp_layer_types = [("dense", "sparse")[layer % 2] for layer in range(layers)]
        self._check()
        super().__post_init__(**kwargs)

    @classmethod
    def from_shape(cls, shape: ModelShape, **others: Any) -> Self:
        """The configuration of a model of this shape; `others` are fields that are no sizes."""
        sparse = set(shape.moe_layers)
        return cls(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=shape.num_heads,
            num_key_value_heads=shape.num_kv_heads,
            head_dim=shape.head_dim,
            layer_types=[ATTENTION[GLOBAL if g else LOCAL] for g in shape.is_global],
            sliding_window=shape.window,
            intermediate_size=shape.dense_width,
            mlp_layer_types=["sparse" if i in sparse else "dense" for i in range(shape.num_layers)],
            num_experts=shape.num_experts,
            num_experts_per_tok=shape.top_k,
            latent_size=shape.latent_size,
            moe_intermediate_size=shape.expert_width,
            num_shared_experts=shape.num_shared_experts,
            **others,
        )

    @property
    def shape(self) -> ModelShape:
        """The sizes, for counting parameters and operations.

        Raises:
            ShapeError: the mixtures do not follow a rule that a shape can state.
        """
        letters = {kind: letter for letter, kind in ATTENTION.items()}
        sparse = [layer for layer, kind in enumerate(self.mlp_layer_types or ()) if kind != "dense"]
        shape = ModelShape(
            num_layers=self.num_hidden_layers,
            hidden_size=self.hidden_size,
            num_heads=self.num_attention_heads,
            num_kv_heads=self.num_key_value_heads,
            head_dim=self.head_dim,
            pattern="".join(letters[kind] for kind in self.layer_types or ()),
            window=self.sliding_window,
            dense_width=self.intermediate_size,
            moe_every=sparse[0] + 1 if sparse else 0,
            num_experts=self.num_experts,
            top_k=self.num_experts_per_tok,
            latent_size=self.latent_size,
            expert_width=self.moe_intermediate_size,
            num_shared_experts=self.num_shared_experts,
            vocab_size=self.vocab_size,
        )
        if list(shape.moe_layers) != sparse:
            raise ShapeError(
                f"mlp_layer_types = {self.mlp_layer_types}: mixtures at uneven distances make a "
                "model, but no shape whose parameters could be counted by rule."
            )
        return shape

    @property
    def num_moe_layers(self) -> int:
        """Layers whose feed-forward is a mixture of experts."""
        return sum(kind == "sparse" for kind in self.mlp_layer_types or ())

    def _check(self) -> None:
        for name, kinds in (
            ("layer_types", set(ATTENTION.values())),
            ("mlp_layer_types", {"dense", "sparse"}),
        ):
            given = getattr(self, name)
            if len(given) != self.num_hidden_layers or set(given) - kinds:
                raise ShapeError(
                    f"{name} = {given}: give each of the {self.num_hidden_layers} layers one of "
                    f"{', '.join(sorted(kinds))}."
                )
        for name, known in (("gating", GATINGS), ("moe_dispatch", DISPATCHES)):
            if getattr(self, name) not in known:
                raise ShapeError(
                    f"{name} = {getattr(self, name)!r}: choose one of {', '.join(known)}."
                )
        if not self.tie_word_embeddings:
            raise ShapeError("tie_word_embeddings = False: this model has one embedding for both.")
        if not 0 <= self.dropout < 1:
            raise ShapeError(f"dropout = {self.dropout}: give a share from 0 up to 1.")
        uneven = self.mlp_layer_types is not None and "sparse" in self.mlp_layer_types
        if self.num_attention_heads % self.num_key_value_heads:
            raise ShapeError(
                f"num_attention_heads = {self.num_attention_heads} is not a multiple of "
                f"num_key_value_heads = {self.num_key_value_heads}."
            )
        if uneven and self.num_experts < self.num_experts_per_tok:
            raise ShapeError(
                f"num_experts = {self.num_experts} is fewer than num_experts_per_tok = "
                f"{self.num_experts_per_tok}, the experts that each token goes to."
            )
