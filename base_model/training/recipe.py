"""A base model's whole training in one TOML file: its phases, each inheriting the one before.

    [model] [data]                   one model, one set of sources
    [phase.pretrain]                 everything a phase needs
    [phase.mid1]                     only what differs; tables are merged, mixtures replaced
    [phase.mid2]

MAI-Thinking-1 report, section 2.6 and its Table 6.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from munro.base_model.config import (
    Config,
    OptimizerConfig,
    ParallelConfig,
    PretrainConfig,
    ScheduleConfig,
    SpikeConfig,
)
from munro.base_model.data.texts_config import LadderData, known
from munro.base_model.ladder import ModelShape

REPLACED = ("mixture",)
"""Tables of a phase that are never merged with the phase before."""


class ArchitectureConfig(Config):
    """The model: one knob, and what does not follow from it."""

    num_layers: int = Field(ge=1)
    """The knob; every other size follows."""
    shape: Mapping[str, Any] = {}
    """Sizes of `munro.base_model.ladder.ModelShape` that do not follow the rule."""
    options: Mapping[str, Any] = {}
    """Fields of `munro.base_model.model.MunroConfig` that are no sizes, such as dropout."""
    start: str = ""
    """A checkpoint whose weights the first phase begins with, instead of untrained ones: a folder,
    or its name on the hub. Its sizes must be these."""

    @model_validator(mode="after")
    def _makes_a_model(self) -> Self:
        self.sized(vocab_size=2)
        return self

    def sized(self, *, vocab_size: int) -> ModelShape:
        """Every size.

        Raises:
            ShapeError: they make no model.
        """
        return ModelShape.rung(self.num_layers, **{"vocab_size": vocab_size, **self.shape})


class ParallelismConfig(Config):
    """How a phase's work is spread."""

    ranks: int = Field(1, ge=1)
    """Processes: started here, over the nodes of a cluster (`address`), or by torchrun."""
    address: str = ""
    """Of a running Ray cluster whose nodes all see the run's folder, for example "auto"; empty
    starts the ranks on this machine."""
    shard: Literal["zero2", "zero3"] = "zero3"
    """FSDP2: zero3 gives a layer's weights back after its forward pass, zero2 keeps them until its
    backward pass."""
    micro_rows: int = Field(0, ge=0)
    """Rows of one forward pass on one rank; 0 takes a rank's rows at once."""
    activation_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more work."""
    threads: int = Field(0, ge=0)
    """CPU threads of a rank; 0 takes what torch chose, or a rank's share of the cores."""


class PhaseConfig(Config):
    """One phase. What it does not say is as in the phase before."""

    tokens: int = Field(ge=1)
    """To train on; rounded to whole batches."""
    context: int = Field(ge=8)
    """Tokens of a packed row."""
    batch_tokens: int = Field(ge=8)
    """Tokens of an optimizer step, over all ranks: a multiple of `context`."""
    mixture: dict[str, float] = Field(default_factory=dict)
    """Weights by source, instead of those in `[data]`; a source that is not named is left out."""
    optimizer: OptimizerConfig = OptimizerConfig()
    schedule: ScheduleConfig = ScheduleConfig()
    carry_moments: bool = True
    """Begin with the optimizer's moments of the phase before (the report does not say)."""
    parallelism: ParallelismConfig = ParallelismConfig()
    parallel: ParallelConfig = ParallelConfig()
    """What `parallelism.ranks` have in common; by default FSDP parts everything among all."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products: bfloat16 is autocast; weights, gradients and moments stay in float32."""
    keep_documents_apart: bool = True
    """Tokens see only their own document."""
    balance: float = Field(0.0, ge=0)
    """Coefficient of the load-balance loss over the global batch."""
    bias_rate: float = Field(0.0, ge=0)
    """Balancing without a loss: step of the selection biases; needs `router_bias` in the model's
    options."""
    evaluate_every: int = Field(0, ge=0)
    """Steps between evaluations; the last step is followed by one anyway."""
    checkpoint_every: int = Field(100, ge=1)
    """Steps between checkpoints."""
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics."""
    spikes: SpikeConfig = SpikeConfig()
    peak_flops: float = Field(0.0, ge=0)
    """Operations a second of one rank's device, for the utilisation; 0 where unknown."""
    ideal_step_s: float = Field(0.0, ge=0)
    """Seconds of an ideal step, which goodput is measured against; 0 takes the median step."""

    @model_validator(mode="after")
    def _rows_divide(self) -> Self:
        rows, rest = divmod(self.batch_tokens, self.context)
        if rest:
            raise ValueError(
                f"batch_tokens = {self.batch_tokens} is not a multiple of context = "
                f"{self.context}: take {max(rows, 1) * self.context}."
            )
        spread = self.parallelism
        self.parallel.refuse(spread.ranks, "parallel", "parallelism.ranks")
        ranks, micro = spread.ranks // self.parallel.context, spread.micro_rows
        if rows % ranks or (micro and rows // ranks % micro):
            apart = f" / parallel.context = {ranks}" if self.parallel.context > 1 else ""
            raise ValueError(
                f"batch_tokens = {self.batch_tokens} makes {rows} rows of {self.context} tokens, "
                f"which do not divide among parallelism.ranks = {spread.ranks}{apart}"
                + (f" in micro-batches of parallelism.micro_rows = {micro}." if micro else ".")
            )
        if self.context % self.parallel.context:
            raise ValueError(
                f"context = {self.context} tokens of a row do not divide among "
                f"parallel.context = {self.parallel.context} ranks: take a multiple."
            )
        return self

    @property
    def num_steps(self) -> int:
        """Optimizer steps."""
        return max(1, round(self.tokens / self.batch_tokens))

    def training(self, seed: int) -> PretrainConfig:
        """What the trainer is told."""
        spread = self.parallelism
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
        share = max(1, cores // spread.ranks) if spread.ranks > 1 else 0
        same = set(PretrainConfig.model_fields) & set(type(self).model_fields)
        return PretrainConfig(
            num_steps=self.num_steps,
            batch_rows=self.batch_tokens // self.context,
            row_tokens=self.context,
            micro_rows=spread.micro_rows,
            shard=spread.shard,
            activation_checkpointing=spread.activation_checkpointing,
            threads=spread.threads or share,
            seed=seed,
            **{name: getattr(self, name) for name in same},
        )


class PretrainRecipe(Config):
    """A base model's training: what one TOML file says."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its folder is `folder/name`."""
    folder: str = "runs"
    """Where that is made."""
    seed: int = Field(0, ge=0)
    """Of the first weights, the order of the data and dropout."""
    model: ArchitectureConfig
    data: LadderData
    """Sources, their weights, the tokenizer, and what is held out of each and scored."""
    reference: str = ""
    """An evaluation.json whose NLLs normalise the target; empty compares nats."""
    phase: dict[str, PhaseConfig] = Field(min_length=1)
    """By name, in order."""

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, raw: Any) -> Any:
        phases = raw.get("phase") if isinstance(raw, Mapping) else None
        if not isinstance(phases, Mapping) or not all(
            isinstance(phase, Mapping) for phase in phases.values()
        ):
            return raw
        resolved: dict[str, Any] = {}
        before: Mapping[str, Any] = {}
        for name, own in phases.items():
            before = resolved[name] = _merged(before, own)
        return {**raw, "phase": resolved}

    @model_validator(mode="after")
    def _mixtures_name_sources(self) -> Self:
        for name, phase in self.phase.items():
            known(phase.mixture, self.data, f"phase.{name}.mixture")
        return self

    def seed_of(self, name: str) -> int:
        """Of one phase: each reads in an order of its own."""
        return self.seed + list(self.phase).index(name)

    def weights_of(self, name: str) -> dict[str, float]:
        """Of the sources in one phase."""
        return self.phase[name].mixture or self.data.weights


def _merged(before: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A phase's raw table over the one it inherits."""
    merged = dict(before)
    for key, value in own.items():
        tables = isinstance(value, Mapping) and isinstance(before.get(key), Mapping)
        merged[key] = _merged(before[key], value) if tables and key not in REPLACED else value
    return merged
