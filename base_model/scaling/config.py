"""What a person may choose about a ladder: rungs, candidates, and how they are compared."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from munro.base_model.config import Config, PretrainConfig
from munro.base_model.data.texts_config import LadderData, known
from munro.base_model.ladder import ModelShape


class RateConfig(Config):
    """The peak learning rate of every rung, from one that was tuned.

    peak * (at_width / hidden_size) ** power: wider models want smaller steps. The report gives
    one rate for its largest model and no rule.
    """

    peak: float = Field(3e-3, gt=0)
    """At a residual stream of `at_width`."""
    at_width: int = Field(64, ge=1)
    """Width at which `peak` was found."""
    power: float = 0.5
    """0 gives every rung the same rate."""

    def rate(self, width: int) -> float:
        """Of a model this wide."""
        return self.peak * math.pow(self.at_width / width, self.power)


class RungConfig(Config):
    """One size of the ladder."""

    num_layers: int = Field(ge=1)
    """The knob; every other size follows."""
    name: str = ""
    """By default L and the number of layers."""
    shape: Mapping[str, Any] = {}
    """Sizes of `munro.base_model.ladder.ModelShape` that do not follow the rule."""

    @property
    def label(self) -> str:
        """Its name."""
        return self.name or f"L{self.num_layers}"


class CandidateConfig(Config):
    """An idea: what it changes about every rung."""

    about: str = ""
    """In a few words, for the report."""
    shape: Mapping[str, Any] = {}
    """Sizes of `munro.base_model.ladder.ModelShape`."""
    model: Mapping[str, Any] = {}
    """Fields of `munro.base_model.model.MunroConfig` that are no sizes, such as dropout."""
    training: Mapping[str, Any] = {}
    """Keys of `[training]`."""
    learning_rate: float = Field(1.0, gt=0)
    """Factor on the rate of every rung."""
    weights: Mapping[str, float] = {}
    """Of sources, instead of those in `[data]`; a source with 0 is left out."""


class RunsConfig(Config):
    """What a ladder and a mixture search share: how small models are trained side by side."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its folder is `folder/name`."""
    folder: str = "runs"
    """Where that is made."""
    data: LadderData
    tokens_per_param: float = Field(20.0, gt=0)
    """Tokens trained on for each active parameter, the same at every rung (the report: 100 to 200
    for ablations, 500 to 1,000 in production)."""
    learning_rate: RateConfig = RateConfig()
    warmup: float = Field(0.05, ge=0, lt=1)
    """Share of a training's steps; `training.schedule.warmup_steps` is not read."""
    training: PretrainConfig = PretrainConfig()
    """Rows, optimizer, schedule. Steps and peak rate follow from the rung."""
    weights: Mapping[str, float] = {}
    """Of categories in the target; empty takes the report's."""
    workers: int = Field(1, ge=1)
    """Trainings side by side, each with `training.threads` threads."""
    device: str = "cpu"
    """As torch names it."""

    @model_validator(mode="after")
    def _weights_name_categories(self) -> Self:
        categories = list(dict.fromkeys(source.category for source in self.data.sources))
        if strangers := sorted(set(self.weights) - set(categories)):
            raise ValueError(
                f"weights names {strangers[0]!r}, but the sources' categories are "
                f"{', '.join(categories)}."
            )
        return self


class LadderConfig(RunsConfig):
    """A ladder: what one TOML file says."""

    rungs: tuple[RungConfig, ...] = Field(min_length=3)
    """At least three; four for intervals from one curve alone."""
    baseline: CandidateConfig = CandidateConfig()
    """What the candidates change something about."""
    candidates: Mapping[str, CandidateConfig] = Field(min_length=1)
    """By name."""
    seeds: tuple[int, ...] = Field((0,), min_length=1)
    """Every rung is trained once for each."""
    noise: float = Field(0.0, ge=0)
    """Relative standard deviation of a loss between seeds, where it is known."""
    huber: float = Field(5e-3, gt=0)
    """Relative error of a loss from which the fit counts it linearly."""
    level: float = Field(0.95, gt=0, lt=1)
    """Of intervals."""
    steady: float = Field(0.2, gt=0)
    """A gain that changes by less than this share over a tenfold cost holds."""
    draws: int = Field(1000, ge=100)
    """Redrawn curves that intervals come from."""

    @field_validator("rungs", mode="before")
    @classmethod
    def _numbers_are_rungs(cls, rungs: Any) -> Any:
        if not isinstance(rungs, list | tuple):
            return rungs
        if len(rungs) < 3:
            raise ValueError(
                f"rungs: {len(rungs)} cannot show A, alpha and the floor E: give three to fit, "
                "four for an interval."
            )
        return [{"num_layers": rung} if isinstance(rung, int) else rung for rung in rungs]

    @model_validator(mode="after")
    def _everything_can_be_made(self) -> Self:
        labels = [rung.label for rung in self.rungs]
        if len({*labels}) < len(labels):
            raise ValueError(f"rungs: {', '.join(labels)} do not differ: give them names.")
        if BASELINE in self.candidates:
            raise ValueError(f"candidates: {BASELINE!r} is the baseline's own name; rename it.")
        for idea in self.ideas:
            for rung in self.rungs:
                self.shape_of(idea, rung)
            known(self.ideas[idea].weights, self.data, f"candidates.{idea}.weights")
        return self

    @property
    def ideas(self) -> dict[str, CandidateConfig]:
        """The baseline first, then the candidates."""
        return {BASELINE: self.baseline, **self.candidates}

    def shape_of(self, idea: str, rung: RungConfig, vocab_size: int = 0) -> ModelShape:
        """Sizes of an idea at a rung: the rung's, over them the baseline's, over them its own.

        Raises:
            ShapeError: they make no model.
        """
        vocabulary = {"vocab_size": vocab_size or self.data.vocab_size}
        own = self.ideas[idea].shape
        sizes = {**vocabulary, **rung.shape, **self.baseline.shape, **own}
        return ModelShape.rung(rung.num_layers, **sizes)


BASELINE = "baseline"
