"""What a person may choose about the search for a mixture."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from munro.base_model.ladder import ModelShape
from munro.base_model.scaling.config import CandidateConfig, RungConfig, RunsConfig


class MixConfig(RunsConfig):
    """A mixture search: what one TOML file says.

    Sources belong to the category that they are scored in. Searches inside one category alternate
    with a search over the categories' shares.
    """

    rung: RungConfig
    """Size of the proxies."""
    architecture: CandidateConfig = CandidateConfig()
    """What they change about the rule."""
    proxies: int = Field(32, ge=4)
    """Trainings of one search; the report spends several thousand in all."""
    rounds: int = Field(1, ge=1)
    """How often the searches inside categories and the one over them take turns."""
    strength: tuple[float, float] = (2.0, 40.0)
    """Mixtures are drawn from a Dirichlet around the present one, with so much mass for each
    source, drawn between these evenly in its logarithm: low wanders far, high stays near."""
    target_tokens: float = Field(0.0, ge=0)
    """Length of the run that the mixture is for. Sources are capped by their `max_epochs` over
    that length, and proxies see so few of the documents that they repeat them as often as that run
    will. 0: the proxies' own length."""
    folds: int = Field(5, ge=2)
    """Of the cross-validation that chooses the regression."""
    considered: int = Field(20_000, ge=100)
    """Mixtures whose loss is predicted."""
    best_share: float = Field(0.005, gt=0, le=1)
    """Of those, the best whose mean is proposed."""
    finalists: int = Field(3, ge=2)
    """Mixtures that are trained again with more compute, the one that the search began from and
    the one proposed included."""
    compute: float = Field(2.8, gt=1)
    """How much more (report, section 2.5: about 2.8 times)."""
    validation: RungConfig | None = None
    """Size of those trainings; unset, the proxies' own on more tokens."""
    seed: int = 0
    """Of everything drawn, and of the trainings."""

    @model_validator(mode="after")
    def _can_be_searched(self) -> Self:
        if len(self.data.sources) < 2:
            raise ValueError("data.sources: a mixture of one source needs no search; name another.")
        low, high = self.strength
        if not 0 < low <= high:
            raise ValueError(f"strength = [{low:g}, {high:g}]: give a lower and a higher bound.")
        self.shape_of(self.rung)
        if self.validation is not None:
            self.shape_of(self.validation)
        return self

    def shape_of(self, rung: RungConfig, vocab_size: int = 0) -> ModelShape:
        """Sizes of a proxy.

        Raises:
            ShapeError: they make no model.
        """
        vocabulary = {"vocab_size": vocab_size or self.data.vocab_size}
        sizes = {**vocabulary, **rung.shape, **self.architecture.shape}
        return ModelShape.rung(rung.num_layers, **sizes)
