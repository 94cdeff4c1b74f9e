"""What a person may choose about the text of a ladder: its sources, and what is held out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

from pydantic import Field, model_validator

from munro.base_model.config import Config
from munro.base_model.data.config import MixtureSource


class LadderSource(MixtureSource):
    """A source, and the category that its held-out part is scored in.

    Its path may also be one of the texts that need no file: "python:code" and
    "python:documentation" are the standard library's, "worked:arithmetic" sums that are worked.
    """

    category: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    """"code", "stem", "math", "general" and "multilingual" have the report's weights."""


class LadderData(Config):
    """What every training of a ladder reads, and is scored on."""

    sources: tuple[LadderSource, ...] = Field(min_length=1)
    """With their weights in the mixture."""
    tokenizer: str = ""
    """Folder of one; empty trains one on the sources."""
    vocab_size: int = Field(1024, ge=300)
    """Of the one that is trained."""
    training_mb: float = Field(4.0, gt=0)
    """Text that it is trained on, taken evenly from all sources."""
    held_out_every: int = Field(20, ge=2)
    """Every so many-th document of a source is never trained on but scored."""
    held_out_tokens: int = Field(20_000, ge=100)
    """Scored of each source, at most."""
    text_mb: float = Field(64, gt=0)
    """Text that is tokenised at the start instead of being built into shards."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        names = self.names
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"data.sources: two are called {twice[0]!r}; give one another `name`.")
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """Of the sources."""
        return tuple(name_of(source) for source in self.sources)

    @property
    def weights(self) -> dict[str, float]:
        """By source."""
        return {name_of(source): source.weight for source in self.sources}


def name_of(source: MixtureSource) -> str:
    """What a source is called where it has no name of its own."""
    return source.name or source.path.rstrip("/").rpartition("/")[2].replace(":", "-")


def known(weights: Mapping[str, float], data: LadderData, key: str) -> None:
    """Raise ValueError, naming the key, where weights name a source that is not there."""
    if strangers := sorted(set(weights) - set(data.names)):
        raise ValueError(
            f"{key} names {strangers[0]!r}, which is no source; there are {', '.join(data.names)}."
        )
    if weights and (min(weights.values()) < 0 or not sum(weights.values()) > 0):
        raise ValueError(f"{key} = {dict(weights)}: no weight may be negative, nor all be 0.")
