"""What a person may choose about an adapter."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from munro.base_model.config import Config


class LoraConfig(Config):
    """A low-rank adapter: the base stays as it is, and two thin matrices a layer are trained."""

    rank: int = Field(16, ge=1)
    """Inner width of the two matrices."""
    alpha: float = Field(32.0, gt=0)
    """What the matrices add is multiplied by alpha / rank."""
    modules: tuple[str, ...] = ()
    """Linear layers that get one, by the end of their names (["q_proj", "v_proj"]); empty for all
    but the output matrix and what chooses experts."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Of what an adapter reads, in training. Above 0 a climb computes log-probabilities without it
    in a pass of their own, so that ratios stay exact."""
    base_dtype: Literal["float32", "own"] = "float32"
    """Precision that the learner holds the base in: "own" is that of its files."""
    base_bits: Literal[0, 4] = 0
    """4 has learner and engine hold the base in 4 bits, by bitsandbytes, on GPUs; 0 as it is."""
