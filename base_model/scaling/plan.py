"""What a ladder will train, before anything is: sizes, tokens, operations, learning rates.

Pure arithmetic on the configuration, without torch, so that the report's own ladder can be looked
at on a laptop.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any

from munro.base_model.config import PretrainConfig
from munro.base_model.ladder import ModelShape
from munro.base_model.scaling.config import LadderConfig, RunsConfig

RECIPE_VERSION = 1
"""Raised whenever the code would train something else from the same plan."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """One training: everything that decides what comes out of it.

    Example:
        plan = plans(config)[0]
        plan.flops / 1e18, plan.shape.num_params(active=True)
    """

    name: str
    """Of the idea or the mixture."""
    rung: str
    shape: ModelShape
    model: Mapping[str, Any]
    """Fields of the model's configuration that are no sizes."""
    training: PretrainConfig
    weights: Mapping[str, float]
    """By source."""
    kept: Mapping[str, float]
    """Share of each source's documents that is there to be read; 1 where it is not named. Fewer
    imitate, in a small run, how often a long one would repeat them."""

    @property
    def num_tokens(self) -> int:
        """Tokens of the training, padding included."""
        return self.training.num_steps * self.training.batch_rows * self.training.row_tokens

    @property
    def flops(self) -> float:
        """Operations of the training (matrix products and attention)."""
        return self.shape.flops_per_token(self.training.row_tokens) * self.num_tokens

    def key(self, data: str) -> str:
        """A short name that changes with whatever decides the outcome; `data` names the text."""
        decisive = {
            "version": RECIPE_VERSION,
            "data": data,
            "shape": asdict(self.shape),
            "model": dict(self.model),
            "training": self.training.model_dump(mode="json", exclude=set(IDLE)),
            "weights": dict(self.weights),
            "kept": dict(self.kept),
        }
        return sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:8]


IDLE = ("threads", "log_every", "checkpoint_every", "evaluate_every", "peak_flops")
"""Keys of `[training]` that do not change the weights beyond rounding."""


def plans(config: LadderConfig, vocab_size: int = 0) -> tuple[Plan, ...]:
    """Every training of a ladder, in the order of its rungs.

    Args:
        config: the ladder.
        vocab_size: of the tokenizer at hand; 0 takes the one asked for.

    Raises:
        ValueError: a candidate's keys make no training.
    """
    made = []
    for rung in config.rungs:
        for idea, chosen in config.ideas.items():
            shape = config.shape_of(idea, rung, vocab_size)
            for seed in config.seeds:
                merged = _merged(config.baseline.training, chosen.training)
                made.append(
                    Plan(
                        name=idea,
                        rung=rung.label,
                        shape=shape,
                        model={**config.baseline.model, **chosen.model},
                        training=training_for(
                            config,
                            shape,
                            seed=seed,
                            overrides=merged,
                            rate=config.baseline.learning_rate
                            * (chosen.learning_rate if chosen is not config.baseline else 1),
                        ),
                        weights=dict(
                            chosen.weights or config.baseline.weights or config.data.weights
                        ),
                        kept={},
                    )
                )
    return tuple(made)


def training_for(
    config: RunsConfig,
    shape: ModelShape,
    *,
    seed: int,
    overrides: Mapping[str, Any] | None = None,
    rate: float = 1.0,
    compute: float = 1.0,
) -> PretrainConfig:
    """The trainer's configuration for a model of this shape.

    Args:
        config: tokens per active parameter, the rule of the rates, and all else.
        shape: of the model.
        seed: of weights and order.
        overrides: keys of `[training]` that this run changes.
        rate: factor on the learning rate.
        compute: factor on the tokens.

    Raises:
        ValueError: an override is no key, or no value for one.
    """
    raw = _merged(config.training.model_dump(), overrides or {})
    training = PretrainConfig.model_validate({**raw, "seed": seed})
    tokens = config.tokens_per_param * shape.num_params(active=True) * compute
    steps = max(1, math.ceil(tokens / (training.batch_rows * training.row_tokens)))
    peak = config.learning_rate.rate(shape.hidden_size) * rate
    warmup = round(config.warmup * steps)
    return training.model_copy(
        update={
            "num_steps": steps,
            "optimizer": training.optimizer.model_copy(update={"learning_rate": peak}),
            "schedule": training.schedule.model_copy(update={"warmup_steps": warmup}),
        }
    )


def table(some: tuple[Plan, ...]) -> str:
    """Plans as a person reads them."""
    head = f"{'idea':<20}{'rung':<8}{'active':>10}{'total':>10}{'tokens':>10}{'steps':>9}"
    rows = [f"{head}{'FLOPs':>11}{'peak rate':>11}"]
    for plan in some:
        active, total = plan.shape.num_params(active=True), plan.shape.num_params()
        rows.append(
            f"{plan.name:<20}{plan.rung:<8}{short(active):>10}{short(total):>10}"
            f"{short(plan.num_tokens):>10}{plan.training.num_steps:>9,}{plan.flops:>11.2e}"
            f"{plan.training.optimizer.learning_rate:>11.2e}"
        )
    rows.append(f"{len(some)} trainings, {sum(plan.flops for plan in some):.2e} FLOPs in all")
    return "\n".join(rows)


def short(number: float) -> str:
    """1234567 as "1.23M", 999999 as "1M"."""
    number = float(f"{number:.3g}") if number >= 100 else number
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.0f}"


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings, those of `over` winning key by key."""
    merged = dict(under)
    for key, value in over.items():
        inner = merged.get(key)
        both = isinstance(inner, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(inner, value) if both else value  # type: ignore[arg-type]
    return merged
