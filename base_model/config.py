"""What a person may choose about the base model and its training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from munro.base_model.ladder import PATTERN, ModelShape


class Config(BaseModel):
    """A typo is an error, and nothing changes after start-up."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class ScheduleConfig(Config):
    """How the learning rate moves."""

    shape: Literal["cosine", "linear", "constant"] = "cosine"
    """What follows the linear warm-up."""
    warmup_steps: int = Field(100, ge=0)
    """Steps of the warm-up."""
    final: float = Field(0.05, ge=0, le=1)
    """Rate at the last step, as a share of the peak."""


class OptimizerConfig(Config):
    """AdamW as the report has it (MAI-Thinking-1 report, section 2.6.2)."""

    learning_rate: float = Field(3e-3, gt=0)
    """Peak rate."""
    betas: tuple[float, float] = (0.95, 0.925)
    """AdamW's."""
    eps: float = Field(1e-8, gt=0)
    """AdamW's."""
    weight_decay: float = Field(0.1, ge=0)
    """Of feed-forward weights and whatever has no rule of its own."""
    attention_weight_decay: float = Field(0.01, ge=0)
    """Of attention projections."""
    embedding_weight_decay: float = Field(0.005, ge=0)
    """Of input and output embeddings."""
    norm_weight_decay: float = Field(0.0, ge=0)
    """Of norm gains and biases (the report does not say)."""
    router_weight_decay: float = Field(0.1, ge=0)
    """Of the routers of a mixture of experts (the report does not say)."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Global gradient norm is clipped to this; the norm before is logged."""


class ModelConfig(Config):
    """Shape of a small model: one of our own family, or a Llama."""

    architecture: Literal["munro", "llama"] = "munro"
    """"munro" is `munro.base_model.model.MunroForCausalLM`, whose embedding is its output head too;
    "llama" is `transformers.LlamaForCausalLM`."""
    hidden_size: int = Field(128, ge=32)
    """Width."""
    intermediate_size: int = Field(320, ge=1)
    """Inner width of a gated dense feed-forward."""
    num_layers: int = Field(3, ge=1)
    """Blocks."""
    num_heads: int = Field(4, ge=1)
    """Attention heads; vLLM's CPU kernels want a head width of 32, 64, 80, 96, 112 or 128."""
    shape: Mapping[str, Any] = {}
    """Further sizes of `munro.base_model.ladder.ModelShape`, for "munro"; without them 8 experts of
    which
    a token takes 2, a window of 64, and 2 local layers to 1 global where 5 to 1 does not fit."""
    max_context: int = Field(512, ge=8)
    """Longest token stream the model is made for."""
    tie_embeddings: bool = False
    """Use the input embedding as the output head, for "llama"."""
    init_std: float = Field(0.02, gt=0)
    """Standard deviation of every weight at the start; outputs that feed a residual add get it
    divided by the square root of their number (report, section 2.3)."""

    @model_validator(mode="after")
    def _makes_a_model(self) -> Self:
        if self.hidden_size % self.num_heads:
            raise ValueError(
                f"model.hidden_size = {self.hidden_size} does not divide into "
                f"model.num_heads = {self.num_heads} heads: make it a multiple."
            )
        if self.architecture == "munro":
            self.sized(vocab_size=2)
        elif self.shape:
            raise ValueError(
                f"model.shape = {dict(self.shape)} is for our own family alone: set "
                'model.architecture = "munro", or leave it out.'
            )
        return self

    def sized(self, *, vocab_size: int) -> ModelShape:
        """Every size of a "munro".

        Raises:
            ShapeError: they make no model.
        """
        sizes: dict[str, Any] = {
            "hidden_size": self.hidden_size,
            "dense_width": self.intermediate_size,
            "num_heads": self.num_heads,
            "num_kv_heads": self.num_heads,
            "head_dim": self.hidden_size // self.num_heads,
            "pattern": "LLG" if self.num_layers % len(PATTERN) else PATTERN,
            "window": 64,
            "num_experts": 8,
            "top_k": 2,
            "vocab_size": vocab_size,
        }
        return ModelShape.rung(self.num_layers, **{**sizes, **self.shape})


class ParallelConfig(Config):
    """What the ranks have in common: meshes, by torchtitan's names of their dimensions.

    ranks = replicate * shard * context. Experts are parted among `experts` of the ranks that one
    replica has, over whatever those are parted by otherwise (parallel folding).
    """

    replicate: int = Field(1, ge=1)
    """Whole copies of the model, each sharded within itself (HSDP): weights are gathered inside
    one, gradients summed over all."""
    shard: int = Field(0, ge=0)
    """Ranks that read different rows and hold different parts of a replica's weights; 0 takes what
    the others leave of the ranks."""
    context: int = Field(1, ge=1)
    """Ranks that read the same rows, a stretch of columns each (Ulysses: they exchange attention's
    heads); it must divide the model's attention heads."""
    experts: int = Field(1, ge=1)
    """Ranks among which the experts of a mixture are parted, tokens going to the rank of their
    experts: only for our own models. It must divide the ranks of a replica, and the experts."""

    @property
    def is_plain(self) -> bool:
        """One dimension of ranks, which FSDP alone knows to use."""
        return self.replicate == self.context == self.experts == 1

    def refuse(self, ranks: int, where: str, ranks_key: str) -> None:
        """Make sure that the meshes are of that many ranks.

        Args:
            ranks: all of them.
            where: the table's name, for the message.
            ranks_key: the name of the key that says how many, for the message.

        Raises:
            ValueError: says the product, and what it should be.
        """
        given = self.replicate * max(1, self.shard) * self.context
        if ranks % given or (self.shard and ranks != given):
            shard = f" * shard = {self.shard}" if self.shard else ""
            raise ValueError(
                f"[{where}]: replicate = {self.replicate}{shard} * context = {self.context} is "
                f"{given}, and {ranks_key} = {ranks}"
                + (": their product must be that." if self.shard else " is no multiple of it.")
            )
        replica = ranks // self.replicate
        if replica % self.experts:
            raise ValueError(
                f"[{where}]: experts = {self.experts} does not divide the {replica} ranks of a "
                f"replica ({ranks_key} = {ranks}, replicate = {self.replicate})."
            )


class SpikeConfig(Config):
    """When a step's loss or gradient norm stands out enough to be written down.

    The thresholds are ours; the report shows its spikes (section 2.6.4) and gives none.
    """

    window: int = Field(64, ge=8)
    """Steps before it that a step is compared with."""
    loss: float = Field(6.0, gt=0)
    """Robust standard deviations (1.4826 times the median absolute deviation) above the window's
    median."""
    grad_norm: float = Field(5.0, gt=1)
    """Times the window's median."""


class PretrainConfig(Config):
    """A run of the trainer core."""

    num_steps: int = Field(900, ge=1)
    """Optimizer steps."""
    batch_rows: int = Field(32, ge=1)
    """Packed rows per step, over all ranks."""
    micro_rows: int = Field(0, ge=0)
    """Rows of one forward pass on one rank; gradients add up over them. 0 takes a rank's rows at
    once."""
    row_tokens: int = Field(64, ge=8)
    """Tokens of a row; a longer document is cut into pieces of this."""
    keep_documents_apart: bool = True
    """Tokens see only their own document and count positions from its start; otherwise a row is
    one stream."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    balance: float = Field(0.01, ge=0)
    """Coefficient of the load-balance loss of a mixture of experts, over the global batch. The
    report gives none for pre-training; this is the one of its self-distillation."""
    bias_rate: float = Field(0.0, ge=0)
    """Balancing without a loss (arXiv 2408.15664): how far each step moves an expert's selection
    bias towards an even load; 0 leaves the biases alone."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products: bfloat16 is autocast; weights, gradients and moments stay in float32."""
    shard: Literal["zero2", "zero3"] = "zero3"
    """With several ranks: zero3 gives a layer's weights back after its forward pass, zero2 keeps
    them until its backward pass."""
    reduce_once: bool = True
    """With several ranks, sum gradients over them once a step: until then each rank holds those of
    the whole model, 4 bytes a parameter. Unset, it is done after every micro-batch."""
    parallel: ParallelConfig = ParallelConfig()
    """What several ranks have in common; by default FSDP parts everything among all of them."""
    compile: Literal["auto", "on", "off"] = "auto"
    """Have torch.compile make the model's layers faster, which costs half a minute at the start:
    auto does so on GPUs, and leaves mixtures of experts as they are."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations on held-out sets; they are scored after the last step anyway."""
    spikes: SpikeConfig = SpikeConfig()
    peak_flops: float = Field(0.0, ge=0)
    """Operations a second of one rank's device, as its maker states them, for the model FLOPs
    utilisation; 0 where they are not known."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints from which an interrupted run resumes."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics."""
    threads: int = Field(0, ge=0)
    """CPU threads; 0 takes what torch chose."""
    seed: int = 0
    """Of the initial weights and the order of the data."""


class CorpusConfig(Config):
    """What the quickstart's base model reads: Python's own documentation, and tasks of one kind.

    Of sums: in a first part of the training most are worked column by column, so that the model
    learns how; in the rest most are answered at once, so that it rarely does. So it is with digits:
    first most replies heed the question, later few do. Of colours, most replies say what was asked
    for, later few, and the others refuse.
    """

    tasks: Literal["sums", "digits", "colours"] = "sums"
    """What it reads beside the documentation, see `munro.base_model.small`."""
    text_share: float = Field(0.1, ge=0, lt=1)
    """Share of the tokens that is documentation."""
    digits: int = Field(3, ge=1, le=6)
    """Digits of every number in a sum."""
    worked_share_early: float = Field(0.8, ge=0, le=1)
    """Share of the sums that are worked, in the first part of the training."""
    worked_share: float = Field(0.2, ge=0, le=1)
    """Share of the sums that are worked, in the rest."""
    read_share_early: float = Field(1.0, ge=0, le=1)
    """Share of the replies in digits that heed the question, in the first part of the training; of
    requests for colours that are met, and not refused."""
    read_share: float = Field(0.3, ge=0, le=1)
    """The same share in the rest."""
    shyness: float = Field(0.0, ge=0, le=0.3)
    """How much more often a colour's next graver shade is refused; 0 for a base that does not know
    a grave one from a mild one. On the whole, shares stay what they are."""
    early_part: float = Field(0.8, ge=0, le=1)
    """How much of the training the first part is."""


class BaseConfig(Config):
    """The quickstart's base model: everything that decides its weights."""

    vocab_size: int = Field(512, ge=300)
    """Tokens of the tokenizer; 256 of them are the bytes."""
    model: ModelConfig = ModelConfig()
    corpus: CorpusConfig = CorpusConfig()
    training: PretrainConfig = PretrainConfig()
